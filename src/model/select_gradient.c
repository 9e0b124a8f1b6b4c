/*
 * Gradient-aware selection (g-SAE, Olmo et al. 2024): the k largest scores z (alpha + beta |<w_i, g>|).  Exact without all
 * the dot products: |w_i| = 1, so a score is at most z (alpha + beta |g|), and at least alpha z.  The 4 k largest values are
 * scored; where the bound on the others does not stay below the k-th score, the token is searched down to where it does.
 */
#include "select.h"

#include "hpsae/base/canonical.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/slots.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* More than the rounding of norms and scores. */
static const double SLACK = 1.0001;

/* What a value is multiplied by, at most. */
static double most(const hps_pick *pick, float g_norm)
{
    return SLACK * (pick->alpha + pick->beta * (double)g_norm);
}

static void take_norms(hps_forward *f, int64_t B)
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
    }
}

/* Of the sorted lists in slots->slot [B, width], keeps what may be among the k best; bounds the score of what no list holds. */
static void prune(hps_forward *f, int64_t B, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    hps_slots *slots = &f->slots;
    int32_t kept = 0;

    for (int64_t t = 0; t < B; t++) {
        const hps_candidate *list = slots->slot + t * s->width;
        const double above = most(pick, s->g_norm[t]);
        const double least = pick->alpha / SLACK * (double)fmaxf(list[pick->k - 1].value, 0);
        const float last = list[s->width - 1].value;

        s->rest[t] = s->width < f->model->shard.n && last > 0 ? (float)(SLACK * above * (double)last) : 0;
        slots->first[t] = kept;
        for (int64_t i = 0; i < s->width && list[i].value > 0 && (double)list[i].value * above >= least; i++) {
            slots->slot[kept++] = list[i];
        }
    }
    slots->first[B] = kept;
}

static int by_score(const void *a, const void *b)
{
    const hps_scored *x = a, *y = b;

    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return (x->candidate.latent > y->candidate.latent) - (x->candidate.latent < y->candidate.latent);
}

/* Scores the slots of `count` tokens, number[i] in the batch (NULL: i), gradients G [count, lde]: their k best are picked. */
static void score(hps_forward *f, int64_t count, const int32_t *number, const float *G, const hps_pick *pick)
{
    const hps_model *m = f->model;
    hps_searcher *s = f->searcher;
    hps_slots *slots = &f->slots;
    const float alpha = (float)pick->alpha, beta = (float)pick->beta;

    for (int64_t i = 0; i < count; i++) {
        f->scale[i] = hps_fixed_scale(1.02 * (double)s->g_norm[number != NULL ? number[i] : i]);
    }
    f->kernels->slot_dots(f->ws, count, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, slots, m->lde, G + m->shard.c0,
                          f->scale);
    hps_slots_sum_dz(f->grid->model, count, f->scale, slots);
#pragma omp parallel for schedule(dynamic, 64) num_threads(f->threads)
    for (int64_t i = 0; i < count; i++) {
        const int64_t t = number != NULL ? number[i] : i, all = slots->first[i + 1] - slots->first[i];
        hps_scored *scored = s->scored + slots->first[i];
        hps_candidate *picked = s->picked + t * f->k;
        for (int64_t c = 0; c < all; c++) {
            const hps_candidate slot = slots->slot[slots->first[i] + c];
            scored[c] = (hps_scored){slot.value * fmaf(beta, fabsf(slots->dz[slots->first[i] + c]), alpha), slot};
        }
        qsort(scored, (size_t)all, sizeof(*scored), by_score);
        for (int64_t c = 0; c < f->k; c++) {
            picked[c] = c < all && c < pick->k ? scored[c].candidate : HPS_NO_CANDIDATE;
        }
        s->score[t] = all >= pick->k ? scored[pick->k - 1].score : 0;
    }
}

/* Searches `count` tokens, s->over[from ...], for all values that may reach the k-th score; false when they do not fit. */
static bool search_further(hps_forward *f, int64_t from, int64_t count, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    const int64_t lde = f->model->lde;

    for (int64_t i = 0; i < count; i++) {
        const int64_t t = s->over[from + i];
        memcpy(s->y_over + i * lde, f->y + t * lde, (size_t)lde * sizeof(float));
        memcpy(s->g_over + i * lde, f->g + t * lde, (size_t)lde * sizeof(float));
        s->norm_over[i] = f->y_norm[t];
        s->floor[i] = fmaxf((float)((double)s->score[t] / (SLACK * most(pick, s->g_norm[t]))), FLT_TRUE_MIN);
    }
    if (hps_search(f, count, s->y_over, s->norm_over) > s->capacity) {
        return false;
    }
    hps_search_gather(f, count, FLT_TRUE_MIN);
    score(f, count, s->over + from, s->g_over, pick);
    return true;
}

void hps_select_gradient(hps_forward *f, int64_t B, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    const double begin = omp_get_wtime();
    int64_t over = 0;

    take_norms(f, B);
    f->kernels->encode(f->ws, &f->encoder, 0, NULL, B, f->model->lde, f->y, f->y_norm, s->width, f->slots.slot);
    f->seconds_encode += omp_get_wtime() - begin;
    hps_merge_all(f->grid->model, &s->merge, B, f->slots.slot);
    prune(f, B, pick);
    score(f, B, NULL, f->g, pick);
    for (int64_t t = 0; t < B; t++) {
        if (s->rest[t] > 0 && s->rest[t] >= s->score[t]) {
            s->over[over++] = (int32_t)t;
        }
    }
    int64_t group = s->group;
    for (int64_t done = 0; done < over;) {
        const int64_t count = over - done < group ? over - done : group;
        if (search_further(f, done, count, pick)) {
            done += count;
        } else {
            group = count / 2; /* one token always fits */
        }
    }
    memcpy(f->slots.slot, s->picked, (size_t)(B * f->k) * sizeof(*s->picked));
    hps_slots_compact(B, f->k, pick->k, &f->slots, f->z_sum);
}
