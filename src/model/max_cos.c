#include "hpsae/model/max_cos.h"

#include "double_dot.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"
#include "hpsae/comm/sums.h"

#include <math.h>
#include <string.h>

enum { SLICE_FLOATS = 1 << 19, BATCH_ROWS = 1024, NEAREST = 2 };
static const float BOUND = 1.00001f; /* of the norm of a row that was scaled to 1 */

/* The decoder by latent, and what the ranks exchange. */
typedef struct {
    const hps_grid *grid;
    const hps_kernels *kernels;
    const hps_model *model;
    int64_t lde;
    float *rows;                                    /* [own, lde] of norm 1 */
    float *none;                                    /* [own] biases, 0 */
    int32_t *latent;                                /* [own] */
    float *send, *receive;                          /* a slice in which columns become latents */
    float *batch;                                   /* [B, lde]: rows of all ranks as tokens */
    int32_t *self;                                  /* [B] which latent a token is */
    hps_candidate *top;                             /* [B, NEAREST] */
    double *best;                                   /* [n] largest cosine with another row */
    int *counts, *offsets, *counts_in, *offsets_in; /* [P] */
    hps_workspace *ws;
    hps_merge merge;
} cosines;

static void release(cosines *c)
{
    hps_merge_destroy(&c->merge);
    if (c->ws != NULL) {
        c->kernels->workspace_destroy(&c->ws);
    }
    HPS_FREE(&c->rows);
    HPS_FREE(&c->none);
    HPS_FREE(&c->latent);
    HPS_FREE(&c->send);
    HPS_FREE(&c->receive);
    HPS_FREE(&c->batch);
    HPS_FREE(&c->self);
    HPS_FREE(&c->top);
    HPS_FREE(&c->best);
    HPS_FREE(&c->counts);
    HPS_FREE(&c->offsets);
    HPS_FREE(&c->counts_in);
    HPS_FREE(&c->offsets_in);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rank q's share; what hps_model_create accepted cannot fail. */
static hps_shard shard_of(const hps_model *model, int q)
{
    hps_shard shard;

    (void)hps_shard_create(model->shard.n, model->shard.d, model->shard.P, q, &shard);
    return shard;
}

/* Own rows that every rank moves in a slice, in whole blocks: P times as many latents take part. */
static int64_t slice_rows(const hps_model *model)
{
    const int64_t blocks = SLICE_FLOATS / (model->shard.d * HPS_BLOCK);

    return (blocks < 1 ? 1 : blocks) * HPS_BLOCK;
}

/* Own rows of every rank in a batch of tokens. */
static int64_t batch_rows(const hps_model *model)
{
    const int64_t P = model->shard.P, most = smaller(BATCH_ROWS, INT32_MAX / model->lde) / P;

    return most < 1 ? 1 : most;
}

static hps_status allocate(cosines *c, int threads)
{
    const hps_shard *s = &c->model->shard;
    const int64_t B = batch_rows(c->model) * s->P, slice = slice_rows(c->model);
    const hps_workspace_size size = {.B = B, .d = s->d, .k_max = NEAREST, .own = s->own, .threads = threads};

    HPS_TRY(HPS_ALLOC(&c->rows, s->own * c->lde, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->none, s->own, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->latent, s->own, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->send, slice * s->P * s->w, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->receive, slice * s->d, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->batch, B * c->lde, "decoder rows as tokens"));
    HPS_TRY(HPS_ALLOC(&c->self, B, "decoder rows as tokens"));
    HPS_TRY(HPS_ALLOC(&c->top, B * NEAREST, "decoder rows as tokens"));
    HPS_TRY(HPS_ALLOC(&c->best, s->n, "cosines"));
    HPS_TRY(HPS_ALLOC(&c->counts, s->P, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->offsets, s->P, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->counts_in, s->P, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->offsets_in, s->P, "decoder by latent"));
    return c->kernels->workspace_create(&size, &c->ws);
}

/* This rank's columns of the rows that rank q owns among own rows l0 ... l1 - 1, tight; returns how many rows. */
static int64_t pack(const cosines *c, const hps_shard *q, int64_t l0, int64_t rows, float *to)
{
    const hps_model *m = c->model;
    const int64_t end = smaller(l0 + rows, q->own);

    for (int64_t l = l0; l < end; l++) {
        memcpy(to + (l - l0) * m->shard.w, m->role[HPS_VALUE].W_dec + hps_shard_latent(q, l) * m->ldd,
               (size_t)m->shard.w * sizeof(float));
    }
    return end > l0 ? end - l0 : 0;
}

/* Own rows l0 ... l0 + rows - 1 from the columns of all ranks. */
static void exchange(cosines *c, int64_t l0, int64_t rows)
{
    const hps_shard *s = &c->model->shard;
    const int64_t mine = smaller(l0 + rows, s->own) > l0 ? smaller(l0 + rows, s->own) - l0 : 0;
    int64_t out = 0, in = 0;

    for (int q = 0; q < s->P; q++) {
        const hps_shard other = shard_of(c->model, q);
        c->offsets[q] = hps_count(out);
        c->counts[q] = hps_count(pack(c, &other, l0, rows, c->send + out) * s->w);
        c->offsets_in[q] = hps_count(in);
        c->counts_in[q] = hps_count(mine * other.w);
        out += c->counts[q];
        in += c->counts_in[q];
    }
    HPS_MPI(MPI_Alltoallv(c->send, c->counts, c->offsets, MPI_FLOAT, c->receive, c->counts_in, c->offsets_in, MPI_FLOAT,
                          c->grid->model));
    for (int q = 0; q < s->P; q++) {
        const hps_shard other = shard_of(c->model, q);
        for (int64_t l = 0; l < mine; l++) {
            memcpy(c->rows + (l0 + l) * c->lde + other.c0, c->receive + c->offsets_in[q] + l * other.w,
                   (size_t)other.w * sizeof(float));
        }
    }
}

/* The largest share of any rank: rank 0's, whose blocks come first. */
static int64_t most_own(const hps_model *model)
{
    int64_t most = 0;

    for (int q = 0; q < model->shard.P; q++) {
        const int64_t own = shard_of(model, q).own;
        most = own > most ? own : most;
    }
    return most;
}

/* The decoder by latent, each row scaled to norm 1; a row of zeros stays. */
static void redistribute(cosines *c, int threads)
{
    const hps_shard *s = &c->model->shard;
    const int64_t most = most_own(c->model), slice = slice_rows(c->model);

    for (int64_t l0 = 0; l0 < most; l0 += slice) {
        exchange(c, l0, slice);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t l = 0; l < s->own; l++) {
        float *row = c->rows + l * c->lde;
        const double square = hps_float_dot(s->d, row, row), factor = square > 0 ? 1 / sqrt(square) : 0;
        for (int64_t j = 0; j < s->d; j++) {
            row[j] = (float)((double)row[j] * factor);
        }
        c->latent[l] = (int32_t)hps_shard_latent(s, l);
    }
}

/* Rows l0 ... l0 + rows - 1 of every rank, on every rank; returns how many there are. */
static int64_t gather(cosines *c, int64_t l0, int64_t rows)
{
    const hps_shard *s = &c->model->shard;
    int64_t B = 0;

    for (int q = 0; q < s->P; q++) {
        const hps_shard other = shard_of(c->model, q);
        const int64_t end = smaller(l0 + rows, other.own);
        c->offsets[q] = hps_count(B * c->lde);
        for (int64_t l = l0; l < end; l++) {
            c->self[B++] = (int32_t)hps_shard_latent(&other, l);
        }
        c->counts[q] = hps_count(B * c->lde - c->offsets[q]);
    }
    const float *mine = c->rows + smaller(l0, s->own) * c->lde;
    HPS_MPI(
        MPI_Allgatherv(mine, c->counts[s->p], MPI_FLOAT, c->batch, c->counts, c->offsets, MPI_FLOAT, c->grid->model));
    return B;
}

/* The largest cosines of a batch of rows.  A row comes before all others, or among its equals. */
static void compare(cosines *c, const hps_encoder *encoder, int64_t B)
{
    c->kernels->encode(c->ws, encoder, 0, NULL, B, c->lde, c->batch, NEAREST, c->top);
    hps_merge_all(c->grid->model, &c->merge, B, c->top);
    for (int64_t t = 0; t < B; t++) {
        const hps_candidate *top = c->top + t * NEAREST;
        const double value = (double)top[top[0].latent == c->self[t] ? 1 : 0].value;
        c->best[c->self[t]] = fmin(value, 1);
    }
}

static double mean_of_best(const cosines *c)
{
    const int64_t n = c->model->shard.n;
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += c->best[i];
    }
    return sum / (double)n;
}

hps_status hps_max_cos(const hps_grid *grid, const hps_kernels *kernels, const hps_model *model, int threads,
                       double *max_cos)
{
    cosines c = {.grid = grid, .kernels = kernels, .model = model, .lde = model->lde};

    *max_cos = NAN;
    if (model->shard.n < 2) {
        return HPS_OK;
    }
    const hps_status status = hps_agree(grid->model, allocate(&c, threads));
    if (status == HPS_OK) {
        hps_merge_create(NEAREST, &c.merge);
        redistribute(&c, threads);
        const hps_encoder encoder = {.own = model->shard.own,
                                     .d = model->shard.d,
                                     .lde = c.lde,
                                     .W_enc = c.rows,
                                     .b_enc = c.none,
                                     .latent = c.latent,
                                     .row_norm = BOUND};
        kernels->prepare(c.ws, &encoder);
        const int64_t most = most_own(model), rows = batch_rows(model);
        for (int64_t l0 = 0; l0 < most; l0 += rows) {
            compare(&c, &encoder, gather(&c, l0, rows));
        }
        *max_cos = mean_of_best(&c);
    }
    release(&c);
    return status;
}
