#include "hpsae/model/step.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/aux.h"
#include "hpsae/model/slots.h"

#include <omp.h>
#include <string.h>

struct hps_trainer {
    const hps_grid *grid;
    const hps_kernels *kernels;
    hps_model *model;
    hps_step_options options;
    hps_forward *forward;
    hps_bucket bucket;
    hps_nest nest;
    float *S;             /* [B, ldd] suffix vectors over all slots: the gradient of b; NULL if never nested */
    float *suffix;        /* [.., chunk] those of every slot, over a few columns at a time */
    int64_t chunk;        /* a multiple of HPS_BLOCK */
    hps_aux *aux;         /* NULL without AuxK */
    double *bound;        /* [B] on |R| */
    double *sum, *square; /* [ldd] column sums of R and R^2 */
    double *variance;     /* [ldd] */
    double *S_sum, *S_y;  /* [ldd] column sums of S and of S y; those of R for S_sum where nothing is nested */
    float *parallel, *bias_gradient; /* [n] */
    int64_t *fixed;                  /* [n + d + 1] row norms, gradient of b, squared gradient norm, in one message */
    float *b_gradient;               /* [d] */
    double sse, aux_sse, error_variance; /* of the batch, over all columns */
    double S_y_all;                      /* sum of <S, y> */
    float row_norm;                      /* largest encoder row of all ranks */
};

double hps_learning_rate(const hps_step_options *o, int64_t t)
{
    double lr = o->lr;
    const double left = (double)(o->steps - t), tail = o->decay * (double)o->steps;

    if (t < o->warmup_steps) {
        lr *= (double)(t + 1) / (double)o->warmup_steps;
    }
    if (left < tail) {
        lr *= left / tail;
    }
    return lr;
}

int64_t hps_k_at(const hps_step_options *o, int64_t k, int64_t t)
{
    if (t >= o->k_steps) {
        return k;
    }
    return (int64_t)floor((double)o->k_start + (double)(k - o->k_start) * (double)t / (double)o->k_steps + 0.5);
}

/* What a nested objective works in: so many columns at a time that their suffix vectors take about two residuals' room. */
static hps_status allocate_nested(hps_trainer *t, int64_t slots)
{
    const hps_model *m = t->model;
    const int64_t B = t->options.B, rows = t->nest.most < slots / B ? t->nest.most * B : slots;
    const int64_t width = 2 * m->shard.w * B / rows / HPS_BLOCK * HPS_BLOCK, least = 2 * HPS_BLOCK;

    t->chunk = width > least ? width : least;
    t->chunk = t->chunk < m->ldd ? t->chunk : (m->ldd + HPS_BLOCK - 1) / HPS_BLOCK * HPS_BLOCK;
    HPS_TRY(HPS_ALLOC(&t->S, B * m->ldd, "suffix vectors"));
    HPS_TRY(HPS_ALLOC(&t->S_y, m->ldd, "column sums"));
    return HPS_ALLOC(&t->suffix, rows * t->chunk, "suffix vectors");
}

static hps_status allocate(hps_trainer *t, int64_t k)
{
    const hps_model *m = t->model;
    const int64_t n = m->shard.n, d = m->shard.d, B = t->options.B, slots = B * k;

    HPS_TRY(hps_bucket_create(n, slots, t->options.threads, &t->bucket));
    HPS_TRY(hps_nest_create(&t->options.nest, B, slots, &t->nest));
    if (t->nest.most > 1) {
        HPS_TRY(allocate_nested(t, slots));
    }
    HPS_TRY(HPS_ALLOC(&t->S_sum, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC(&t->bound, B, "residual bounds"));
    HPS_TRY(HPS_ALLOC(&t->sum, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC(&t->square, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC(&t->variance, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC(&t->parallel, n, "latent sums"));
    HPS_TRY(HPS_ALLOC(&t->bias_gradient, n, "latent sums"));
    HPS_TRY(HPS_ALLOC(&t->fixed, n + d + 1, "row norms"));
    return HPS_ALLOC(&t->b_gradient, d, "gradient of b");
}

/* The most slots a token that a selection is asked for. */
static int64_t slots_a_token(const hps_model *model, const hps_step_options *o)
{
    const int64_t k = o->k_start > model->k && o->k_steps > 0 ? o->k_start : model->k;

    return o->nest.objective == HPS_OBJECTIVE_MULTI_TOPK && o->nest.weight > 0 ? o->nest.factor * k : k;
}

hps_status hps_trainer_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model,
                              const hps_step_options *options, hps_trainer **trainer)
{
    const int64_t k = slots_a_token(model, options);
    const hps_forward_options forward = {.B = options->B,
                                         .k_max = options->aux_k > k ? options->aux_k : k,
                                         .k = k,
                                         .rules = 1u << options->rule | 1u << HPS_PICK_TOPK |
                                                  (options->rule == HPS_PICK_BATCH ? 1u << HPS_PICK_THRESHOLD : 0),
                                         .threads = options->threads};
    hps_status status = hps_agree(grid->model, HPS_ALLOC(trainer, 1, "trainer"));

    if (status != HPS_OK) {
        HPS_FREE(trainer);
        return status;
    }
    hps_trainer *t = *trainer;
    t->grid = grid;
    t->kernels = kernels;
    t->model = model;
    t->options = *options;
    status = hps_forward_create(grid, kernels, model, &forward, &t->forward);
    if (status == HPS_OK) {
        status = hps_agree(grid->model, allocate(t, k));
    }
    if (status == HPS_OK && options->aux_k > 0) {
        status = hps_aux_create(t->forward, options->aux_k, &t->aux);
    }
    if (status != HPS_OK) {
        hps_trainer_destroy(trainer);
    }
    return status;
}

void hps_trainer_destroy(hps_trainer **trainer)
{
    hps_trainer *t = *trainer;

    if (t == NULL) {
        return;
    }
    hps_forward_destroy(&t->forward);
    hps_bucket_destroy(&t->bucket);
    hps_aux_destroy(&t->aux);
    hps_nest_destroy(&t->nest);
    HPS_FREE(&t->S);
    HPS_FREE(&t->suffix);
    HPS_FREE(&t->S_sum);
    HPS_FREE(&t->S_y);
    HPS_FREE(&t->bound);
    HPS_FREE(&t->sum);
    HPS_FREE(&t->square);
    HPS_FREE(&t->variance);
    HPS_FREE(&t->parallel);
    HPS_FREE(&t->bias_gradient);
    HPS_FREE(&t->fixed);
    HPS_FREE(&t->b_gradient);
    HPS_FREE(trainer);
}

hps_forward *hps_trainer_forward(hps_trainer *trainer)
{
    return trainer->forward;
}

/* Sums over all columns: squared error, its variance about the batch mean, AuxK's squared error; and the flags. */
static hps_status batch_sums(hps_trainer *t, bool has_aux, double *flag)
{
    const hps_model *m = t->model;
    const int64_t w = m->shard.w, d = m->shard.d;
    const bool nested = t->nest.levels > 1;
    double sums[4], flags[2] = {*flag, (double)t->forward->encoder.row_norm};

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
    double total = 0, bias = 0;

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
        const hps_slot_bounds b = hps_slots_bound(o->B, u.family[i].slots, f->y_norm, i == 0 ? f->z_sum : t->aux->z_sum,
                                                  i == 0 ? t->bound : t->aux->bound);
        const double c = (double)u.family[i].c;
        total += c * (b.R_z + b.y_dz + b.dz);
        bias += c * b.dz * (double)t->row_norm;
    }
    for (int64_t q = 0; q < o->B; q++) {
        bias += (double)u.family[0].c * t->bound[q];
    }
    u.square_scale = hps_fixed_scale(1.1 * total * total);
    u.bias_scale = hps_fixed_scale(1.1 * bias);
    u.norm_scale = hps_fixed_scale(row_norm_bound(o, &u.adam, t->model->shard.d));
    return u;
}

/* The decoder's part of a nested objective: a few columns at a time, first their suffix vectors, then their gradients. */
static void nested_decoder_pass(hps_trainer *t, const hps_update *u, const hps_state *W_dec, int64_t *square,
                                int64_t *norm)
{
    const hps_model *m = t->model;
    const hps_forward *f = t->forward;
    hps_update part = *u;

    part.family[0].rows = t->suffix;
    part.family[0].ld = t->chunk;
    part.family[0].row = t->nest.nesting.row;
    for (int64_t j = 0; j < m->shard.w; j += t->chunk) {
        const int64_t w = m->shard.w - j < t->chunk ? m->shard.w - j : t->chunk;
        const hps_state columns = {W_dec->value + j, W_dec->moment1 + j, W_dec->moment2 + j};
        part.family[1].rows = u->families > 1 ? u->family[1].rows + j : NULL;
        t->kernels->suffix_rows(f->ws, t->options.B, w, m->ldd, columns.value, &f->slots, &t->nest.nesting,
                                t->nest.main, f->R + j, t->chunk, t->suffix);
        t->kernels->update_decoder(f->ws, &part, m->shard.n, w, m->ldd, t->parallel, &columns, square, norm);
    }
}

/* One pass of gradients over the rank's decoder columns and encoder rows; with u->apply they are used at once. */
static void gradient_pass(hps_trainer *t, const hps_update *u)
{
    hps_model *m = t->model;
    hps_forward *f = t->forward;
    int64_t *norm = t->fixed, *column = t->fixed + m->shard.n, *square = column + m->shard.d;
    hps_tensors *v = &m->role[HPS_VALUE], *m1 = &m->role[HPS_MOMENT1], *m2 = &m->role[HPS_MOMENT2];
    const hps_state W_dec = {v->W_dec, m1->W_dec, m2->W_dec}, W_enc = {v->W_enc, m1->W_enc, m2->W_enc};
    const hps_state b_enc = {v->b_enc, m1->b_enc, m2->b_enc};
    float row_norm, bias;

    memset(t->fixed, 0, (size_t)(m->shard.n + m->shard.d + 1) * sizeof(*t->fixed));
    if (t->nest.levels > 1) {
        nested_decoder_pass(t, u, &W_dec, square, norm);
    } else {
        t->kernels->update_decoder(f->ws, u, m->shard.n, m->shard.w, m->ldd, t->parallel, &W_dec, square, norm);
    }
    t->kernels->update_encoder(f->ws, u, &f->encoder, m->lde, f->y, t->bias_gradient, &W_enc, &b_enc, square, column,
                               &row_norm, &bias);
    /* dL/db = c * (column sums of S) - sum_i bias_gradient_i e_i, each rank bringing its columns and its latents. */
    for (int64_t j = 0; j < m->shard.d; j++) {
        column[j] = -column[j];
    }
    for (int64_t j = 0; j < m->shard.w; j++) {
        column[m->shard.c0 + j] += hps_to_fixed((double)u->family[0].c * t->S_sum[j], u->bias_scale);
    }
    if (u->apply) {
        f->encoder.row_norm = row_norm;
        f->encoder.bias = bias;
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
#pragma omp parallel for schedule(static) num_threads(t->options.threads)
        for (int64_t i = 0; i < layout.local_rows * layout.ld; i++) {
            mean[i] = fmaf(weight, value[i] - mean[i], mean[i]);
        }
    }
}

/* Slots of token q that its reconstruction at k uses. */
static int64_t main_slots(const hps_trainer *t, int64_t q)
{
    const int64_t slots = t->forward->slots.first[q + 1] - t->forward->slots.first[q];

    return t->nest.main >= 0 && t->nest.main < slots ? t->nest.main : slots;
}

static void count_fired(hps_trainer *t)
{
    hps_model *m = t->model;
    const hps_slots *slots = &t->forward->slots;

    m->step++;
    m->tokens += t->options.B;
    for (int64_t q = 0; q < t->options.B; q++) {
        for (int64_t s = slots->first[q]; s < slots->first[q] + main_slots(t, q); s++) {
            m->fired[slots->slot[s].latent] = m->tokens;
        }
    }
}

/* BatchTopK's threshold for use: the running mean of the smallest value that was kept. */
static void follow_threshold(hps_trainer *t)
{
    const hps_step_options *o = &t->options;
    const hps_slots *slots = &t->forward->slots;
    hps_model *m = t->model;
    float least = INFINITY;

    if (o->rule != HPS_PICK_BATCH || m->step < o->threshold_start || slots->first[o->B] == 0) {
        return;
    }
    for (int32_t s = 0; s < slots->first[o->B]; s++) {
        least = fminf(least, slots->slot[s].value);
    }
    m->threshold =
        m->threshold < 0 ? (double)least : o->threshold_decay * m->threshold + (1 - o->threshold_decay) * (double)least;
}

/* Gradients, clip, Adam, unit rows. */
static hps_status update(hps_trainer *t, bool has_aux, hps_step_report *report)
{
    const hps_model *m = t->model;
    const MPI_Comm comm = t->grid->model;
    const int64_t all = m->shard.n + m->shard.d + 1;
    double begin = omp_get_wtime();
    hps_update u = plan_update(t, has_aux);

    hps_bucket_fill(t->options.B, m->shard.n, &t->forward->slots, &t->bucket);
    if (has_aux) {
        hps_bucket_fill(t->options.B, m->shard.n, &t->aux->slots, &t->aux->bucket);
    }
    hps_latent_sums(m->shard.n, u.families, u.family, t->options.threads, t->parallel, t->bias_gradient);
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
    report->seconds[HPS_PHASE_UPDATE] = omp_get_wtime() - begin;
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
    follow_threshold(t);
    count_fired(t);
    if (t->options.ema > 0) {
        average(t);
    }
    report->seconds[HPS_PHASE_UPDATE] += omp_get_wtime() - begin;
    return HPS_OK;
}

/* Residuals, the slots' gradients in fixed point, column sums; every slot in the order that the objective wants. */
static void decode(hps_trainer *t)
{
    hps_forward *f = t->forward;
    const hps_model *m = t->model;
    const int64_t B = t->options.B, w = m->shard.w;
    const bool nested = t->nest.levels > 1;

    if (nested) {
        hps_nest_fill(&t->nest, B, t->options.threads, &f->slots);
    }
    for (int64_t q = 0; q < B; q++) {
        t->bound[q] = hps_residual_bound(f->y_norm[q], f->z_sum[q]);
        f->scale[q] = hps_fixed_scale(t->bound[q]);
    }
    hps_forward_decode(f, B, t->nest.main, !nested);
    t->kernels->column_sums(f->ws, B, w, m->ldd, f->R, m->ldd, f->R, t->sum, t->square);
    if (nested) {
        t->kernels->nested(f->ws, B, w, m->ldd, m->role[HPS_VALUE].W_dec, &f->slots, &t->nest.nesting, t->nest.main,
                           m->lde, f->y + m->shard.c0, f->scale, f->R, t->S);
        t->kernels->column_sums(f->ws, B, w, m->ldd, t->S, m->lde, f->y + m->shard.c0, t->S_sum, t->S_y);
    } else {
        memcpy(t->S_sum, t->sum, (size_t)w * sizeof(*t->sum));
    }
}

/*
 * The objective: sum over tokens of <S, b - x> + sum_s z_s dz_s, since r_s = (b - x) + sum_{t <= s} z_t w_t makes
 * sum_s w_s |r_s|^2 that.  Without nesting it is the squared error.
 */
static double objective(const hps_trainer *t)
{
    const hps_slots *slots = &t->forward->slots;
    double z_dz = 0;

    if (t->nest.levels == 1) {
        return t->sse;
    }
    for (int32_t s = 0; s < slots->first[t->options.B]; s++) {
        z_dz += (double)slots->slot[s].value * (double)slots->dz[s];
    }
    return z_dz - t->S_y_all;
}

static void describe(const hps_trainer *t, bool has_aux, hps_step_report *report)
{
    const double B = (double)t->options.B, V = t->options.V;
    int64_t active = 0;

    for (int64_t q = 0; q < t->options.B; q++) {
        active += main_slots(t, q);
    }
    report->loss = objective(t) / (B * V);
    report->fvu = t->sse / (B * V);
    report->aux_fvu = has_aux && t->error_variance > 0 ? t->aux_sse / t->error_variance : 0;
    report->l0 = (double)active / B;
}

hps_status hps_trainer_step(hps_trainer *t, double *flag, hps_step_report *report)
{
    hps_forward *f = t->forward;
    const hps_model *m = t->model;
    const hps_step_options *o = &t->options;

    *report =
        (hps_step_report){.k = hps_k_at(o, m->k, m->step), .seconds[HPS_PHASE_IO] = report->seconds[HPS_PHASE_IO]};
    hps_nest_begin(&t->nest, m->step, report->k);
    const hps_pick pick = {.rule = o->rule, .k = t->nest.slots, .alpha = o->alpha, .beta = o->beta};
    HPS_TRY(hps_forward_select(f, o->B, &pick));
    report->seconds[HPS_PHASE_ENCODE] = f->seconds_encode;
    report->seconds[HPS_PHASE_SELECT] = f->seconds_merge;
    hps_forward_beside(t->forward);
    double begin = omp_get_wtime();
    decode(t);
    hps_forward_beside(t->forward);
    report->seconds[HPS_PHASE_DECODE] = omp_get_wtime() - begin;

    begin = omp_get_wtime();
    report->dead = hps_dead_latents(m, o->dead_tokens);
    const bool has_aux = t->aux != NULL && report->dead > 0;
    if (has_aux) {
        hps_aux_forward(t->aux, f, o->B, o->dead_tokens, t->bound);
    }
    hps_forward_beside(t->forward);
    report->seconds[HPS_PHASE_AUX] = omp_get_wtime() - begin;

    begin = omp_get_wtime();
    HPS_TRY(batch_sums(t, has_aux, flag));
    hps_slots_sum_dz(t->grid->model, o->B, f->scale, o->threads, &f->slots);
    if (has_aux) {
        hps_slots_sum_dz(t->grid->model, o->B, t->aux->scale, o->threads, &t->aux->slots);
    }
    report->seconds[HPS_PHASE_COMM] = omp_get_wtime() - begin;
    describe(t, has_aux, report);
    return update(t, has_aux, report);
}
