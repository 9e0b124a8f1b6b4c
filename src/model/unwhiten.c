#include "hpsae/model/unwhiten.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/ordered_product.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/decoder_rows.h"

#include <string.h>

enum { ROWS = 256, STRIP = 32 }; /* latents at a time; that a thread multiplies at a time */

typedef struct {
    const hps_grid *grid;
    int threads;
    const hps_whitening *map;
    hps_model *model;
    float *columns, *gathered; /* [ROWS, w] of this rank, [ROWS, d] rank by rank */
    double *in, *out;          /* [ROWS, d] */
    int *counts, *offsets;     /* [P] floats of each rank, and where they begin */
} folding;

static hps_status allocate(folding *f)
{
    const hps_shard *s = &f->model->shard;

    HPS_TRY(HPS_ALLOC(&f->columns, ROWS * s->w, "decoder rows"));
    HPS_TRY(HPS_ALLOC(&f->gathered, ROWS * s->d, "decoder rows"));
    HPS_TRY(HPS_ALLOC(&f->in, ROWS * s->d, "rows to fold"));
    HPS_TRY(HPS_ALLOC(&f->out, ROWS * s->d, "rows to fold"));
    HPS_TRY(HPS_ALLOC(&f->counts, s->P, "decoder rows"));
    return HPS_ALLOC(&f->offsets, s->P, "decoder rows");
}

static void release(folding *f)
{
    HPS_FREE(&f->columns);
    HPS_FREE(&f->gathered);
    HPS_FREE(&f->in);
    HPS_FREE(&f->out);
    HPS_FREE(&f->counts);
    HPS_FREE(&f->offsets);
}

/* out [count, width] = in [count, d] times columns c0 ... of a symmetric matrix. */
static void multiply(const folding *f, int64_t count, const double *matrix, int64_t c0, int64_t width)
{
    const int64_t d = f->model->shard.d;

#pragma omp parallel for schedule(dynamic) num_threads(f->threads)
    for (int64_t first = 0; first < count; first += STRIP) {
        const int64_t rows = count - first < STRIP ? count - first : STRIP;
        memset(f->out + first * width, 0, (size_t)(rows * width) * sizeof(double));
        hps_ordered_product(rows, width, d, f->in + first * d, d, 1, matrix + c0, d, f->out + first * width, width);
    }
}

static void take(int64_t count, int64_t width, const float *from, int64_t ld, double *to, int64_t ldt)
{
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < width; j++) {
            to[i * ldt + j] = (double)from[i * ld + j];
        }
    }
}

static void give(int64_t count, int64_t width, const double *from, float *to, int64_t ld)
{
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < width; j++) {
            to[i * ld + j] = (float)from[i * width + j];
        }
    }
}

static void fold_encoder(const folding *f)
{
    const hps_model *m = f->model;
    const int64_t d = m->shard.d;

    for (int64_t first = 0; first < m->shard.own; first += ROWS) {
        const int64_t count = m->shard.own - first < ROWS ? m->shard.own - first : ROWS;
        float *row = m->role[HPS_VALUE].W_enc + first * m->lde;
        take(count, d, row, m->lde, f->in, d);
        multiply(f, count, f->map->W, 0, d);
        give(count, d, f->out, row, m->lde);
    }
}

/* Collective.  Whole rows of the decoder, of which every rank has its columns. */
static void gather(const folding *f, int64_t count, const float *row)
{
    const hps_shard *s = &f->model->shard;
    int64_t before = 0;

    for (int64_t i = 0; i < count; i++) {
        memcpy(f->columns + i * s->w, row + i * f->model->ldd, (size_t)s->w * sizeof(float));
    }
    for (int q = 0; q < s->P; q++) {
        f->counts[q] = hps_count(count * hps_shard_of(s, q).w);
        f->offsets[q] = hps_count(before);
        before += f->counts[q];
    }
    HPS_MPI(MPI_Allgatherv(f->columns, f->counts[s->p], MPI_FLOAT, f->gathered, f->counts, f->offsets, MPI_FLOAT,
                           f->grid->model));
    for (int q = 0; q < s->P; q++) {
        const hps_shard other = hps_shard_of(s, q);
        take(count, other.w, f->gathered + f->offsets[q], other.w, f->in + other.c0, s->d);
    }
}

/* Collective. */
static void fold_decoder(const folding *f)
{
    const hps_model *m = f->model;
    const hps_shard *s = &m->shard;

    for (int64_t first = 0; first < s->n; first += ROWS) {
        const int64_t count = s->n - first < ROWS ? s->n - first : ROWS;
        float *row = m->role[HPS_VALUE].W_dec + first * m->ldd;
        gather(f, count, row);
        multiply(f, count, f->map->inverse, s->c0, s->w);
        give(count, s->w, f->out, row, m->ldd);
    }
}

static void fold_bias(const folding *f)
{
    hps_model *m = f->model;
    const int64_t d = m->shard.d;
    const double s = m->norm == HPS_NORM_SCALE ? m->scale : 1;
    float *b = m->role[HPS_VALUE].b;

    take(1, d, b, d, f->in, d);
    multiply(f, 1, f->map->inverse, 0, d);
    for (int64_t j = 0; j < d; j++) {
        b[j] = (float)(f->out[j] + s * f->map->mean[j]);
    }
}

hps_status hps_model_unwhiten(const hps_grid *grid, int threads, const hps_whitening *whitening, hps_model *model)
{
    folding f = {.grid = grid, .threads = threads, .map = whitening, .model = model};

    if (model->norm == HPS_NORM_TOKEN || whitening->d != model->shard.d) {
        return hps_fail(HPS_EARG, "the whitening cannot be folded into the model: %s",
                        model->norm == HPS_NORM_TOKEN ? "data.scale token changes each row by itself"
                                                      : "they differ in d");
    }
    const hps_status status = hps_agree(grid->model, allocate(&f));
    if (status == HPS_OK) {
        fold_encoder(&f);
        fold_decoder(&f);
        fold_bias(&f);
        model->whitening = 0;
    }
    release(&f);
    return status;
}
