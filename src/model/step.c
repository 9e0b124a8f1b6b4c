#include "trainer.h"

#include "hpsae/base/rng.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/slots.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Slots of token q that its reconstruction at k uses. */
static int64_t main_slots(const hps_trainer *t, int64_t q)
{
    const int64_t slots = t->forward->slots.first[q + 1] - t->forward->slots.first[q];

    return t->nest.main >= 0 && t->nest.main < slots ? t->nest.main : slots;
}

/* Residuals, the slots' gradients in fixed point, column sums; every slot in the order that the objective wants. */
static void decode(hps_trainer *t)
{
    hps_forward *f = t->forward;
    const hps_model *m = t->model;
    const int64_t B = t->B, w = m->shard.w;
    const bool nested = t->nest.levels > 1;

    if (nested) {
        hps_nest_fill(&t->nest, B, t->options.threads, &f->slots);
    }
    if (t->kernels->batch != NULL) {
        t->kernels->batch->scales(f->ws, B, f->y_norm, f->z_sum, NULL, t->bound, f->scale);
    }
    for (int64_t q = 0; q < B && t->kernels->batch == NULL; q++) {
        t->bound[q] = hps_residual_bound(f->y_norm[q], f->z_sum[q]);
        f->scale[q] = hps_fixed_scale(t->bound[q]);
    }
    hps_forward_decode(f, B, t->nest.main, !nested);
    t->kernels->column_sums(f->ws, B, w, m->ldd, f->R, m->ldd, f->R, t->sum, t->square);
    if (nested) {
        t->kernels->nested(f->ws, B, w, m->ldd, m->role[HPS_VALUE].W_dec, &f->slots, &t->nest.nesting, t->nest.main,
                           m->lde, f->centred + m->shard.c0, f->scale, f->R, t->S);
        t->kernels->column_sums(f->ws, B, w, m->ldd, t->S, m->lde, f->centred + m->shard.c0, t->S_sum, t->S_y);
    } else {
        memcpy(t->S_sum, t->sum, (size_t)w * sizeof(*t->sum));
    }
}

/* Each column's sums over the tokens of all data groups, and the groups' common flag. */
static void sum_groups(hps_trainer *t, bool has_aux, double *flag)
{
    const int64_t w = t->model->shard.w;

    if (t->sums == NULL) {
        return;
    }
    hps_group_sums_doubles(t->sums, w, t->sum);
    hps_group_sums_doubles(t->sums, w, t->square);
    hps_group_sums_doubles(t->sums, has_aux ? w : 0, has_aux ? t->aux->square : NULL);
    if (t->nest.levels > 1) {
        hps_group_sums_doubles(t->sums, w, t->S_sum);
        hps_group_sums_doubles(t->sums, w, t->S_y);
    } else {
        memcpy(t->S_sum, t->sum, (size_t)w * sizeof(*t->sum));
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, flag, 1, MPI_DOUBLE, MPI_MAX, t->grid->groups));
}

/* Sums over all columns: squared error, its variance about the batch mean, AuxK's squared error; and the flags. */
static hps_status batch_sums(hps_trainer *t, bool has_aux, double *flag)
{
    const hps_model *m = t->model;
    const int64_t w = m->shard.w, d = m->shard.d;
    const bool nested = t->nest.levels > 1;
    double sums[4], flags[2] = {0, (double)t->forward->encoder.row_norm};

    sum_groups(t, has_aux, flag);
    flags[0] = *flag;
    for (int64_t j = 0; j < w; j++) {
        t->variance[j] = t->square[j] - t->sum[j] * t->sum[j] / (double)t->options.B;
    }
    const hps_partials parts[4] = {{t->square, w, d},
                                   {t->variance, has_aux ? w : 0, d},
                                   {has_aux ? t->aux->square : NULL, has_aux ? w : 0, d},
                                   {t->S_y, nested ? w : 0, d}};
    hps_sum_partials(t->grid->model, nested ? 4 : 3, parts, sums, 2, flags);
    t->sse = sums[0];
    t->error_variance = sums[1];
    t->aux_sse = sums[2];
    t->S_y_all = nested ? sums[3] : 0;
    *flag = flags[0];
    t->row_norm = (float)flags[1];
    if (!isfinite(t->sse) || !isfinite(t->aux_sse) || !isfinite(t->S_y_all) || !isfinite(t->row_norm)) {
        return hps_fail(HPS_ENUMERIC,
                        "step %lld: the loss is not finite; lower train.lr or set train.clip (the last "
                        "checkpoint is as it was)",
                        (long long)m->step + 1);
    }
    return HPS_OK;
}

/* The slots' gradients over all columns, of the main family (0) or AuxK's (1). */
static void sum_dz(const hps_trainer *t, int family, const double *scale, hps_slots *slots)
{
    if (t->kernels->batch == NULL) {
        hps_slots_sum_dz(t->grid->model, t->B, scale, t->options.threads, slots);
        return;
    }
    hps_sum_fixed(t->grid->model, slots->dz_fixed, slots->first[t->B]);
    t->kernels->batch->take_dz(t->forward->ws, t->B, scale, slots, t->dz_sum[family]);
}

/* Of this data group: sum of z dz, and active latents. */
static void sum_slots(const hps_trainer *t, double *z_dz, double *active)
{
    const hps_slots *slots = &t->forward->slots;

    *z_dz = *active = 0;
    for (int32_t s = 0; t->nest.levels > 1 && s < slots->first[t->B]; s++) {
        *z_dz += (double)slots->slot[s].value * (double)slots->dz[s];
    }
    for (int64_t q = 0; q < t->B; q++) {
        *active += (double)main_slots(t, q);
    }
}

/*
 * The objective is the sum over tokens of <S, b - x> + sum_s z_s dz_s, since r_s = (b - x) + sum_{t <= s} z_t w_t makes
 * sum_s w_s |r_s|^2 that.  Without nesting it is the squared error.
 */
static void describe(hps_trainer *t, bool has_aux, hps_step_report *report)
{
    const double B = (double)t->options.B, V = t->options.V;
    double sums[2];

    sum_slots(t, &sums[0], &sums[1]);
    if (t->sums != NULL) {
        hps_group_sums_doubles(t->sums, 2, sums);
    }
    report->loss = (t->nest.levels == 1 ? t->sse : sums[0] - t->S_y_all) / (B * V);
    report->fvu = t->sse / (B * V);
    report->aux_fvu = has_aux && t->error_variance > 0 ? t->aux_sse / t->error_variance : 0;
    report->l0 = sums[1] / B;
}

/* BatchTopK's threshold for use: the running mean of the smallest value that was kept. */
static void follow_threshold(hps_trainer *t)
{
    const hps_step_options *o = &t->options;
    const hps_slots *slots = &t->forward->slots;
    hps_model *m = t->model;
    float least = INFINITY;

    if (o->rule != HPS_PICK_BATCH || m->step < o->threshold_start) {
        return;
    }
    for (int32_t s = 0; s < slots->first[t->B]; s++) {
        least = fminf(least, slots->slot[s].value);
    }
    if (t->sums != NULL) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_FLOAT, MPI_MIN, t->grid->groups));
    }
    if (isinf(least)) {
        return;
    }
    m->threshold =
        m->threshold < 0 ? (double)least : o->threshold_decay * m->threshold + (1 - o->threshold_decay) * (double)least;
}

/* Those of all data groups, a bit each. */
static void count_fired_of_groups(hps_trainer *t)
{
    hps_model *m = t->model;
    const hps_slots *slots = &t->forward->slots;
    const int64_t words = (m->shard.n + 63) / 64;

    memset(t->fired, 0, (size_t)words * sizeof(*t->fired));
    for (int64_t q = 0; q < t->B; q++) {
        for (int64_t s = slots->first[q]; s < slots->first[q] + main_slots(t, q); s++) {
            t->fired[slots->slot[s].latent / 64] |= UINT64_C(1) << slots->slot[s].latent % 64;
        }
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, t->fired, hps_count(words), MPI_UINT64_T, MPI_BOR, t->grid->groups));
    for (int64_t i = 0; i < m->shard.n; i++) {
        if ((t->fired[i / 64] >> i % 64 & 1) != 0) {
            m->fired[i] = m->tokens;
        }
    }
}

static void count_fired(hps_trainer *t)
{
    hps_model *m = t->model;
    const hps_slots *slots = &t->forward->slots;

    m->step++;
    m->tokens += t->options.B;
    if (t->sums != NULL) {
        count_fired_of_groups(t);
        return;
    }
    if (t->kernels->batch != NULL) {
        t->kernels->batch->fired(t->forward->ws, t->B, m->shard.n, slots, t->nest.main, m->tokens, m->fired);
        return;
    }
    for (int64_t q = 0; q < t->B; q++) {
        for (int64_t s = slots->first[q]; s < slots->first[q] + main_slots(t, q); s++) {
            m->fired[slots->slot[s].latent] = m->tokens;
        }
    }
}

/* The average with bias correction: its weight of the newest values is (1 - ema) / (1 - ema^t). */
static void average(hps_trainer *t)
{
    hps_model *m = t->model;
    const double ema = t->options.ema;
    const float weight = (float)((1 - ema) / (1 - hps_power(ema, (uint64_t)m->step)));

    for (int tensor = 0; tensor < HPS_TENSORS; tensor++) {
        const hps_tensor_layout layout = hps_model_layout(m, (hps_tensor)tensor);
        float *mean = hps_model_tensor(m, HPS_AVERAGE, (hps_tensor)tensor);
        const float *value = hps_model_tensor(m, HPS_VALUE, (hps_tensor)tensor);
        if (t->kernels->batch != NULL) {
            t->kernels->batch->average(t->forward->ws, layout.local_rows * layout.ld, weight, value, mean);
            continue;
        }
#pragma omp parallel for schedule(static) num_threads(t->options.threads)
        for (int64_t i = 0; i < layout.local_rows * layout.ld; i++) {
            mean[i] = fmaf(weight, value[i] - mean[i], mean[i]);
        }
    }
}

hps_status hps_trainer_step(hps_trainer *t, double *flag, hps_step_report *report)
{
    hps_forward *f = t->forward;
    const hps_model *m = t->model;
    const hps_step_options *o = &t->options;

    *report =
        (hps_step_report){.k = hps_k_at(o, m->k, m->step), .seconds[HPS_PHASE_IO] = report->seconds[HPS_PHASE_IO]};
    hps_nest_begin(&t->nest, m->step, report->k);
    const hps_pick pick = {
        .rule = o->rule, .k = t->nest.slots, .alpha = o->alpha, .beta = o->beta, .shared = t->sums != NULL};
    HPS_TRY(hps_forward_select(f, t->B, &pick));
    report->seconds[HPS_PHASE_ENCODE] = f->seconds_encode;
    report->seconds[HPS_PHASE_SELECT] = f->seconds_merge;
    hps_forward_beside(f);
    double begin = omp_get_wtime();
    decode(t);
    hps_forward_beside(f);
    report->seconds[HPS_PHASE_DECODE] = omp_get_wtime() - begin;

    begin = omp_get_wtime();
    report->dead = hps_dead_latents(m, o->dead_tokens);
    const bool has_aux = t->aux != NULL && report->dead > 0;
    if (has_aux) {
        hps_aux_forward(t->aux, f, t->B, o->dead_tokens, t->bound);
    }
    hps_forward_beside(f);
    report->seconds[HPS_PHASE_AUX] = omp_get_wtime() - begin;

    begin = omp_get_wtime();
    HPS_TRY(batch_sums(t, has_aux, flag));
    sum_dz(t, 0, f->scale, &f->slots);
    if (has_aux) {
        sum_dz(t, 1, t->aux->scale, &t->aux->slots);
    }
    report->seconds[HPS_PHASE_COMM] = omp_get_wtime() - begin;
    describe(t, has_aux, report);
    HPS_TRY(hps_trainer_update(t, has_aux, report));
    begin = omp_get_wtime();
    follow_threshold(t);
    count_fired(t);
    if (o->ema > 0) {
        average(t);
    }
    report->seconds[HPS_PHASE_UPDATE] += omp_get_wtime() - begin;
    return HPS_OK;
}
