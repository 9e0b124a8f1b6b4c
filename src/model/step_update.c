/* The second half of a step: gradients, clip, Adam, unit rows. */
#include "trainer.h"

#include "group_update.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/slots.h"

#include <omp.h>
#include <string.h>

/* The corrections are those of the rounded betas: 1 - beta2 is so small that 0.999's rounding is 1e-5 of it. */
static hps_adam adam_now(const hps_step_options *o, int64_t step)
{
    const float beta1 = (float)o->beta1, beta2 = (float)o->beta2;
    const uint64_t t = (uint64_t)step + 1;

    return (hps_adam){.lr = (float)hps_learning_rate(o, step),
                      .beta1 = beta1,
                      .beta2 = beta2,
                      .epsilon = (float)o->epsilon,
                      .c1 = (float)(1 / (1 - hps_power((double)beta1, t))),
                      .c2 = (float)(1 / (1 - hps_power((double)beta2, t))),
                      .factor = 1};
}

/*
 * Adam moves a number by at most lr * ratio: |m| / sqrt(v) is largest for a gradient that appears once and is then
 * discounted by beta1 / sqrt(beta2) a step.
 */
static double row_norm_bound(const hps_step_options *o, const hps_adam *a, int64_t d)
{
    const double ratio = 1 / (sqrt(1 - o->beta2) * (1 - o->beta1 / sqrt(o->beta2)));

    return 1.1 * (1.1 + (double)a->lr * ratio * sqrt((double)d)) * (1.1 + (double)a->lr * ratio * sqrt((double)d));
}

/* The families, their weights and the fixed points of the sums that the update takes. */
static hps_update plan_update(hps_trainer *t, bool has_aux)
{
    const hps_forward *f = t->forward;
    const hps_step_options *o = &t->options;
    hps_update u = {.families = has_aux ? 2 : 1, .adam = adam_now(o, t->model->step), .apply = true};
    double total[2] = {0};

    u.family[0] = (hps_family){.slots = &f->slots,
                               .bucket = &t->bucket,
                               .rows = f->R,
                               .ld = t->model->ldd,
                               .c = (float)(2 / ((double)o->B * o->V))};
    if (has_aux) {
        u.family[1] =
            (hps_family){.slots = &t->aux->slots,
                         .bucket = &t->aux->bucket,
                         .rows = t->aux->R,
                         .ld = t->model->ldd,
                         .c = t->error_variance > 0 ? (float)(o->aux_coefficient * 2 / t->error_variance) : 0};
    }
    for (int i = 0; i < u.families; i++) {
        const float *z_sum = i == 0 ? f->z_sum : t->aux->z_sum;
        const double *bound = i == 0 ? t->bound : t->aux->bound;
        const hps_slot_bounds b = t->dz_sum[i] != NULL
                                      ? hps_slots_bound_of_sums(t->B, t->dz_sum[i], f->y_norm, z_sum, bound)
                                      : hps_slots_bound(t->B, u.family[i].slots, f->y_norm, z_sum, bound);
        const double c = (double)u.family[i].c;
        total[0] += c * (b.R_z + b.y_dz + b.dz);
        total[1] += c * b.dz * (double)t->row_norm;
    }
    for (int64_t q = 0; q < t->B; q++) {
        total[1] += (double)u.family[0].c * t->bound[q];
    }
    if (t->sums != NULL) {
        hps_group_sums_doubles(t->sums, 2, total);
    }
    u.square_scale = hps_fixed_scale(1.1 * total[0] * total[0]);
    u.bias_scale = hps_fixed_scale(1.1 * total[1]);
    u.norm_scale = hps_fixed_scale(row_norm_bound(o, &u.adam, t->model->shard.d));
    return u;
}

static void update_decoder(hps_trainer *t, const hps_update *u, int64_t w, const hps_state *W_dec, int64_t *square,
                           int64_t *norm)
{
    const hps_model *m = t->model;

    if (t->sums == NULL) {
        t->kernels->update_decoder(t->forward->ws, u, m->shard.n, w, m->ldd, t->parallel, W_dec, square, norm);
    } else {
        hps_group_update_decoder(t->sums, t->kernels, t->forward->ws, u, m->shard.n, w, m->ldd, t->parallel, W_dec,
                                 square, norm);
    }
}

/* The rank's encoder rows; with u->apply the encoder's bounds are those after it. */
static void update_encoder(hps_trainer *t, const hps_update *u, const hps_state *W_enc, const hps_state *b_enc,
                           int64_t *square, int64_t *column)
{
    const hps_model *m = t->model;
    hps_forward *f = t->forward;
    float row_norm;

    if (t->sums == NULL) {
        t->kernels->update_encoder(f->ws, u, &f->encoder, m->lde, f->centred, t->bias_gradient, W_enc, b_enc, square,
                                   column, &row_norm);
    } else {
        hps_group_update_encoder(t->sums, t->kernels, f->ws, u, &f->encoder, m->lde, f->centred, t->bias_gradient,
                                 W_enc, b_enc, square, column, &row_norm);
    }
    if (u->apply) {
        f->encoder.row_norm = row_norm;
    }
}

/* What some columns of the decoder's gradient are made of: suffix vectors, or what they sum to by latent. */
static void sweep_back(hps_trainer *t, int64_t w, const float *W_dec, const float *R)
{
    const hps_model *m = t->model;
    const hps_forward *f = t->forward;

    if (t->suffix != NULL) {
        t->kernels->suffix_rows(f->ws, t->B, w, m->ldd, W_dec, &f->slots, &t->nest.nesting, t->nest.main, R, t->chunk,
                                t->suffix);
    } else {
        t->kernels->nested_sums(f->ws, t->B, m->shard.n, w, m->ldd, W_dec, &f->slots, &t->nest.nesting, t->nest.main, R,
                                t->chunk, t->S_sums);
    }
}

/* The decoder's part of a nested objective: some columns at a time, first the sweep back, then their gradients. */
static void nested_decoder_pass(hps_trainer *t, const hps_update *u, const hps_state *W_dec, int64_t *square,
                                int64_t *norm)
{
    const hps_model *m = t->model;
    hps_update part = *u;

    part.family[0].rows = t->suffix;
    part.family[0].row = t->nest.nesting.row;
    part.family[0].sums = t->S_sums;
    part.family[0].ld = t->chunk;
    for (int64_t j = 0; j < m->shard.w; j += t->chunk) {
        const int64_t w = m->shard.w - j < t->chunk ? m->shard.w - j : t->chunk;
        const hps_state columns = {W_dec->value + j, W_dec->moment1 + j, W_dec->moment2 + j};
        part.family[1].rows = u->families > 1 ? u->family[1].rows + j : NULL;
        sweep_back(t, w, columns.value, t->forward->R + j);
        update_decoder(t, &part, w, &columns, square, norm);
    }
}

/* One pass of gradients over the rank's decoder columns and encoder rows; with u->apply they are used at once. */
static void gradient_pass(hps_trainer *t, const hps_update *u)
{
    hps_model *m = t->model;
    int64_t *norm = t->fixed, *column = t->fixed + m->shard.n, *square = column + m->shard.d;
    hps_tensors *v = &m->role[HPS_VALUE], *m1 = &m->role[HPS_MOMENT1], *m2 = &m->role[HPS_MOMENT2];
    const hps_state W_dec = {v->W_dec, m1->W_dec, m2->W_dec}, W_enc = {v->W_enc, m1->W_enc, m2->W_enc};
    const hps_state b_enc = {v->b_enc, m1->b_enc, m2->b_enc};

    memset(t->fixed, 0, (size_t)(m->shard.n + m->shard.d + 1) * sizeof(*t->fixed));
    if (t->nest.levels > 1) {
        nested_decoder_pass(t, u, &W_dec, square, norm);
    } else {
        update_decoder(t, u, m->shard.w, &W_dec, square, norm);
    }
    update_encoder(t, u, &W_enc, &b_enc, square, column);
    /* dL/db = c * (column sums of S) - sum_i bias_gradient_i e_i, each rank bringing its columns and its latents. */
    for (int64_t j = 0; j < m->shard.d; j++) {
        column[j] = -column[j];
    }
    for (int64_t j = 0; j < m->shard.w; j++) {
        column[m->shard.c0 + j] += hps_to_fixed((double)u->family[0].c * t->S_sum[j], u->bias_scale);
    }
}

/* After the ranks' sums: the gradient of b, and the norm of the whole gradient. */
static double finish_gradient(hps_trainer *t, const hps_update *u)
{
    const hps_model *m = t->model;
    const int64_t *column = t->fixed + m->shard.n;
    double square = hps_from_fixed(column[m->shard.d], u->square_scale);

    for (int64_t j = 0; j < m->shard.d; j++) {
        t->b_gradient[j] = (float)hps_from_fixed(column[j], u->bias_scale);
        square += (double)t->b_gradient[j] * (double)t->b_gradient[j] * (double)u->adam.factor * (double)u->adam.factor;
    }
    return sqrt(square);
}

static void update_bias(hps_trainer *t, const hps_adam *a)
{
    hps_model *m = t->model;

    if (t->kernels->batch != NULL) {
        const hps_state b = {m->role[HPS_VALUE].b, m->role[HPS_MOMENT1].b, m->role[HPS_MOMENT2].b};
        t->kernels->batch->adam(t->forward->ws, a, m->shard.d, t->b_gradient, &b);
        return;
    }
    for (int64_t j = 0; j < m->shard.d; j++) {
        const float g = t->b_gradient[j] * a->factor;
        float *m1 = m->role[HPS_MOMENT1].b + j, *m2 = m->role[HPS_MOMENT2].b + j;
        *m1 = fmaf(a->beta1, *m1, (1 - a->beta1) * g);
        *m2 = fmaf(a->beta2, *m2, (1 - a->beta2) * (g * g));
        m->role[HPS_VALUE].b[j] -= a->lr * (*m1 * a->c1) / (sqrtf(*m2 * a->c2) + a->epsilon);
    }
}

static hps_status unit_rows(hps_trainer *t, const hps_update *u)
{
    hps_model *m = t->model;

    for (int64_t i = 0; i < m->shard.n; i++) {
        if (t->fixed[i] <= 0) {
            return hps_fail(HPS_ENUMERIC,
                            "step %lld: decoder row %lld is zero or not finite after the update; lower "
                            "train.lr or set train.clip (the last checkpoint is as it was)",
                            (long long)m->step + 1, (long long)i);
        }
    }
    t->kernels->normalise(t->forward->ws, m->shard.n, m->shard.w, m->ldd, t->fixed, u->norm_scale,
                          m->role[HPS_VALUE].W_dec);
    return HPS_OK;
}

/* The slots by latent, and what they sum to there. */
static void sort_slots(hps_trainer *t, const hps_update *u, bool has_aux)
{
    const hps_batch_kernels *batch = t->kernels->batch;
    const int64_t n = t->model->shard.n;
    hps_workspace *ws = t->forward->ws;

    if (batch != NULL) {
        batch->fill_bucket(ws, t->B, n, &t->forward->slots, &t->bucket);
        if (has_aux) {
            batch->fill_bucket(ws, t->B, n, &t->aux->slots, &t->aux->bucket);
        }
        batch->latent_sums(ws, n, u->families, u->family, t->parallel, t->bias_gradient);
        return;
    }
    hps_bucket_fill(t->B, n, &t->forward->slots, &t->bucket);
    if (has_aux) {
        hps_bucket_fill(t->B, n, &t->aux->slots, &t->aux->bucket);
    }
    hps_latent_sums(n, u->families, u->family, t->options.threads, t->parallel, t->bias_gradient);
}

hps_status hps_trainer_update(hps_trainer *t, bool has_aux, hps_step_report *report)
{
    const hps_model *m = t->model;
    const MPI_Comm comm = t->grid->model;
    const int64_t all = m->shard.n + m->shard.d + 1;
    double begin = omp_get_wtime();
    hps_update u = plan_update(t, has_aux);

    sort_slots(t, &u, has_aux);
    if (t->sums != NULL) {
        t->sums->seconds = 0;
        hps_group_sums_floats(t->sums, m->shard.n, t->parallel);
        hps_group_sums_floats(t->sums, m->shard.n, t->bias_gradient);
    }
    hps_forward_beside(t->forward);
    if (t->options.clip > 0) {
        u.apply = false;
        gradient_pass(t, &u);
        hps_sum_fixed(comm, t->fixed + m->shard.n, m->shard.d + 1);
        report->grad_norm = finish_gradient(t, &u);
        u.apply = true;
        u.adam.factor = report->grad_norm > t->options.clip ? (float)(t->options.clip / report->grad_norm) : 1;
    }
    gradient_pass(t, &u);
    hps_forward_beside(t->forward);
    const double waited = t->sums != NULL ? t->sums->seconds : 0;
    report->seconds[HPS_PHASE_UPDATE] = omp_get_wtime() - begin - waited;
    report->seconds[HPS_PHASE_COMM] += waited;
    begin = omp_get_wtime();
    hps_sum_fixed(comm, t->fixed, all);
    report->seconds[HPS_PHASE_COMM] += omp_get_wtime() - begin;
    begin = omp_get_wtime();
    const double norm = finish_gradient(t, &u);
    if (t->options.clip <= 0) {
        report->grad_norm = norm;
    }
    report->lr = (double)u.adam.lr;
    update_bias(t, &u.adam);
    HPS_TRY(unit_rows(t, &u));
    report->seconds[HPS_PHASE_UPDATE] += omp_get_wtime() - begin;
    return HPS_OK;
}
