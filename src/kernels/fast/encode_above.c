/*
 * All pre-activations above a floor, by screen and rescue: a screened value more than `error` below the floor cannot
 * reach it; the others are computed again, canonically.  The floor may rise with the k-th largest screened value, which is
 * at most `error` above the canonical one.
 */
#include "lanes.h"
#include "screen.h"
#include "workspace.h"

#include <cblas.h>
#include <omp.h>
#include <string.h>

typedef struct {
    const hps_encoder *enc;
    int64_t ldy, pending; /* most pending latents of a token */
    int64_t k;
    const float *y, *ratio;
    float *floor;
    int64_t capacity;
    hps_hit *hit;
    int64_t *count; /* of all threads */
} search;

/* Keeps of the token's pending latents those that reach the floor. */
static void decide(fast_thread *me, const search *p, int64_t token, int64_t t)
{
    const hps_encoder *enc = p->enc;
    hps_candidate *pending = me->pending + token * p->pending;
    int64_t kept = 0, place;
    enum { AHEAD = 3 };

    for (int32_t i = 0; i < me->count[token]; i++) {
        const int64_t l = pending[i].latent;
        if (i + AHEAD < me->count[token]) {
            fast_prefetch(enc->W_enc + pending[i + AHEAD].latent * enc->lde, enc->d);
        }
        const float value = fast_dot(enc->d, enc->W_enc + l * enc->lde, p->y + t * p->ldy) + enc->b_enc[l];
        if (value >= p->floor[t]) {
            pending[kept++] = (hps_candidate){value, enc->latent[l]};
        }
    }
    me->count[token] = 0;
#pragma omp atomic capture
    {
        place = *p->count;
        *p->count += kept;
    }
    for (int64_t i = 0; i < kept && place + i < p->capacity; i++) {
        p->hit[place + i] = (hps_hit){(int32_t)t, pending[i]};
    }
}

/* Raises the token's floor by its largest values so far, the pending ones among them, and drops those that cannot reach it. */
static void raise_floor(fast_thread *me, const search *p, int64_t token, int64_t t)
{
    hps_candidate *pending = me->pending + token * p->pending;
    float *best = me->best + token * p->k;
    int64_t count = me->known[token];
    int32_t kept = 0;

    memcpy(me->scratch, best, (size_t)count * sizeof(float));
    for (int32_t i = 0; i < me->count[token]; i++) {
        me->scratch[count++] = pending[i].value;
    }
    if (count >= p->k) {
        const float reach = p->ratio[t] * (fast_kth_largest(me->scratch, count, p->k) - me->error[token]);
        p->floor[t] = fmaxf(p->floor[t], reach);
        me->threshold[token] = p->floor[t] - me->error[token];
        count = p->k; /* the selection left them in front */
    }
    memcpy(best, me->scratch, (size_t)count * sizeof(float));
    me->known[token] = (int32_t)count;
    for (int32_t i = 0; i < me->count[token]; i++) {
        if (pending[i].value >= me->threshold[token]) {
            pending[kept++] = pending[i];
        }
    }
    me->count[token] = kept;
}

/* What to do with the token's pending latents before more come, while their rows are in cache. */
static void settle(fast_thread *me, const search *p, int64_t token, int64_t t)
{
    if (p->k > 0) {
        raise_floor(me, p, token, t);
    }
    decide(me, p, token, t);
}

/* One row of a tile: the values of m latents from l0 on. */
static void scan(fast_thread *me, const search *p, int64_t token, int64_t t, int64_t l0, int64_t m, const float *values)
{
    hps_candidate *pending = me->pending + token * p->pending;
    const float *bias = p->enc->b_enc + l0;

    for (int64_t j = 0; j < m; j += HPS_LANES) {
        const int64_t end = m - j < HPS_LANES ? m : j + HPS_LANES;
        int any = 0;

        for (int64_t l = j; l < end; l++) {
            any |= values[l] + bias[l] >= me->threshold[token];
        }
        if (__builtin_expect(!any, 1)) {
            continue;
        }
        if (me->count[token] + HPS_LANES > p->pending) {
            settle(me, p, token, t);
        }
        for (int64_t l = j; l < end; l++) {
            if (values[l] + bias[l] >= me->threshold[token]) {
                pending[me->count[token]++] = (hps_candidate){values[l] + bias[l], (int32_t)(l0 + l)};
            }
        }
    }
}

static void search_tokens(fast_thread *me, const search *p, const float *y_norm, int64_t t0, int64_t tokens)
{
    const hps_encoder *enc = p->enc;

    for (int64_t b = 0; b < tokens; b++) {
        me->count[b] = me->known[b] = 0;
        me->error[b] = fast_screen_error(enc, y_norm[t0 + b]);
        me->threshold[b] = p->floor[t0 + b] - me->error[b];
    }
    for (int64_t l0 = 0; l0 < enc->own; l0 += PANEL) {
        const int64_t m = enc->own - l0 < PANEL ? enc->own - l0 : PANEL;

        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)tokens, (int)m, (int)enc->d, 1, p->y + t0 * p->ldy,
                    (int)p->ldy, enc->W_enc + l0 * enc->lde, (int)enc->lde, 0, me->tile, PANEL);
        for (int64_t b = 0; b < tokens; b++) {
            scan(me, p, b, t0 + b, l0, m, me->tile + b * PANEL);
        }
        for (int64_t b = 0; b < tokens; b++) {
            settle(me, p, b, t0 + b);
        }
    }
}

int64_t FAST(encode_above)(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y,
                           const float *y_norm, int64_t k, const float *ratio, float *floor, int64_t capacity,
                           hps_hit *hit)
{
    int64_t count = 0;
    const search p = {.enc = enc,
                      .ldy = ldy,
                      .pending = ws->capacity,
                      .k = k,
                      .ratio = ratio,
                      .y = y,
                      .floor = floor,
                      .capacity = capacity,
                      .hit = hit,
                      .count = &count};
    const int64_t tokens = fast_task_tokens(ws, B);

#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t t0 = 0; t0 < B; t0 += tokens) {
        search_tokens(ws->thread + omp_get_thread_num(), &p, y_norm, t0, B - t0 < tokens ? B - t0 : tokens);
    }
    return count;
}
