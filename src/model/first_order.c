#include "first_order.h"

#include "double_dot.h"
#include "row_bound.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <math.h>

hps_status hps_first_order_create(const hps_forward *f, hps_first_order *o)
{
    *o = (hps_first_order){.row_bound = hps_decoder_row_bound(f->grid, f->model)};
    hps_status status = HPS_ALLOC(&o->g, f->B * f->model->lde, "batch of gradients");
    status = status == HPS_OK ? HPS_ALLOC(&o->fixed, f->B, "first-order effects") : status;
    status = status == HPS_OK ? HPS_ALLOC(&o->scale, f->B, "first-order effects") : status;
    return hps_agree(f->grid->model, status);
}

void hps_first_order_destroy(hps_first_order *o)
{
    HPS_FREE(&o->g);
    HPS_FREE(&o->fixed);
    HPS_FREE(&o->scale);
}

void hps_first_order_add(hps_first_order *o, const hps_forward *f, int64_t B)
{
    const hps_model *m = f->model;

#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t t = 0; t < B; t++) {
        const float *g = o->g + t * m->lde;
        const double R = (double)f->y_norm[t] + (double)f->z_sum[t] * o->row_bound;
        o->scale[t] = hps_fixed_scale(1.02 * R * sqrt(hps_float_dot(m->shard.d, g, g)));
        o->fixed[t] = hps_float_dot_fixed(m->shard.w, g + m->shard.c0, f->R + t * m->ldd, o->scale[t]);
    }
    hps_sum_fixed(f->grid->model, o->fixed, B);
    for (int64_t t = 0; t < B; t++) {
        const double effect = hps_from_fixed(o->fixed[t], o->scale[t]);
        o->sum += effect;
        o->abs += fabs(effect);
        o->square += effect * effect;
    }
}

/* <g, x - mean> in double, in the order of the columns. */
static double effect_of_mean(int64_t d, const float *g, const float *x, const double *mean)
{
    double s[HPS_DOUBLE_LANES] = {0};

    for (int64_t j = 0; j < d; j += HPS_DOUBLE_LANES) {
        const int64_t lanes = d - j < HPS_DOUBLE_LANES ? d - j : HPS_DOUBLE_LANES;
        for (int64_t lane = 0; lane < lanes; lane++) {
            s[lane] += (double)g[j + lane] * ((double)x[j + lane] - mean[j + lane]);
        }
    }
    return hps_lanes_sum(s);
}

hps_status hps_first_order_variance(hps_first_order *o, hps_forward *f, hps_feed *feed, hps_feed *gradients,
                                    int64_t rows, const double *mean, double *variance)
{
    const hps_model *m = f->model;
    double sum = 0;

    for (int64_t done = 0; done < rows; done += f->B) {
        const int64_t B = rows - done < f->B ? rows - done : f->B;
        HPS_TRY(hps_feed_batch(feed, done, B, m->lde, f->y));
        HPS_TRY(hps_feed_batch(gradients, done, B, m->lde, o->g));
#pragma omp parallel for schedule(static) num_threads(f->threads)
        for (int64_t t = 0; t < B; t++) {
            o->scale[t] = effect_of_mean(m->shard.d, o->g + t * m->lde, f->y + t * m->lde, mean);
        }
        for (int64_t t = 0; t < B; t++) {
            sum += o->scale[t] * o->scale[t];
        }
    }
    *variance = sum / (double)rows;
    return HPS_OK;
}
