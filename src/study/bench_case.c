/* A training run that has nothing but steps. */
#include "bench_parts.h"

#include "hpsae/base/memory.h"
#include "hpsae/model/initialise.h"
#include "hpsae/model/train.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Random batches are kept ready, a few where they are small, so that a step does not see the last one's tokens. */
static const int64_t ROWS_BYTES = INT64_C(64) << 20;
enum { BATCHES_MAX = 4, SAMPLE_ROWS = 4096 };
static const uint64_t ROWS_SEED = 1, GRADIENTS_SEED = 2;

static int64_t group_tokens(const hps_bench_case *c)
{
    return c->size.B / c->grid.R;
}

/* The configuration with the case's numbers and nothing left to find out. */
static hps_status settle(const hps_bench_size *size, hps_bench_case *c)
{
    static char known[] = "bench";

    c->config = *size->config;
    c->config.model.latents = size->n;
    c->config.model.k = size->k;
    c->config.train.batch = size->B;
    if (c->config.data.hook[0] == '\0') {
        c->config.data.hook = known; /* so that resolving the rest does not allocate one */
    }
    return hps_config_resolve(&c->config, size->d, known);
}

/* Random rows of this rank's data group. */
static hps_status draw_rows(hps_bench_case *c)
{
    const int64_t B = group_tokens(c), d = c->size.d, row = B * d * (int64_t)sizeof(float);
    const int threads = (int)c->config.grid.threads;
    const bool gradients = c->options.rule == HPS_PICK_GRADIENT;

    c->batches = ROWS_BYTES / row;
    c->batches = c->batches < 1 ? 1 : c->batches > BATCHES_MAX ? BATCHES_MAX : c->batches;
    HPS_TRY(HPS_ALLOC(&c->rows, c->batches * B * d, "random activations"));
    if (gradients) {
        HPS_TRY(HPS_ALLOC(&c->gradients, c->batches * B * d, "random gradients"));
    }
    for (int64_t b = 0; b < c->batches; b++) {
        const int64_t first = b * c->size.B + c->grid.r * B;
        HPS_TRY(hps_bench_rows(ROWS_SEED, first, B, d, d, threads, c->rows + b * B * d));
        if (gradients) {
            HPS_TRY(hps_bench_rows(GRADIENTS_SEED, first, B, d, d, threads, c->gradients + b * B * d));
        }
    }
    return HPS_OK;
}

/* A feed over the store's training rows, scaled as training would; *V as the step wants it. */
static hps_status open_feed(hps_bench_case *c, double *V)
{
    hps_feed_options options = {.rows = c->dataset.train,
                                .shuffled = true,
                                .seed = (uint64_t)c->config.train.seed,
                                .batch = group_tokens(c),
                                .norm = HPS_NORM_NONE,
                                .scale = 1};
    hps_sample sample;
    const int64_t rows = c->dataset.train < SAMPLE_ROWS ? c->dataset.train : SAMPLE_ROWS;

    HPS_TRY(hps_feed_create(&c->grid, c->dataset.store, &options, &c->feed));
    HPS_TRY(hps_sample_take(&c->grid, c->feed, rows, c->size.d, false, &sample));
    const double scale = sqrt((double)c->size.d / sample.mean_sq_norm);
    hps_sample_destroy(&sample);
    *V = sample.V * scale * scale;
    if (c->config.data.scale == HPS_SCALE_NONE) {
        *V = sample.V;
    } else if (c->config.data.scale == HPS_SCALE_TOKEN) {
        hps_feed_set_norm(c->feed, HPS_NORM_TOKEN, 1);
    } else {
        hps_feed_set_norm(c->feed, HPS_NORM_SCALE, scale);
    }
    return HPS_OK;
}

static hps_status open_data(hps_bench_case *c, double *V)
{
    *V = (double)c->size.d;
    if (!c->size.from_store) {
        return HPS_OK;
    }
    HPS_TRY(hps_dataset_open(c->size.comm, c->size.config, NULL, false, &c->dataset));
    if (c->dataset.train < 1) {
        return hps_config_fail(c->size.config, "data.holdout",
                               "%lld held-out rows leave none of the store's %lld; hold fewer out",
                               (long long)c->dataset.holdout, (long long)c->dataset.info->rows);
    }
    return open_feed(c, V);
}

static hps_status open_model(hps_bench_case *c)
{
    const unsigned roles =
        1u << HPS_VALUE | 1u << HPS_MOMENT1 | 1u << HPS_MOMENT2 | (c->config.train.ema > 0 ? 1u << HPS_AVERAGE : 0);
    const double scale = c->config.train.encoder_scale == HPS_AUTO_REAL ? 1 : c->config.train.encoder_scale;

    HPS_TRY(hps_model_create(&c->grid, c->size.n, c->size.d, c->size.k, roles, &c->model));
    return hps_bench_initialise(c->model, scale, (int)c->config.grid.threads);
}

static hps_status open_case(const hps_bench_size *size, hps_bench_case *c)
{
    double V;

    HPS_TRY(hps_agree(size->comm, settle(size, c)));
    HPS_TRY(hps_grid_create(size->comm, (int)size->groups, &c->grid));
    HPS_TRY(open_data(c, &V));
    HPS_TRY(hps_agree(size->comm, open_model(c)));
    c->options = hps_training_options(&c->config, V);
    c->options.steps = INT64_MAX / 4; /* the learning rate does not fall */
    HPS_TRY(hps_trainer_create(&c->grid, size->kernels, c->model, &c->options, &c->trainer));
    return hps_agree(size->comm, size->from_store && c->options.rule != HPS_PICK_GRADIENT ? HPS_OK : draw_rows(c));
}

hps_status hps_bench_case_open(const hps_bench_size *size, hps_bench_case *c)
{
    *c = (hps_bench_case){.size = *size, .grid.model = MPI_COMM_NULL};
    return open_case(size, c);
}

void hps_bench_case_close(hps_bench_case *c)
{
    hps_trainer_destroy(&c->trainer);
    hps_feed_destroy(&c->feed);
    hps_model_destroy(&c->model);
    hps_dataset_close(&c->dataset);
    HPS_FREE(&c->rows);
    HPS_FREE(&c->gradients);
    hps_grid_destroy(&c->grid);
}

/* One of the random batches into its place; factor: 1 leaves it as it is. */
static void copy_rows(const hps_bench_case *c, const float *rows, float factor, float *to)
{
    const int64_t B = group_tokens(c), d = c->size.d, ld = c->model->lde;
    const float *from = rows + c->model->step % c->batches * B * d;

#pragma omp parallel for schedule(static) num_threads((int)c->config.grid.threads)
    for (int64_t t = 0; t < B; t++) {
        for (int64_t j = 0; j < d; j++) {
            to[t * ld + j] = factor * from[t * d + j];
        }
    }
}

static hps_status next_batch(hps_bench_case *c)
{
    hps_forward *f = hps_trainer_forward(c->trainer);
    const int64_t B = group_tokens(c);

    if (c->gradients != NULL) {
        copy_rows(c, c->gradients, (float)(1 / sqrt((double)c->size.d)), f->g);
    }
    if (c->feed != NULL) {
        return hps_feed_batch(c->feed, c->model->tokens + c->grid.r * B, B, c->model->lde, f->y);
    }
    copy_rows(c, c->rows, 1, f->y);
    return HPS_OK;
}

hps_status hps_bench_case_step(hps_bench_case *c, hps_bench_seconds *seconds)
{
    const double begin = omp_get_wtime();
    double flag = 0;

    HPS_TRY(next_batch(c));
    c->report.seconds[HPS_PHASE_IO] = omp_get_wtime() - begin;
    HPS_TRY(hps_trainer_step(c->trainer, &flag, &c->report));
    seconds->step = omp_get_wtime() - begin;
    memcpy(seconds->phase, c->report.seconds, sizeof(seconds->phase));
    return HPS_OK;
}

hps_cost_case hps_bench_case_cost(const hps_bench_case *c)
{
    const int word_bytes = c->feed != NULL ? (int)hps_dtype_size(c->dataset.info->dtype) : (int)sizeof(float);
    hps_cost_case size = hps_cost_case_of(&c->config, c->size.d, word_bytes, 0);

    size.dead = c->report.dead;
    size.R = c->grid.R;
    size.P = c->grid.P;
    size.threads = c->options.threads;
    return size;
}
