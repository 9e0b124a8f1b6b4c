#include "hpsae/model/evaluate_sums.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

hps_status hps_error_sums_create(int64_t w, int kinds, hps_error_sums *s)
{
    *s = (hps_error_sums){.w = w, .kinds = kinds};
    HPS_TRY(HPS_ALLOC(&s->y, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->y_square, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->error, kinds * w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->sum, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->square, w, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&s->share, w, "evaluation sums"));
    return HPS_ALLOC(&s->count, w, "evaluation sums");
}

void hps_error_sums_destroy(hps_error_sums *s)
{
    HPS_FREE(&s->y);
    HPS_FREE(&s->y_square);
    HPS_FREE(&s->error);
    HPS_FREE(&s->sum);
    HPS_FREE(&s->square);
    HPS_FREE(&s->share);
    HPS_FREE(&s->count);
}

static void add(int64_t w, const double *from, double *to)
{
    for (int64_t j = 0; j < w; j++) {
        to[j] += from[j];
    }
}

void hps_error_sums_inputs(hps_error_sums *s, const hps_forward *f, int64_t B)
{
    const hps_model *m = f->model;
    const float *y = f->centred + m->shard.c0;

    f->kernels->column_sums(f->ws, B, s->w, m->lde, y, m->lde, y, s->sum, s->square);
    add(s->w, s->sum, s->y);
    add(s->w, s->square, s->y_square);
}

void hps_error_sums_residuals(hps_error_sums *s, const hps_forward *f, int64_t B, const float *R, int kind)
{
    const int64_t ldd = f->model->ldd;

    f->kernels->column_sums(f->ws, B, s->w, ldd, R, ldd, R, s->sum, s->square);
    add(s->w, s->square, s->error + kind * s->w);
}

void hps_error_sums_join(hps_error_sums *s, hps_group_sums *groups)
{
    hps_group_sums_doubles(groups, s->w, s->y);
    hps_group_sums_doubles(groups, s->w, s->y_square);
    hps_group_sums_doubles(groups, s->kinds * s->w, s->error);
}

/* The columns' shares of unexplained variance, and whether they have any to explain; s->sum becomes their variance. */
static void by_column(hps_error_sums *s, int64_t rows)
{
    for (int64_t j = 0; j < s->w; j++) {
        s->sum[j] = s->y_square[j] - s->y[j] * s->y[j] / (double)rows;
        /* A dimension that never varies leaves rounding alone. */
        const bool varies = s->sum[j] > 1e-12 * s->y_square[j];
        s->count[j] = varies ? 1 : 0;
        s->share[j] = varies ? s->error[j] / s->sum[j] : 0;
    }
}

void hps_error_sums_conclude(hps_error_sums *s, const hps_forward *f, int64_t rows, double *error, double *variance,
                             double *ev_dimmean)
{
    enum { AT_A_TIME = 16 };
    const int64_t w = s->w, d = f->model->shard.d;
    const hps_partials columns[3] = {{s->sum, w, d}, {s->share, w, d}, {s->count, w, d}};
    double total[3];

    by_column(s, rows);
    hps_sum_partials(f->grid->model, 3, columns, total, 0, NULL);
    *variance = total[0];
    *ev_dimmean = 1 - total[1] / total[2];
    for (int kind = 0; kind < s->kinds; kind += AT_A_TIME) {
        const int now = s->kinds - kind < AT_A_TIME ? s->kinds - kind : AT_A_TIME;
        hps_partials part[AT_A_TIME];
        for (int i = 0; i < now; i++) {
            part[i] = (hps_partials){s->error + (kind + i) * w, w, d};
        }
        hps_sum_partials(f->grid->model, now, part, error + kind, 0, NULL);
    }
}
