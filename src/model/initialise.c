#include "hpsae/model/initialise.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/sums.h"

#include <omp.h>
#include <string.h>

/* Every rank draws every row, and keeps its columns of all and all columns of its own. */
static hps_status draw_decoder(hps_forward *f, uint64_t seed)
{
    hps_model *m = f->model;
    const int64_t d = m->shard.d, ld = m->lde;
    float *rows;

    HPS_TRY(HPS_ALLOC(&rows, (int64_t)f->threads * ld, "initial rows"));
#pragma omp parallel num_threads(f->threads)
    {
        float *row = rows + omp_get_thread_num() * ld;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < m->shard.n; i++) {
            for (int64_t j = 0; j < d; j++) {
                row[j] = (float)hps_random_normal(seed, HPS_DRAW_DECODER, 0, (uint64_t)(i * d + j));
            }
            const float factor = 1 / sqrtf(hps_dot(d, row, row));
            for (int64_t j = 0; j < d; j++) {
                row[j] *= factor;
            }
            memcpy(m->role[HPS_VALUE].W_dec + i * m->ldd, row + m->shard.c0, (size_t)m->shard.w * sizeof(float));
            const int64_t l = hps_shard_local(&m->shard, i);
            if (l >= 0) {
                memcpy(m->role[HPS_VALUE].W_enc + l * m->lde, row, (size_t)d * sizeof(float));
            }
        }
    }
    HPS_FREE(&rows);
    return HPS_OK;
}

/* Adds |x - b| and |xhat - b| of the B tokens in the forward pass; xhat - b = R + y.  Collective. */
static void add_norms(hps_forward *f, int64_t B, int64_t *fixed, double *input, double *output)
{
    const hps_model *m = f->model;

#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t t = 0; t < B; t++) {
        float *r = f->R + t * m->ldd;
        const float *y = f->centred + t * m->lde + m->shard.c0;
        for (int64_t j = 0; j < m->shard.w; j++) {
            r[j] += y[j];
        }
        const double bound = 1.1 * (double)f->z_sum[t];
        f->scale[t] = hps_fixed_scale(bound * bound);
        fixed[t] = hps_dot_fixed(m->shard.w, r, r, f->scale[t]);
    }
    hps_sum_fixed(f->grid->model, fixed, B);
    for (int64_t t = 0; t < B; t++) {
        const float *y = f->centred + t * m->lde;
        *output += sqrt(hps_from_fixed(fixed[t], f->scale[t]));
        *input += sqrt((double)hps_dot(m->shard.d, y, y));
    }
}

/* What to scale the encoder by, so that reconstructions have the inputs' mean norm about b. */
static hps_status encoder_scale(hps_forward *f, hps_feed *feed, int64_t rows, double *alpha)
{
    const hps_pick pick = {.rule = HPS_PICK_TOPK, .k = f->model->k};
    double input = 0, output = 0;
    int64_t *fixed;
    hps_status status = hps_agree(f->grid->model, HPS_ALLOC(&fixed, f->B, "initial norms"));

    for (int64_t done = 0; status == HPS_OK && done < rows; done += f->B) {
        const int64_t B = rows - done < f->B ? rows - done : f->B;
        status = hps_feed_batch(feed, done, B, f->model->lde, f->y);
        if (status == HPS_OK) {
            status = hps_forward_select(f, B, &pick);
        }
        if (status == HPS_OK) {
            hps_forward_decode(f, B, -1, false);
            add_norms(f, B, fixed, &input, &output);
        }
    }
    HPS_FREE(&fixed);
    *alpha = output > 0 ? input / output : 1;
    return status;
}

hps_status hps_model_initialise(hps_forward *f, hps_feed *feed, const hps_sample *sample, uint64_t seed, double scale)
{
    hps_model *m = f->model;
    double alpha = scale;

    memcpy(m->role[HPS_VALUE].b, sample->median, (size_t)m->shard.d * sizeof(float));
    HPS_TRY(hps_agree(f->grid->model, draw_decoder(f, seed)));
    hps_forward_refresh(f);
    if (scale <= 0) {
        HPS_TRY(encoder_scale(f, feed, sample->rows, &alpha));
    }
    hps_log("train", "encoder rows start at norm %.4g", alpha);
    for (int64_t i = 0; i < m->shard.own * m->lde; i++) {
        m->role[HPS_VALUE].W_enc[i] *= (float)alpha;
    }
    hps_forward_refresh(f);
    return HPS_OK;
}
