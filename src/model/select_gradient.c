/*
 * Gradient-aware selection (g-SAE, Olmo et al. 2024): the k largest scores z (alpha + beta |<w_i, g>|).  Exact with few of the
 * dot products: |w_i| = 1, so a score is at most z (alpha + beta |g|), and the k-th largest is at least alpha times the k-th
 * largest z.  A value below alpha / (alpha + beta |g|) of that cannot win, so one pass of the encoder finds those that can.
 */
#include "select.h"

#include "hpsae/base/canonical.h"
#include "hpsae/model/slots.h"

#include <float.h>
#include <math.h>
#include <omp.h>

/* More than the rounding of norms and scores. */
static const double SLACK = 1.0001;

/* What a value is multiplied by, at most. */
static double most(const hps_pick *pick, float g_norm)
{
    return SLACK * (pick->alpha + pick->beta * (double)g_norm);
}

static void take_norms(hps_forward *f, int64_t B, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;

#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t t = 0; t < B; t++) {
        const float *g = f->g + t * f->model->lde;
        double square = 0;
        for (int64_t j = 0; j < f->model->shard.d; j++) {
            square += (double)g[j] * (double)g[j];
        }
        s->g_norm[t] = (float)sqrt(square) * 1.000001f;
        s->ratio[t] = (float)(pick->alpha / (SLACK * SLACK * most(pick, s->g_norm[t])));
    }
}

static bool scores_higher(hps_scored a, hps_scored b)
{
    return a.score > b.score || (a.score == b.score && a.candidate.latent < b.candidate.latent);
}

static void insert(hps_scored *best, int64_t k, hps_scored c)
{
    int64_t s = k - 1;

    if (!scores_higher(c, best[s])) {
        return;
    }
    for (; s > 0 && scores_higher(c, best[s - 1]); s--) {
        best[s] = best[s - 1];
    }
    best[s] = c;
}

static void start(hps_scored *best, int64_t k)
{
    for (int64_t i = 0; i < k; i++) {
        best[i] = (hps_scored){-INFINITY, HPS_NO_CANDIDATE};
    }
}

/* Keeps of the gathered values of `count` tokens those that can be among the k best; picked is scratch. */
static void prune(hps_forward *f, int64_t from, int64_t count, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    hps_slots *slots = &f->slots;
    int32_t kept = 0, begin = 0;

#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t i = 0; i < count; i++) {
        hps_scored *best = s->picked + (from + i) * f->k;
        start(best, pick->k);
        for (int32_t c = slots->first[i]; c < slots->first[i + 1]; c++) {
            insert(best, pick->k, (hps_scored){slots->slot[c].value, slots->slot[c]});
        }
        s->score[from + i] = s->ratio[from + i] * fmaxf(best[pick->k - 1].score, 0);
    }
    for (int64_t i = 0; i < count; i++) {
        const int32_t end = slots->first[i + 1];
        slots->first[i] = kept;
        for (int32_t c = begin; c < end; c++) {
            if (slots->slot[c].value >= s->score[from + i]) {
                slots->slot[kept++] = slots->slot[c];
            }
        }
        begin = end;
    }
    slots->first[count] = kept;
}

/* Scores the slots of tokens [from, from + count) and picks each token's k best. */
static void score(hps_forward *f, int64_t from, int64_t count, const hps_pick *pick)
{
    const hps_model *m = f->model;
    hps_searcher *s = f->searcher;
    hps_slots *slots = &f->slots;
    const float alpha = (float)pick->alpha, beta = (float)pick->beta;

    for (int64_t i = 0; i < count; i++) {
        f->scale[i] = hps_fixed_scale(1.02 * (double)s->g_norm[from + i]);
    }
    f->kernels->slot_dots(f->ws, count, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, slots, m->lde,
                          f->g + from * m->lde + m->shard.c0, f->scale);
    hps_slots_sum_dz(f->grid->model, count, f->scale, f->threads, slots);
#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t i = 0; i < count; i++) {
        hps_scored *best = s->picked + (from + i) * f->k;
        start(best, pick->k);
        for (int32_t c = slots->first[i]; c < slots->first[i + 1]; c++) {
            const hps_candidate slot = slots->slot[c];
            insert(best, pick->k, (hps_scored){slot.value * fmaf(beta, fabsf(slots->dz[c]), alpha), slot});
        }
        s->score[from + i] = fmaxf(best[pick->k - 1].score, 0);
    }
}

/* Searches tokens [from, from + count); false when the values in question do not fit. */
static bool search(hps_forward *f, int64_t from, int64_t count, int64_t k, const hps_pick *pick)
{
    if (hps_search(f, f->grid->model, from, count, k, f->searcher->ratio + from) > f->searcher->capacity) {
        return false;
    }
    hps_search_gather(f, count, FLT_TRUE_MIN, false);
    prune(f, from, count, pick);
    score(f, from, count, pick);
    return true;
}

/*
 * A rank knows the k-th largest value of its own latents alone.  Of several ranks each takes the k-th of a few, which is near
 * that of all; where it was above (the floors show it), the token is searched again.
 */
static void search_again(hps_forward *f, int64_t from, int64_t count, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, s->floor, (int)count, MPI_FLOAT, MPI_MAX, f->grid->model));
    for (int64_t i = 0, t = from; i < count; i++, t++) {
        const double unseen = (double)s->floor[i] * SLACK * most(pick, s->g_norm[t]);
        s->value[i] = s->floor[i] > FLT_TRUE_MIN && unseen >= (double)s->score[t] ? 1 : 0;
    }
    for (int64_t i = 0, t = from; i < count; i++, t++) {
        if (s->value[i] > 0) {
            s->floor[0] =
                fmaxf((float)((double)s->score[t] / (SLACK * SLACK * most(pick, s->g_norm[t]))), FLT_TRUE_MIN);
            search(f, t, 1, 0, pick); /* one token always fits */
        }
    }
}

void hps_select_gradient(hps_forward *f, int64_t B, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    const int64_t P = f->grid->P, share = 2 * ((pick->k + P - 1) / P) + 8;
    const int64_t k = P == 1 || share > pick->k ? pick->k : share;

    take_norms(f, B, pick);
    for (int64_t done = 0; done < B;) {
        const int64_t count = B - done < s->group ? B - done : s->group;
        for (int64_t i = 0; i < count; i++) {
            s->floor[i] = FLT_TRUE_MIN;
        }
        if (!search(f, done, count, k, pick)) {
            s->group = count / 2;
            continue;
        }
        if (f->slots.first[count] < s->capacity / 4 && s->group < f->B) {
            s->group = 2 * s->group < f->B ? 2 * s->group : f->B;
        }
        if (k < pick->k) {
            search_again(f, done, count, pick);
        }
        done += count;
    }
    for (int64_t i = 0; i < B * f->k; i++) {
        f->slots.slot[i] = s->picked[i].candidate;
    }
    hps_slots_compact(B, f->k, pick->k, &f->slots, f->z_sum);
}
