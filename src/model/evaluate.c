#include "hpsae/model/evaluate.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <math.h>
#include <string.h>

/* Sums over rows, a column each, of this rank's w columns. */
typedef struct {
    int64_t w;
    double *y, *y_square;         /* [w] */
    double *error;                /* [points + 1, w] sum of R^2, keeping k[i] slots; the last one with all */
    double *sum, *square;         /* [w] of a batch */
    double *share, *varies, *sst; /* [w] */
} sums;

static void release(sums *s)
{
    HPS_FREE(&s->y);
    HPS_FREE(&s->y_square);
    HPS_FREE(&s->error);
    HPS_FREE(&s->sum);
    HPS_FREE(&s->square);
    HPS_FREE(&s->share);
    HPS_FREE(&s->varies);
    HPS_FREE(&s->sst);
}

static hps_status allocate(int64_t w, int points, sums *s)
{
    *s = (sums){.w = w};
    HPS_TRY(HPS_ALLOC(&s->y, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->y_square, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->error, (points + 1) * w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->sum, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->square, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->share, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->varies, w, "evaluation sums"));
    return HPS_ALLOC(&s->sst, w, "evaluation sums");
}

/* k = 1, 2, 4, ... below the model's, then the model's, which is the plain evaluation. */
static int curve_points(int64_t k, int64_t at[HPS_CURVE_POINTS])
{
    int points = 0;

    for (int64_t q = 1; q < k && points < HPS_CURVE_POINTS - 1; q *= 2) {
        at[points++] = q;
    }
    at[points] = k;
    return points + 1;
}

static void add(int64_t w, const double *from, double *to)
{
    for (int64_t j = 0; j < w; j++) {
        to[j] += from[j];
    }
}

static void decode_first(hps_forward *f, int64_t B, int64_t slots)
{
    const hps_model *m = f->model;

    f->kernels->decode(f->ws, B, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, &f->slots, slots, -1, m->lde,
                       f->y + m->shard.c0, f->scale, false, f->R);
}

/* The batch in f->y joins the sums. */
static hps_status add_batch(hps_forward *f, int64_t B, const hps_evaluation *r, sums *s)
{
    const hps_model *m = f->model;

    const hps_pick pick = hps_pick_in_use(m);
    HPS_TRY(hps_forward_select(f, B, &pick));
    f->kernels->column_sums(f->ws, B, s->w, m->lde, f->y + m->shard.c0, m->lde, f->y + m->shard.c0, s->sum, s->square);
    add(s->w, s->sum, s->y);
    add(s->w, s->square, s->y_square);
    const int below = r->points > 0 ? r->points - 1 : 0;
    for (int i = 0; i <= below; i++) {
        decode_first(f, B, i < below ? r->k[i] : -1);
        f->kernels->column_sums(f->ws, B, s->w, m->ldd, f->R, m->ldd, f->R, s->sum, s->square);
        add(s->w, s->square, s->error + i * s->w);
    }
    return HPS_OK;
}

/* From the column sums of all ranks to the figures. */
static void conclude(const hps_forward *f, sums *s, hps_evaluation *r)
{
    const int64_t w = s->w, d = f->model->shard.d;
    const int below = r->points > 0 ? r->points - 1 : 0;
    const double *full = s->error + below * w, rows = (double)r->rows;
    double total[3 + HPS_CURVE_POINTS];
    hps_partials part[3 + HPS_CURVE_POINTS] = {{s->sst, w, d}, {s->share, w, d}, {s->varies, w, d}};

    for (int64_t j = 0; j < w; j++) {
        s->sst[j] = s->y_square[j] - s->y[j] * s->y[j] / rows;
        /* A dimension that never varies leaves rounding alone. */
        const bool varies = s->sst[j] > 1e-12 * s->y_square[j];
        s->varies[j] = varies ? 1 : 0;
        s->share[j] = varies ? full[j] / s->sst[j] : 0;
    }
    for (int i = 0; i <= below; i++) {
        part[3 + i] = (hps_partials){s->error + i * w, w, d};
    }
    hps_sum_partials(f->grid->model, 4 + below, part, total, 0, NULL);
    r->fvu = total[3 + below] / total[0];
    r->ev = 1 - r->fvu;
    r->ev_dimmean = 1 - total[1] / total[2];
    r->mse = total[3 + below] / rows / (f->model->scale * f->model->scale);
    for (int i = 0; i < r->points; i++) {
        r->ev_at_k[i] = 1 - total[3 + i] / total[0];
    }
}

hps_status hps_evaluate(hps_forward *f, hps_feed *feed, int64_t rows, bool curve, int64_t *fired, hps_evaluation *r)
{
    const hps_model *m = f->model;
    int64_t active = 0, *count = NULL;
    sums s;

    *r = (hps_evaluation){.rows = rows};
    r->points = curve ? curve_points(m->k, r->k) : 0;
    hps_status status = allocate(m->shard.w, r->points, &s);
    if (status == HPS_OK && fired == NULL) {
        status = HPS_ALLOC(&count, m->shard.n, "firing counts");
        fired = count;
    }
    status = hps_agree(f->grid->model, status);
    for (int64_t done = 0; status == HPS_OK && done < rows; done += f->B) {
        const int64_t B = rows - done < f->B ? rows - done : f->B;
        status = hps_feed_batch(feed, done, B, m->lde, f->y);
        if (status == HPS_OK) {
            status = add_batch(f, B, r, &s);
        }
        if (status == HPS_OK) {
            active += f->slots.first[B];
            for (int32_t slot = 0; slot < f->slots.first[B]; slot++) {
                fired[f->slots.slot[slot].latent]++;
            }
        }
    }
    if (status == HPS_OK) {
        conclude(f, &s, r);
        r->l0 = (double)active / (double)rows;
        for (int64_t i = 0; i < m->shard.n; i++) {
            r->alive += fired[i] > 0;
        }
    }
    HPS_FREE(&count);
    release(&s);
    return status;
}
