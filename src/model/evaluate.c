#include "hpsae/model/evaluate.h"

#include "first_order.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/groups.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/evaluate_sums.h"

#include <string.h>

/* Kinds of reconstruction in the sums: the main one, the curve's, the prefixes'. */
enum { MAIN, CURVE };

typedef struct {
    hps_forward *f;
    const hps_evaluate_options *options;
    hps_evaluation *r;
    hps_pick pick;        /* as wide as the curve */
    int64_t slots;        /* of a token that are the main figures'; -1: all */
    int same;             /* point of the curve that keeps just those; -1: none */
    int64_t active;       /* such slots of all tokens */
    int64_t *fired, *own; /* [n] counts; ours when the caller has none */
    hps_error_sums sums;
    hps_slots group;        /* slots between two prefixes */
    int64_t capacity;       /* of group */
    hps_group_sums *groups; /* NULL with one data group */
    hps_first_order effect;
} pass;

static void release(pass *p)
{
    HPS_FREE(&p->own);
    HPS_FREE(&p->group.first);
    HPS_FREE(&p->group.slot);
    hps_first_order_destroy(&p->effect);
    hps_group_sums_destroy(&p->groups);
    hps_error_sums_destroy(&p->sums);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* 1, 2, 4, ... and the last, and k among them, ascending. */
static int curve_points(int64_t k, int64_t last, int64_t at[HPS_CURVE_POINTS])
{
    int points = 0, place;

    for (int64_t q = 1; q < last; q *= 2) {
        at[points++] = q;
    }
    at[points++] = last;
    for (place = points; place > 0 && at[place - 1] > k; place--) {
    }
    if (place > 0 && at[place - 1] == k) {
        return points;
    }
    memmove(at + place + 1, at + place, (size_t)(points - place) * sizeof(*at));
    at[place] = k;
    return points + 1;
}

static hps_status allocate(pass *p, int64_t *fired)
{
    const hps_model *m = p->f->model;

    HPS_TRY(hps_error_sums_create(m->shard.w, CURVE + p->r->points + p->r->prefixes, &p->sums));
    if (p->r->prefixes > 0) {
        HPS_TRY(HPS_ALLOC(&p->group.first, p->f->B + 1, "slots of a prefix"));
    }
    if (p->f->grid->R > 1) {
        HPS_TRY(hps_group_sums_create(p->f->grid->groups, p->f->grid->R, p->f->grid->r, m->shard.w, &p->groups));
    }
    p->fired = fired;
    if (fired == NULL) {
        HPS_TRY(HPS_ALLOC(&p->own, m->shard.n, "firing counts"));
        p->fired = p->own;
    }
    memset(p->fired, 0, (size_t)m->shard.n * sizeof(*p->fired));
    return HPS_OK;
}

static hps_status prepare(pass *p, int64_t *fired)
{
    const hps_model *m = p->f->model;
    const hps_evaluate_options *o = p->options;

    p->pick = o->pick;
    p->slots = p->same = -1;
    if (o->curve > 0) {
        const int64_t widest = larger(o->curve, m->k);
        p->r->points = curve_points(m->k, o->curve, p->r->k);
        if (o->pick.rule == HPS_PICK_TOPK && widest > o->pick.k) {
            p->pick.k = widest;
            p->slots = o->pick.k;
        }
        for (int i = 0; o->pick.rule == HPS_PICK_TOPK && i < p->r->points; i++) {
            p->same = p->r->k[i] == o->pick.k ? i : p->same;
        }
    }
    p->r->prefixes = m->prefixes;
    memcpy(p->r->prefix, m->prefix, sizeof(p->r->prefix));
    hps_status status = hps_grid_agree(p->f->grid, hps_agree(p->f->grid->model, allocate(p, fired)));
    if (status == HPS_OK && o->gradients != NULL) {
        status = hps_first_order_create(p->f, &p->effect);
    }
    return status;
}

/* The end of a token's slots that count for the main figures. */
static int32_t main_end(const pass *p, int64_t t)
{
    const int32_t begin = p->f->slots.first[t], end = p->f->slots.first[t + 1];

    return p->slots >= 0 && begin + p->slots < end ? begin + (int32_t)p->slots : end;
}

static hps_status read_batch(pass *p, hps_feed *feed, int64_t position, int64_t B)
{
    const hps_evaluate_options *o = p->options;
    const int64_t lde = p->f->model->lde, d = p->f->model->shard.d;

    HPS_TRY(hps_feed_batch(feed, position, B, lde, p->f->y));
    if (o->gradients == NULL) {
        return HPS_OK;
    }
    HPS_TRY(hps_feed_batch(o->gradients, position, B, lde, p->effect.g));
    if (o->pick.rule == HPS_PICK_GRADIENT) {
        const float scale = (float)(1 / o->gradient_rms);
#pragma omp parallel for schedule(static) num_threads(p->f->threads)
        for (int64_t t = 0; t < B; t++) {
            for (int64_t j = 0; j < d; j++) {
                p->f->g[t * lde + j] = p->effect.g[t * lde + j] * scale;
            }
        }
    }
    return HPS_OK;
}

static void count_fired(pass *p, int64_t B)
{
    for (int64_t t = 0; t < B; t++) {
        const int32_t begin = p->f->slots.first[t], end = main_end(p, t);
        for (int32_t s = begin; s < end; s++) {
            p->fired[p->f->slots.slot[s].latent]++;
        }
        p->active += end - begin;
    }
}

static void add_curve(pass *p, int64_t B)
{
    for (int i = 0; i < p->r->points; i++) {
        if (i != p->same) {
            hps_forward_decode(p->f, B, p->r->k[i], false);
            hps_error_sums_residuals(&p->sums, p->f, B, p->f->R, CURVE + i);
        }
    }
}

/* The main slots of latents from ... to - 1, in their order. */
static void fill_group(pass *p, int64_t B, int64_t from, int64_t to)
{
    int32_t kept = 0;

    for (int64_t t = 0; t < B; t++) {
        p->group.first[t] = kept;
        for (int32_t s = p->f->slots.first[t]; s < main_end(p, t); s++) {
            const int64_t latent = p->f->slots.slot[s].latent;
            if (latent >= from && latent < to) {
                p->group.slot[kept++] = p->f->slots.slot[s];
            }
        }
    }
    p->group.first[B] = kept;
}

/* Each prefix adds its own latents to the reconstruction of the one before. */
static hps_status add_prefixes(pass *p, int64_t B)
{
    hps_forward *f = p->f;
    const hps_model *m = f->model;
    const int64_t all = f->slots.first[B];

    if (all > p->capacity) {
        HPS_FREE(&p->group.slot);
        p->capacity = all;
        HPS_TRY(hps_agree(f->grid->model, HPS_ALLOC(&p->group.slot, all, "slots of a prefix")));
    }
    for (int i = 0; i < p->r->prefixes; i++) {
        const bool begins = i == 0;
        fill_group(p, B, begins ? 0 : m->prefix[i - 1], m->prefix[i]);
        f->kernels->decode(f->ws, B, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, &p->group, -1, begins ? -1 : 1,
                           begins ? m->lde : m->ldd, begins ? f->centred + m->shard.c0 : f->R, f->scale, false, f->R);
        hps_error_sums_residuals(&p->sums, f, B, f->R, CURVE + p->r->points + i);
    }
    return HPS_OK;
}

static hps_status add_batch(pass *p, hps_feed *feed, int64_t position, int64_t B)
{
    HPS_TRY(read_batch(p, feed, position, B));
    HPS_TRY(hps_forward_select(p->f, B, &p->pick));
    hps_error_sums_inputs(&p->sums, p->f, B);
    hps_forward_decode(p->f, B, p->slots, false);
    hps_error_sums_residuals(&p->sums, p->f, B, p->f->R, MAIN);
    if (p->options->gradients != NULL) {
        hps_first_order_add(&p->effect, p->f, B);
    }
    count_fired(p, B);
    add_curve(p, B);
    return p->r->prefixes > 0 ? add_prefixes(p, B) : HPS_OK;
}

static void conclude(pass *p)
{
    hps_evaluation *r = p->r;
    const hps_model *m = p->f->model;
    const double rows = (double)r->rows;
    double error[CURVE + HPS_CURVE_POINTS + HPS_PREFIXES_MAX], variance;

    hps_error_sums_conclude(&p->sums, p->f, r->rows, error, &variance, &r->ev_dimmean);
    r->fvu = error[MAIN] / variance;
    r->ev = 1 - r->fvu;
    r->mse = error[MAIN] / rows / (m->scale * m->scale);
    r->l0 = (double)p->active / rows;
    for (int i = 0; i < r->points; i++) {
        r->ev_at_k[i] = 1 - error[i == p->same ? MAIN : CURVE + i] / variance;
    }
    for (int i = 0; i < r->prefixes; i++) {
        r->prefix_ev[i] = 1 - error[CURVE + r->points + i] / variance;
    }
    for (int64_t i = 0; i < m->shard.n; i++) {
        r->alive += p->fired[i] > 0;
    }
}

/* The mean row [d] as it enters the model, from the ranks' columns, each of which one rank has. */
static hps_status mean_row(const pass *p, double **mean)
{
    const hps_model *m = p->f->model;
    const MPI_Comm comm = p->f->grid->model;

    HPS_TRY(hps_agree(comm, HPS_ALLOC(mean, m->shard.d, "mean row")));
    for (int64_t j = 0; j < m->shard.w; j++) {
        (*mean)[m->shard.c0 + j] = p->sums.y[j] / (double)p->r->rows;
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, *mean, hps_count(m->shard.d), MPI_DOUBLE, MPI_SUM, comm));
    for (int64_t j = 0; j < m->shard.d; j++) {
        (*mean)[j] += (double)m->role[HPS_VALUE].b[j];
    }
    return HPS_OK;
}

/* The first-order figures, which need a second pass over x and g. */
static hps_status conclude_gradients(pass *p, hps_feed *feed)
{
    hps_evaluation *r = p->r;
    const double rows = (double)r->rows, scale = p->f->model->scale;
    double *mean = NULL;
    hps_status status = HPS_OK;

    r->has_gradients = true;
    r->first_order = p->effect.sum / rows / scale;
    r->first_order_abs = p->effect.abs / rows / scale;
    r->first_order_variance = p->options->variance;
    if (!(r->first_order_variance > 0)) {
        status = mean_row(p, &mean);
        if (status == HPS_OK) {
            status = hps_first_order_variance(&p->effect, p->f, feed, p->options->gradients, r->rows, mean,
                                              &r->first_order_variance);
        }
        r->first_order_variance /= scale * scale;
        HPS_FREE(&mean);
    }
    r->first_order_r2 = 1 - p->effect.square / rows / (scale * scale) / r->first_order_variance;
    return status;
}

/* This data group's share.  A threshold may let more through than there is room for: smaller batches then, down to one row. */
static hps_status add_rows(pass *p, hps_feed *feed)
{
    const hps_grid *grid = p->f->grid;
    const int64_t end = p->r->rows * (grid->r + 1) / grid->R;
    int64_t batch = p->f->B;

    for (int64_t done = p->r->rows * grid->r / grid->R; done < end;) {
        const int64_t count = end - done < batch ? end - done : batch;
        const hps_status status = add_batch(p, feed, done, count);
        if (status == HPS_EARG && count > 1) {
            batch = count / 2;
            continue;
        }
        if (status != HPS_OK) {
            return status;
        }
        done += count;
    }
    return HPS_OK;
}

/* The sums of all data groups. */
static void join_groups(pass *p)
{
    if (p->groups != NULL) {
        hps_error_sums_join(&p->sums, p->groups);
        hps_sum_fixed(p->f->grid->groups, p->fired, p->f->model->shard.n);
        hps_sum_fixed(p->f->grid->groups, &p->active, 1);
    }
}

hps_status hps_evaluate(hps_forward *f, hps_feed *feed, const hps_evaluate_options *options, int64_t *fired,
                        hps_evaluation *r)
{
    pass p = {.f = f, .options = options, .r = r};

    *r = (hps_evaluation){.rows = options->rows};
    hps_status status = prepare(&p, fired);
    if (status == HPS_OK) {
        status = hps_grid_agree(f->grid, add_rows(&p, feed));
    }
    if (status == HPS_OK) {
        join_groups(&p);
        conclude(&p);
        status = options->gradients != NULL ? conclude_gradients(&p, feed) : HPS_OK;
    }
    release(&p);
    return status;
}
