/* Activations and parameters that need no data. */
#include "bench_parts.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* So many planted directions, of which so many are active in a row. */
enum { DIRECTIONS = 512, ACTIVE = 16 };
static const uint64_t SEED = 20;

/* Uniform numbers in (-1, 1), four a draw: the numbers of one row start at index * d. */
static void draw_row(uint64_t seed, uint64_t stream, int64_t index, int64_t d, float *row)
{
    const uint64_t first = (uint64_t)index * (uint64_t)((d + 3) / 4);
    uint32_t bits[4];

    for (int64_t j = 0; j < d; j += 4) {
        hps_random_bits(seed, HPS_DRAW_BENCH, stream, first + (uint64_t)(j / 4), bits);
        for (int64_t i = 0; i < 4 && j + i < d; i++) {
            row[j + i] = ((float)(bits[i] >> 8) + 0.5f) * 0x1p-23f - 1;
        }
    }
}

static void set_norm(int64_t d, float norm, float *row)
{
    const float factor = norm / sqrtf(hps_dot(d, row, row));

    for (int64_t j = 0; j < d; j++) {
        row[j] *= factor;
    }
}

static hps_status draw_directions(uint64_t seed, int64_t d, float **directions)
{
    HPS_TRY(HPS_ALLOC(directions, DIRECTIONS * d, "planted directions"));
    for (int64_t i = 0; i < DIRECTIONS; i++) {
        draw_row(seed, 0, i, d, *directions + i * d);
        set_norm(d, 1, *directions + i * d);
    }
    return HPS_OK;
}

/* Features are the more frequent the lower their number; magnitudes have a heavy tail, u^(-1/2). */
static void mix_row(uint64_t seed, int64_t t, int64_t d, const float *directions, float *x)
{
    draw_row(seed, 1, t, d, x);
    set_norm(d, 2, x);
    for (int s = 0; s < ACTIVE; s++) {
        const uint64_t index = (uint64_t)t * (2 * ACTIVE + 1) + 2 * (uint64_t)s;
        const double u = hps_random_uniform(seed, HPS_DRAW_BENCH, 2, index);
        const double v = hps_random_uniform(seed, HPS_DRAW_BENCH, 2, index + 1);
        const float *w = directions + (int64_t)(u * u * u * DIRECTIONS) * d;
        const float z = (float)fmin(1 / sqrt(v), 30);
        for (int64_t j = 0; j < d; j++) {
            x[j] = fmaf(z, w[j], x[j]);
        }
    }
    const double spread = hps_random_uniform(seed, HPS_DRAW_BENCH, 2, (uint64_t)t * (2 * ACTIVE + 1) + 2 * ACTIVE);
    set_norm(d, (float)((0.5 + spread) * sqrt((double)d)), x);
}

hps_status hps_bench_rows(uint64_t seed, int64_t first, int64_t count, int64_t d, int64_t ld, int threads, float *x)
{
    float *directions = NULL;
    const hps_status status = draw_directions(seed, d, &directions);

    if (status == HPS_OK) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t t = 0; t < count; t++) {
            mix_row(seed, first + t, d, directions, x + t * ld);
        }
    }
    HPS_FREE(&directions);
    return status;
}

/* A row of the decoder, which is its own scratch: every rank draws every row and keeps its part. */
static void initial_row(hps_model *m, int64_t i, float scale, float *row)
{
    const int64_t d = m->shard.d, l = hps_shard_local(&m->shard, i);

    draw_row(SEED, 3, i, d, row);
    set_norm(d, 1, row);
    memcpy(m->role[HPS_VALUE].W_dec + i * m->ldd, row + m->shard.c0, (size_t)m->shard.w * sizeof(float));
    for (int64_t j = 0; l >= 0 && j < d; j++) {
        m->role[HPS_VALUE].W_enc[l * m->lde + j] = scale * row[j];
    }
}

hps_status hps_bench_initialise(hps_model *model, double scale, int threads)
{
    const int64_t ld = model->lde;
    float *rows = NULL;

    HPS_TRY(HPS_ALLOC(&rows, threads * ld, "initial rows"));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < model->shard.n; i++) {
        initial_row(model, i, (float)scale, rows + omp_get_thread_num() * ld);
    }
    HPS_FREE(&rows);
    return HPS_OK;
}
