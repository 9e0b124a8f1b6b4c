#include "hpsae/model/max_cos.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"
#include "hpsae/model/decoder_rows.h"

#include <math.h>

enum { NEAREST = 2 };
static const float BOUND = 1.00001f; /* of the norm of a row that was scaled to 1 */

/* The rows, as a bias-free encoder and, in batches, as its tokens. */
typedef struct {
    const hps_grid *grid;
    const hps_kernels *kernels;
    hps_decoder_rows rows;
    hps_row_batch batch;
    float *none;        /* [own] biases, 0 */
    int32_t *latent;    /* [own] */
    hps_candidate *top; /* [B, NEAREST] */
    double *best;       /* [n] largest cosine with another row */
    hps_workspace *ws;
    hps_merge merge;
} cosines;

static void release(cosines *c)
{
    hps_merge_destroy(&c->merge);
    if (c->ws != NULL) {
        c->kernels->workspace_destroy(&c->ws);
    }
    hps_decoder_rows_destroy(&c->rows);
    hps_row_batch_destroy(&c->batch);
    HPS_FREE(&c->none);
    HPS_FREE(&c->latent);
    HPS_FREE(&c->top);
    HPS_FREE(&c->best);
}

static hps_status allocate(cosines *c, int threads)
{
    const hps_shard *s = &c->rows.shard;

    HPS_TRY(hps_row_batch_create(&c->rows, &c->batch));
    const int64_t B = c->batch.step * s->P;
    const hps_workspace_size size = {.B = B, .d = s->d, .k_max = NEAREST, .own = s->own, .threads = threads};
    HPS_TRY(HPS_ALLOC(&c->none, s->own, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->latent, s->own, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&c->top, B * NEAREST, "decoder rows as tokens"));
    HPS_TRY(HPS_ALLOC(&c->best, s->n, "cosines"));
    return c->kernels->workspace_create(&size, &c->ws);
}

/* The largest cosines of a batch of rows.  A row comes before all others, or among its equals. */
static void compare(cosines *c, const hps_encoder *encoder)
{
    const hps_row_batch *b = &c->batch;

    c->kernels->encode(c->ws, encoder, 0, NULL, b->B, c->rows.lde, b->row, NEAREST, c->top);
    hps_merge_all(c->grid->model, &c->merge, b->B, c->top);
    for (int64_t t = 0; t < b->B; t++) {
        const hps_candidate *top = c->top + t * NEAREST;
        const double value = (double)top[top[0].latent == b->latent[t] ? 1 : 0].value;
        c->best[b->latent[t]] = fmin(value, 1);
    }
}

static void compare_all(cosines *c)
{
    const hps_shard *s = &c->rows.shard;
    const int64_t most = hps_shard_most(s);
    const hps_encoder encoder = {.own = s->own,
                                 .d = s->d,
                                 .lde = c->rows.lde,
                                 .W_enc = c->rows.rows,
                                 .b_enc = c->none,
                                 .latent = c->latent,
                                 .row_norm = BOUND};

    for (int64_t l = 0; l < s->own; l++) {
        c->latent[l] = (int32_t)hps_shard_latent(s, l);
    }
    c->kernels->prepare(c->ws, &encoder);
    for (int64_t l0 = 0; l0 < most; l0 += c->batch.step) {
        hps_row_batch_gather(c->grid, &c->rows, l0, &c->batch);
        compare(c, &encoder);
    }
}

static double mean_of_best(const cosines *c)
{
    const int64_t n = c->rows.shard.n;
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += c->best[i];
    }
    return sum / (double)n;
}

hps_status hps_max_cos(const hps_grid *grid, const hps_kernels *kernels, const hps_model *model, int threads,
                       double *max_cos)
{
    cosines c = {.grid = grid, .kernels = kernels};

    *max_cos = NAN;
    if (model->shard.n < 2) {
        return HPS_OK;
    }
    HPS_TRY(hps_decoder_rows_create(grid, model, threads, &c.rows));
    const hps_status status = hps_agree(grid->model, allocate(&c, threads));
    if (status == HPS_OK) {
        hps_merge_create(NEAREST, &c.merge);
        compare_all(&c);
        *max_cos = mean_of_best(&c);
    }
    release(&c);
    return status;
}
