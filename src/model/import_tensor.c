/* One tensor of a foreign file into the slabs: every rank reads it through, in pieces, and keeps what is its own. */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange_format.h"

#include <string.h>

int64_t hps_import_piece = 1 << 20; /* numbers */

typedef struct {
    const hps_model *model;
    hps_tensor tensor;
    bool latents_across; /* columns of the file are latents: a transposed encoder, or biases as one row */
    int64_t columns;     /* of the file's matrix; a vector is one row */
    double *squares;     /* of decoder rows, or NULL */
} destination;

/* Latents [latent, latent + count), one number each, all of input column c. */
static void place_latents(const destination *to, int64_t c, int64_t latent, int64_t count, const float *values)
{
    const hps_model *model = to->model;
    float *base = hps_model_tensor(model, HPS_VALUE, to->tensor);
    const int64_t ld = to->tensor == HPS_B_ENC ? 1 : model->lde;

    for (int64_t i = 0; i < count; i++) {
        const int64_t q = hps_shard_local(&model->shard, latent + i);
        if (q >= 0) {
            base[q * ld + c] = values[i];
        }
    }
}

static void place_decoder(const destination *to, int64_t latent, int64_t c, int64_t count, const float *values)
{
    const hps_shard *s = &to->model->shard;
    const int64_t first = c > s->c0 ? c : s->c0, end = c + count < s->c1 ? c + count : s->c1;

    if (first < end) {
        memcpy(to->model->role[HPS_VALUE].W_dec + latent * to->model->ldd + first - s->c0, values + first - c,
               (size_t)(end - first) * sizeof(float));
    }
    for (int64_t i = 0; i < count && to->squares != NULL; i++) {
        to->squares[latent] += (double)values[i] * (double)values[i];
    }
}

/* Part of a row of the file. */
static void place(const destination *to, int64_t row, int64_t column, int64_t count, const float *values)
{
    const hps_model *model = to->model;

    if (to->latents_across) {
        place_latents(to, row, column, count, values);
    } else if (to->tensor == HPS_W_DEC) {
        place_decoder(to, row, column, count, values);
    } else if (to->tensor == HPS_B_DEC) {
        memcpy(model->role[HPS_VALUE].b + column, values, (size_t)count * sizeof(float));
    } else {
        const int64_t q = hps_shard_local(&model->shard, row);
        if (q >= 0) {
            memcpy(model->role[HPS_VALUE].W_enc + q * model->lde + column, values, (size_t)count * sizeof(float));
        }
    }
}

static void place_piece(const destination *to, int64_t first, int64_t count, const float *values)
{
    while (count > 0) {
        const int64_t column = first % to->columns, left = to->columns - column, now = count < left ? count : left;
        place(to, first / to->columns, column, now, values);
        first += now;
        values += now;
        count -= now;
    }
}

static hps_status not_finite(const char *path, const hps_safetensor *entry, int64_t element)
{
    if (entry->dimensions == 1) {
        return hps_fail(HPS_EFORMAT, "%s: %s[%lld] is not finite", path, entry->name, (long long)element);
    }
    return hps_fail(HPS_EFORMAT, "%s: %s[%lld, %lld] is not finite", path, entry->name,
                    (long long)(element / entry->shape[1]), (long long)(element % entry->shape[1]));
}

/* Local. */
static hps_status read_pieces(const char *path, const hps_safetensors *file, const hps_safetensor *entry,
                              const destination *to, void *words, float *values)
{
    const int64_t total = entry->shape[0] * (entry->dimensions == 2 ? entry->shape[1] : 1);

    for (int64_t first = 0; first < total; first += hps_import_piece) {
        const int64_t count = total - first < hps_import_piece ? total - first : hps_import_piece;
        HPS_TRY(hps_safetensors_read(file, entry, first, count, words));
        hps_words_to_float(entry->dtype, count, words, values);
        const int64_t bad = hps_words_first_nonfinite(HPS_F32, count, values);
        if (bad >= 0) {
            return not_finite(path, entry, first + bad);
        }
        place_piece(to, first, count, values);
    }
    return HPS_OK;
}

/* Local. */
static hps_status import_here(const char *path, const hps_safetensors *file, const hps_exchange_format *format,
                              const destination *to)
{
    const hps_shard *s = &to->model->shard;
    const hps_safetensor *entry;
    float *values = NULL;
    double *words = NULL;
    int64_t shape[2];
    const int dimensions = hps_exchange_shape(format, to->tensor, s->n, s->d, shape);

    HPS_TRY(hps_safetensors_want(file, format->tensor[to->tensor].name, dimensions, shape, &entry));
    hps_status status = HPS_ALLOC(&words, hps_import_piece, "words to import");
    if (status == HPS_OK) {
        status = HPS_ALLOC(&values, hps_import_piece, "values to import");
    }
    if (status == HPS_OK) {
        status = read_pieces(path, file, entry, to, words, values);
    }
    HPS_FREE(&values);
    HPS_FREE(&words);
    return status;
}

hps_status hps_import_tensor(MPI_Comm comm, const char *path, const hps_safetensors *file,
                             const hps_exchange_format *format, hps_tensor tensor, const hps_model *model,
                             double *squares)
{
    const hps_shard *s = &model->shard;
    const bool transposed = format->tensor[tensor].transposed;
    const destination to = {.model = model,
                            .tensor = tensor,
                            .latents_across = transposed || tensor == HPS_B_ENC,
                            .columns = transposed || tensor == HPS_B_ENC ? s->n : s->d,
                            .squares = tensor == HPS_W_DEC ? squares : NULL};

    return hps_agree(comm, import_here(path, file, format, &to));
}
