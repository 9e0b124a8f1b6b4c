/* Whether a written file holds the model: read back by the reader of foreign files, compared by checksum. */
#include "hpsae/base/memory.h"
#include "hpsae/model/checksum.h"
#include "hpsae/model/exchange_format.h"

enum { SPAN = 16384, PIECE = HPS_BLOCK * SPAN }; /* floats in a row of a piece, and in a piece */

typedef struct {
    const hps_safetensors *file;
    const hps_safetensor *entry;
    hps_tensor tensor;
    float *values, *tile; /* [PIECE], [HPS_BLOCK, HPS_BLOCK] */
    uint64_t sum;
} reading;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows [first, end) of [rows, columns] in row order: whole rows, or parts of rows when one alone is too long. */
static hps_status sum_straight(reading *r, int64_t first, int64_t end, int64_t columns)
{
    const int64_t span = least(columns, PIECE), step = PIECE / span;

    for (int64_t row = first; row < end; row += step) {
        const int64_t rows = least(step, end - row);
        for (int64_t c = 0; c < columns; c += span) {
            const hps_block block = {HPS_VALUE, r->tensor, row, rows, c, least(span, columns - c)};
            HPS_TRY(hps_safetensors_read(r->file, r->entry, row * columns + c, rows * block.width, r->values));
            r->sum += hps_checksum_block(&block, r->values, block.width);
        }
    }
    return HPS_OK;
}

/* Latents [latent, latent + count) of `rows` rows of the file, which are columns of the tensor from c0 on. */
static void sum_tile(reading *r, const float *values, int64_t c0, int64_t rows, int64_t latent, int64_t count)
{
    const hps_block block = {HPS_VALUE, r->tensor, latent, count, c0, rows};

    for (int64_t i = 0; i < count; i++) {
        for (int64_t c = 0; c < rows; c++) {
            r->tile[i * HPS_BLOCK + c] = values[c * SPAN + i];
        }
    }
    r->sum += hps_checksum_block(&block, r->tile, HPS_BLOCK);
}

/* Rows [first, end) of the file's [d, n]: columns of the tensor [n, d]. */
static hps_status sum_transposed(reading *r, int64_t first, int64_t end, int64_t n)
{
    for (int64_t row = first; row < end; row += HPS_BLOCK) {
        const int64_t rows = least(HPS_BLOCK, end - row);
        for (int64_t start = 0; start < n; start += SPAN) {
            const int64_t span = least(SPAN, n - start);
            for (int64_t c = 0; c < rows; c++) {
                HPS_TRY(hps_safetensors_read(r->file, r->entry, (row + c) * n + start, span, r->values + c * SPAN));
            }
            for (int64_t i = 0; i < span; i += HPS_BLOCK) {
                sum_tile(r, r->values + i, row, rows, start + i, least(HPS_BLOCK, span - i));
            }
        }
    }
    return HPS_OK;
}

/* Local.  This rank's share of a tensor of the file. */
static hps_status sum_share(reading *r, const hps_exchange_format *format, const hps_model *model)
{
    const hps_shard *shard = &model->shard;
    int64_t shape[2];
    const int dimensions = hps_exchange_shape(format, r->tensor, shard->n, shard->d, shape);
    const int64_t first = shape[0] * shard->p / shard->P, end = shape[0] * (shard->p + 1) / shard->P;

    HPS_TRY(hps_safetensors_want(r->file, format->tensor[r->tensor].name, dimensions, shape, &r->entry));
    r->sum = 0;
    return format->tensor[r->tensor].transposed ? sum_transposed(r, first, end, shape[1])
                                                : sum_straight(r, first, end, dimensions == 2 ? shape[1] : 1);
}

/* Collective. */
static hps_status compare(MPI_Comm comm, reading *r, const char *path, const hps_exchange_format *format,
                          const hps_model *model)
{
    for (int t = 0; t < HPS_TENSORS; t++) {
        r->tensor = (hps_tensor)t;
        HPS_TRY(hps_agree(comm, sum_share(r, format, model)));
        uint64_t sums[2] = {r->sum, hps_checksum_tensor(model, HPS_VALUE, (hps_tensor)t)};
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_UINT64_T, MPI_SUM, comm));
        if (sums[0] != sums[1]) {
            return hps_fail(HPS_EFORMAT, "%s: %s reads back otherwise than it was written; check the disk", path,
                            format->tensor[t].name);
        }
    }
    return HPS_OK;
}

hps_status hps_export_verify(MPI_Comm comm, const char *path, const hps_exchange_format *format, const hps_model *model)
{
    reading r = {.file = NULL};
    hps_safetensors *file = NULL;
    hps_status status = hps_safetensors_open(path, &file);

    r.file = file;
    if (status == HPS_OK) {
        status = HPS_ALLOC(&r.values, PIECE, "piece to verify");
    }
    if (status == HPS_OK) {
        status = HPS_ALLOC(&r.tile, HPS_BLOCK * HPS_BLOCK, "tile to verify");
    }
    status = hps_agree(comm, status);
    if (status == HPS_OK) {
        status = compare(comm, &r, path, format, model);
    }
    HPS_FREE(&r.tile);
    HPS_FREE(&r.values);
    hps_safetensors_close(&file);
    return status;
}
