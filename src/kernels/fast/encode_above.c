/*
 * All pre-activations above a floor, by screen and rescue: what cannot reach it with its upper bound is dropped; the others
 * are computed again, canonically.  The floor may rise with the k-th largest lower bound.
 */
#include "screen.h"

#include <string.h>

typedef struct {
    int64_t ldy, k;
    const float *y, *ratio;
    float *floor;
    int64_t capacity;
    hps_hit *hit;
    int64_t *count; /* of all threads */
} search;

/* Keeps of the token's pending rows those whose values reach the floor. */
static void decide(const fast_screen *s, int64_t b)
{
    const search *p = s->problem;
    const hps_encoder *enc = s->enc;
    fast_thread *me = s->me;
    const int32_t *number = me->number + b * s->ws->capacity, count = me->count[b];
    const int32_t t = me->which[b];
    const float *y[AT_ONCE];
    int64_t kept = 0, place;

    for (int q = 0; q < AT_ONCE; q++) {
        y[q] = p->y + t * p->ldy;
    }
    for (int32_t i = 0; i < count; i += AT_ONCE) {
        const int here = count - i < AT_ONCE ? count - i : AT_ONCE;
        int64_t l[AT_ONCE] = {0};
        float value[AT_ONCE];
        for (int q = 0; q < here; q++) {
            l[q] = fast_row(s, number[i + q]);
        }
        fast_values(enc, l, y, value);
        for (int q = 0; q < here; q++) {
            if (value[q] >= p->floor[t] && number[i + q] < s->count) {
                me->list[kept++] = (hps_candidate){value[q], enc->latent[l[q]]};
            }
        }
    }
    me->count[b] = 0;
    if (kept == 0) {
        return;
    }
#pragma omp atomic capture
    {
        place = *p->count;
        *p->count += kept;
    }
    for (int64_t i = 0; i < kept && place + i < p->capacity; i++) {
        p->hit[place + i] = (hps_hit){t, me->list[i]};
    }
}

/* Raises the token's floor by its largest lower bounds so far, the pending ones among them, and drops what cannot reach it. */
static void raise_floor(const fast_screen *s, int64_t b)
{
    const search *p = s->problem;
    fast_thread *me = s->me;
    const int32_t t = me->which[b];
    float *best = me->best + b * p->k;
    int64_t count = me->known[b];

    memcpy(me->scratch, best, (size_t)count * sizeof(float));
    memcpy(me->scratch + count, me->low + b * s->ws->capacity, (size_t)me->count[b] * sizeof(float));
    count += me->count[b];
    if (count >= p->k) {
        const float kth = fast_kth_largest(me->scratch, count, p->k);
        p->floor[t] = fmaxf(p->floor[t], p->ratio[t] * kth);
        me->threshold[b] = p->floor[t];
        count = p->k; /* the selection left them in front */
    }
    memcpy(best, me->scratch, (size_t)count * sizeof(float));
    me->known[b] = (int32_t)count;
    fast_drop(s->ws, me, b);
}

/* What to do with the token's pending rows before more come, while they are in cache. */
static void settle(const fast_screen *s, int64_t b)
{
    const search *p = s->problem;

    if (s->me->count[b] > 0 && p->k > 0) {
        raise_floor(s, b);
    }
    decide(s, b);
}

static void search_tokens(const fast_screen *s)
{
    const search *p = s->problem;
    const int64_t panels = (s->count + PANEL - 1) / PANEL;
    enum { STRETCH = 32 };

    fast_screen_begin(s, p->ldy, p->y);
    for (int64_t b = 0; b < s->tokens; b++) {
        s->me->known[b] = 0;
        s->me->threshold[b] = p->floor[s->me->which[b]];
    }
    for (int64_t done = 0; done < panels; done += STRETCH) {
        fast_screen_panels(s, done, panels - done < STRETCH ? panels : done + STRETCH);
        for (int64_t b = 0; b < s->tokens; b++) {
            settle(s, b);
        }
    }
}

int64_t FAST(encode_above)(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y, int64_t k,
                           const float *ratio, float *floor, int64_t capacity, hps_hit *hit)
{
    int64_t count = 0;
    const search p = {
        .ldy = ldy, .k = k, .y = y, .ratio = ratio, .floor = floor, .capacity = capacity, .hit = hit, .count = &count};
    const int64_t tokens = fast_task_tokens(ws, B);

    fast_screen_bounds(ws, enc->own);
#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t t0 = 0; t0 < B; t0 += tokens) {
        const fast_screen s = {.ws = ws,
                               .me = ws->thread + omp_get_thread_num(),
                               .enc = enc,
                               .tokens = B - t0 < tokens ? B - t0 : tokens,
                               .d = enc->d,
                               .count = enc->own,
                               .problem = &p,
                               .room = settle};
        for (int64_t b = 0; b < s.tokens; b++) {
            s.me->which[b] = (int32_t)(t0 + b);
        }
        search_tokens(&s);
    }
    return count;
}
