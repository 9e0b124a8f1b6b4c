#include "hpsae/ensemble/ensemble_evaluate.h"

#include "hpsae/base/memory.h"
#include "hpsae/model/evaluate_sums.h"

#include <math.h>
#include <string.h>

/* Kinds of reconstruction in the sums: the whole; then, of J members, J prefixes; of bagging J alone, and the spread. */
enum { WHOLE, PREFIX };

typedef struct {
    hps_ensemble_forward *f;
    hps_ensemble_evaluation *r;
    int members;
    bool bagging;
    int64_t *fired;  /* [latents] */
    int64_t *active; /* [members] slots of all tokens */
    float *scratch;  /* [B, ldd] */
    double *error;   /* [kinds] */
    hps_error_sums sums;
} pass;

static int alone(const pass *p)
{
    return PREFIX + p->members;
}

static int spread(const pass *p)
{
    return PREFIX + 2 * p->members;
}

static hps_status allocate(pass *p)
{
    const hps_ensemble *e = p->f->ensemble;
    const int kinds = p->bagging ? spread(p) + 1 : PREFIX + p->members;

    HPS_TRY(hps_error_sums_create(e->model[0]->shard.w, kinds, &p->sums));
    HPS_TRY(HPS_ALLOC(&p->error, kinds, "evaluation sums"));
    HPS_TRY(HPS_ALLOC(&p->active, p->members, "firing counts"));
    HPS_TRY(HPS_ALLOC(&p->r->member, p->members, "figures of members"));
    return HPS_ALLOC(&p->scratch, p->f->B * p->f->ldd, "residuals");
}

static void release(pass *p)
{
    HPS_FREE(&p->scratch);
    HPS_FREE(&p->active);
    HPS_FREE(&p->error);
    hps_error_sums_destroy(&p->sums);
}

static void count_fired(pass *p, int64_t B)
{
    for (int j = 0; j < p->members; j++) {
        const hps_slots *slots = &p->f->forward[j]->slots;
        for (int32_t s = 0; s < slots->first[B]; s++) {
            p->fired[p->f->ensemble->offset[j] + slots->slot[s].latent]++;
        }
        p->active[j] += slots->first[B];
    }
}

/* What the members of a bagging do alone, and how far apart they are. */
static void add_members(pass *p, int64_t B)
{
    const hps_ensemble_forward *f = p->f;

    for (int j = 0; j < p->members; j++) {
        const float *R = f->forward[j]->R;
        hps_error_sums_residuals(&p->sums, f->forward[0], B, R, alone(p) + j);
        for (int64_t i = 0; i < B * f->ldd; i++) {
            p->scratch[i] = R[i] - f->R[i];
        }
        hps_error_sums_residuals(&p->sums, f->forward[0], B, p->scratch, spread(p));
    }
}

/* Collective. */
static hps_status add_batch(pass *p, hps_feed *feed, int64_t position, int64_t B)
{
    hps_ensemble_forward *f = p->f;

    HPS_TRY(hps_feed_batch(feed, position, B, f->lde, f->x));
    HPS_TRY(hps_ensemble_forward_run(f, B));
    hps_error_sums_inputs(&p->sums, f->forward[0], B);
    hps_error_sums_residuals(&p->sums, f->forward[0], B, f->R, WHOLE);
    for (int j = 0; j < p->members; j++) {
        hps_ensemble_forward_prefix(f, B, j + 1, p->scratch);
        hps_error_sums_residuals(&p->sums, f->forward[0], B, p->scratch, PREFIX + j);
    }
    if (p->bagging) {
        add_members(p, B);
    }
    count_fired(p, B);
    return HPS_OK;
}

/* Collective.  A threshold may let more through than there is room for: smaller batches then, down to one row. */
static hps_status add_rows(pass *p, hps_feed *feed)
{
    int64_t batch = p->f->B;

    for (int64_t done = 0; done < p->r->rows;) {
        const int64_t count = p->r->rows - done < batch ? p->r->rows - done : batch;
        const hps_status status = add_batch(p, feed, done, count);
        if (status == HPS_EARG && count > 1) {
            batch = count / 2;
            continue;
        }
        HPS_TRY(status);
        done += count;
    }
    return HPS_OK;
}

static void conclude_members(pass *p, double variance, double rows)
{
    hps_ensemble_evaluation *r = p->r;
    const double scale = p->f->ensemble->model[0]->scale;

    for (int j = 0; j < p->members; j++) {
        const double error = p->bagging ? p->error[alone(p) + j] : NAN;
        r->member[j] = (hps_member_evaluation){.l0 = (double)p->active[j] / rows,
                                               .ev = 1 - error / variance,
                                               .mse = error / rows / (scale * scale),
                                               .prefix_ev = 1 - p->error[PREFIX + j] / variance};
        r->l0 += r->member[j].l0;
    }
    r->spread = p->bagging ? p->error[spread(p)] / p->members / rows / (scale * scale) : NAN;
}

/* Collective. */
static void conclude(pass *p)
{
    hps_ensemble_evaluation *r = p->r;
    const hps_ensemble *e = p->f->ensemble;
    const double rows = (double)r->rows, scale = e->model[0]->scale;
    double variance;

    hps_error_sums_conclude(&p->sums, p->f->forward[0], r->rows, p->error, &variance, &r->ev_dimmean);
    r->fvu = p->error[WHOLE] / variance;
    r->ev = 1 - r->fvu;
    r->mse = p->error[WHOLE] / rows / (scale * scale);
    conclude_members(p, variance, rows);
    for (int64_t i = 0; i < e->offset[p->members]; i++) {
        r->alive += p->fired[i] > 0;
    }
}

hps_status hps_ensemble_evaluate(hps_ensemble_forward *f, hps_feed *feed, int64_t rows, int64_t *fired,
                                 hps_ensemble_evaluation *r)
{
    const hps_ensemble *e = f->ensemble;
    pass p = {
        .f = f, .r = r, .members = e->file.members, .bagging = e->file.method == HPS_ENSEMBLE_BAGGING, .fired = fired};

    *r = (hps_ensemble_evaluation){.rows = rows};
    memset(fired, 0, (size_t)e->offset[p.members] * sizeof(*fired));
    hps_status status = hps_agree(e->grid->model, allocate(&p));
    if (status == HPS_OK) {
        status = add_rows(&p, feed);
    }
    if (status == HPS_OK) {
        conclude(&p);
    }
    release(&p);
    return status;
}

void hps_ensemble_evaluation_release(hps_ensemble_evaluation *result)
{
    HPS_FREE(&result->member);
}
