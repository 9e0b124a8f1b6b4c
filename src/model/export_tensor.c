/* One tensor to its place in a file, by collective MPI-IO: each rank's share is a darray or a band of columns. */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange_format.h"

#include <string.h>

int64_t hps_export_round_bytes = 16 << 20;

/* The tensor as the file sees it, [rows, columns], and this rank's share of it. */
typedef struct {
    int64_t rows, columns;
    bool deal_rows, deal_columns; /* by latents, in blocks of HPS_BLOCK */
    int64_t c0, width;            /* this rank's columns: a band, or all that were dealt to it */
} plane;

static bool is_vector(hps_tensor tensor)
{
    return tensor == HPS_B_ENC || tensor == HPS_B_DEC;
}

static plane plane_of(const hps_model *model, const hps_exchange_place *place)
{
    const hps_tensor_layout layout = hps_model_layout(model, place->tensor);
    const bool latents = layout.layout == HPS_BY_LATENT;
    plane p = {layout.rows, layout.columns, latents, false, layout.c0, layout.width};

    if (place->transposed || is_vector(place->tensor)) { /* a vector is one row */
        p = (plane){layout.columns, layout.rows, false, latents, 0, latents ? model->shard.own : layout.rows};
    }
    if (layout.layout == HPS_REPLICATED && model->shard.p != 0) {
        p.width = 0;
    }
    return p;
}

/* Rows of the file that are written at a time: whole deals; the same on every rank. */
static int64_t round_rows(const hps_model *model, const plane *p)
{
    const int64_t P = model->shard.P, unit = p->deal_rows ? HPS_BLOCK * P : 1;
    const int64_t share = p->deal_rows ? HPS_BLOCK * p->columns : p->columns / P + HPS_BLOCK;
    const int64_t units = hps_export_round_bytes / (share * (int64_t)sizeof(float));

    return (units < 1 ? 1 : units) * unit;
}

/* This rank's rows among file rows [row, row + rows), and the first of them in its slab. */
static int64_t own_rows(const hps_model *model, const plane *p, int64_t row, int64_t rows, int64_t *first)
{
    *first = row;
    if (!p->deal_rows) {
        return rows;
    }
    const int64_t end = row + rows >= p->rows ? model->shard.own : (row + rows) / model->shard.P;
    *first = row / model->shard.P < model->shard.own ? row / model->shard.P : model->shard.own;
    return (end < model->shard.own ? end : model->shard.own) - *first;
}

/* File rows from the slab into the buffer, tight. */
static void pack(const hps_model *model, const hps_exchange_place *place, const plane *p, int64_t first, int64_t rows,
                 float *buffer)
{
    const hps_tensor_layout layout = hps_model_layout(model, place->tensor);
    const float *values = hps_model_tensor(model, HPS_VALUE, place->tensor);

    if (place->transposed) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t q = 0; q < p->width; q++) {
                buffer[i * p->width + q] = values[q * layout.ld + first + i];
            }
        }
        return;
    }
    const int64_t ld = is_vector(place->tensor) ? p->width : layout.ld;
    for (int64_t i = 0; i < rows; i++) {
        memcpy(buffer + i * p->width, values + (first + i) * ld, (size_t)p->width * sizeof(float));
    }
}

/* Where this rank's share of `rows` file rows lies. */
static MPI_Datatype share_type(const hps_model *model, const plane *p, int64_t rows)
{
    const int sizes[2] = {(int)rows, (int)p->columns}, part[2] = {(int)rows, (int)p->width}, start[2] = {0, (int)p->c0};
    MPI_Datatype type;

    if (p->deal_rows || p->deal_columns) {
        const int deal[2] = {p->deal_rows ? MPI_DISTRIBUTE_CYCLIC : MPI_DISTRIBUTE_NONE,
                             p->deal_columns ? MPI_DISTRIBUTE_CYCLIC : MPI_DISTRIBUTE_NONE};
        const int block[2] = {p->deal_rows ? HPS_BLOCK : MPI_DISTRIBUTE_DFLT_DARG,
                              p->deal_columns ? HPS_BLOCK : MPI_DISTRIBUTE_DFLT_DARG};
        const int ranks[2] = {p->deal_rows ? model->shard.P : 1, p->deal_columns ? model->shard.P : 1};
        HPS_MPI(MPI_Type_create_darray(model->shard.P, model->shard.p, 2, sizes, deal, block, ranks, MPI_ORDER_C,
                                       MPI_FLOAT, &type));
    } else {
        HPS_MPI(MPI_Type_create_subarray(2, sizes, part, start, MPI_ORDER_C, MPI_FLOAT, &type));
    }
    HPS_MPI(MPI_Type_commit(&type));
    return type;
}

static hps_status check_written(const hps_exchange_place *place, int code, const MPI_Status *state, int count)
{
    char reason[MPI_MAX_ERROR_STRING] = "fewer bytes written than asked for";
    int length, done = count;

    if (code == MPI_SUCCESS && count > 0) {
        MPI_Get_count(state, MPI_FLOAT, &done);
    } else if (code != MPI_SUCCESS) {
        MPI_Error_string(code, reason, &length);
    }
    return code == MPI_SUCCESS && done == count
               ? HPS_OK
               : hps_fail(HPS_EIO, "tensor %d cannot be written: %s", (int)place->tensor, reason);
}

/* Collective.  File rows [row, row + rows). */
static hps_status write_rows(MPI_Comm comm, MPI_File file, const hps_model *model, const hps_exchange_place *place,
                             const plane *p, int64_t row, int64_t rows, float *buffer)
{
    const MPI_Offset offset = place->offset + row * p->columns * (int64_t)sizeof(float);
    int64_t first;
    const int64_t count = own_rows(model, p, row, rows, &first) * p->width;
    MPI_Datatype type = MPI_FLOAT;
    MPI_Status state;

    if (count > 0) {
        type = share_type(model, p, rows);
        pack(model, place, p, first, count / p->width, buffer);
    }
    int code = MPI_File_set_view(file, offset, MPI_FLOAT, type, "native", MPI_INFO_NULL);
    hps_status status = hps_agree(comm, check_written(place, code, &state, 0));
    if (status == HPS_OK) {
        code = MPI_File_write_at_all(file, 0, buffer, (int)count, MPI_FLOAT, &state);
        status = hps_agree(comm, check_written(place, code, &state, (int)count));
    }
    if (count > 0) {
        HPS_MPI(MPI_Type_free(&type));
    }
    return status;
}

hps_status hps_export_tensor(MPI_Comm comm, MPI_File file, const hps_model *model, const hps_exchange_place *place)
{
    const plane p = plane_of(model, place);
    const int64_t rows = round_rows(model, &p), P = p.deal_rows ? model->shard.P : 1;
    const int64_t most = (rows < p.rows ? rows : p.rows + HPS_BLOCK * P) / P;
    float *buffer;

    HPS_TRY(hps_agree(comm, HPS_ALLOC(&buffer, most * p.width, "export buffer")));
    hps_status status = HPS_OK;
    for (int64_t row = 0; row < p.rows && status == HPS_OK; row += rows) {
        const int64_t now = p.rows - row < rows ? p.rows - row : rows;
        status = write_rows(comm, file, model, place, &p, row, now, buffer);
    }
    HPS_FREE(&buffer);
    return status;
}
