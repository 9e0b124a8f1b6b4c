/*
 * The k best of each token, by screen and rescue: a product of low precision only says which latents may win.  What lies
 * above the k-th largest lower bound with its upper bound is computed again, canonically, and those values decide.
 */
#include "screen.h"

#include <string.h>

enum { QUEUE = 16, RANKED = 128 };

/* What one call of encode works on. */
typedef struct {
    int64_t ldy, k;
    const float *y;
    hps_candidate *top;
} problem;

/* Raises the token's threshold by its pending rows and drops those below it. */
static void prune(const fast_screen *s, int64_t b)
{
    const problem *p = s->problem;
    fast_thread *me = s->me;

    if (me->count[b] >= p->k) {
        const float reach = fast_reach(me->low + b * s->ws->capacity, me->count[b], p->k);
        me->threshold[b] = fmaxf(me->threshold[b], reach);
    }
    fast_drop(s->ws, me, b);
}

/*
 * Pending rows on their way: a row is asked for when it comes in and used some rows later, and those of several tokens are
 * computed at once, since a token seldom has as many among the rows that are in cache.
 */
typedef struct {
    int32_t count;
    int32_t token[QUEUE], place[QUEUE]; /* of the task; among the token's pending ones */
} queue;

/* Computes what is queued, canonically: values take the place of lower bounds. */
static void flush(const fast_screen *s, queue *q)
{
    const problem *p = s->problem;
    fast_thread *me = s->me;

    for (int32_t i = 0; i < q->count; i += AT_ONCE) {
        const float *y[AT_ONCE];
        int64_t l[AT_ONCE], at[AT_ONCE];
        float value[AT_ONCE];
        for (int32_t a = 0; a < AT_ONCE; a++) {
            const int32_t from = i + a < q->count ? i + a : i;
            at[a] = q->token[from] * s->ws->capacity + q->place[from];
            y[a] = p->y + me->which[q->token[from]] * p->ldy;
            l[a] = fast_row(s, me->number[at[a]]);
        }
        fast_values(s->enc, l, y, value);
        for (int32_t a = 0; a < AT_ONCE; a++) {
            me->low[at[a]] = value[a];
        }
    }
    q->count = 0;
}

/* Queues the token's pending rows below `end`, from its next one on. */
static void rescue(const fast_screen *s, int64_t b, int64_t end, queue *q)
{
    fast_thread *me = s->me;
    const int32_t *number = me->number + b * s->ws->capacity, count = me->count[b];
    int32_t i = me->next[b];

    for (; i < count && number[i] < end; i++) {
        fast_prefetch(s->enc->W_enc + fast_row(s, number[i]) * s->enc->lde, s->d);
        q->token[q->count] = (int32_t)b;
        q->place[q->count++] = i;
        if (q->count == QUEUE) {
            flush(s, q);
        }
    }
    me->next[b] = i;
}

/* Orders candidates as hps_before does, the first the largest; values are not NaN. */
static int64_t key_of(hps_candidate c)
{
    const float value = c.value + 0.0f; /* zeros are equal */
    int32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    bits ^= bits < 0 ? INT32_MAX : 0;
    return (int64_t)bits * (INT64_C(1) << 32) + (INT32_MAX - c.latent);
}

/* The first k of count <= RANKED candidates, sorted: each one's place is the number of those before it. */
static void rank(int64_t count, const hps_candidate *list, int64_t k, hps_candidate *top)
{
    int64_t key[RANKED];

    for (int64_t i = 0; i < count; i++) {
        key[i] = key_of(list[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t before = 0;
        for (int64_t j = 0; j < count; j++) {
            before += key[j] > key[i];
        }
        if (before < k) {
            top[before] = list[i];
        }
    }
}

/* Takes `count` sorted candidates into a sorted list of k; both in the total order. */
static void merge(hps_candidate *top, int64_t k, const hps_candidate *run, int64_t count)
{
    int64_t i = 0, j = 0;

    while (i + j < k) {
        if (j < count && hps_before(run[j], top[i])) {
            j++;
        } else {
            i++;
        }
    }
    /* The k best are the first i and the first j: from the last on, so that nothing is overwritten before it has moved. */
    while (j > 0) {
        const bool last = i > 0 && hps_before(run[j - 1], top[i - 1]);
        top[i + j - 1] = last ? top[i - 1] : run[j - 1];
        *(last ? &i : &j) -= 1;
    }
}

/* Takes the token's pending rows, whose values are known, into its top k. */
static void take(const fast_screen *s, int64_t b)
{
    const problem *p = s->problem;
    fast_thread *me = s->me;
    const float *value = me->low + b * s->ws->capacity;
    const int32_t *number = me->number + b * s->ws->capacity;
    hps_candidate *top = p->top + me->which[b] * p->k;
    int64_t count = 0;

    for (int32_t i = 0; i < me->count[b]; i++) {
        if (number[i] < s->count && !isnan(value[i])) {
            me->list[count++] = (hps_candidate){value[i], s->enc->latent[fast_row(s, number[i])]};
        }
    }
    for (int64_t done = 0; done < count; done += RANKED) {
        const int64_t n = count - done < RANKED ? count - done : RANKED;
        hps_candidate run[RANKED];
        if (top->latent == HPS_NO_CANDIDATE.latent) {
            rank(n, me->list + done, p->k, top);
        } else {
            rank(n, me->list + done, n, run);
            merge(top, p->k, run, n);
        }
    }
}

/* Makes room for a panel: by pruning, and when the bounds separate too few (ties), by deciding now. */
static void make_room(const fast_screen *s, int64_t b)
{
    const problem *p = s->problem;
    fast_thread *me = s->me;
    queue q = {.count = 0};

    prune(s, b);
    if (me->count[b] > s->ws->capacity / 2) {
        rescue(s, b, INT64_MAX, &q);
        flush(s, &q);
        take(s, b);
        me->count[b] = me->next[b] = 0;
        me->threshold[b] = fmaxf(me->threshold[b], p->top[(me->which[b] + 1) * p->k - 1].value);
    }
}

/*
 * A guess of the threshold from a sample of the rows: its r-th largest lower bound, where r is so far above what the
 * sample holds of the k best that more than k of all rows reach it, but for one token in some thousands.
 */
static void guess(const fast_screen *s, double share)
{
    const problem *p = s->problem;
    fast_thread *me = s->me;
    const double expected = share * (double)p->k;
    const int64_t r = (int64_t)(expected + 4 * sqrt(expected) + 1.5);

    for (int64_t b = 0; b < s->tokens; b++) {
        if (me->count[b] >= r) {
            me->guess[b] = me->threshold[b] =
                fmaxf(me->threshold[b], fast_reach(me->low + b * s->ws->capacity, me->count[b], r));
            fast_drop(s->ws, me, b);
        }
    }
}

/* Screens all rows: the first as a sample, then twice on the way what is pending raises the thresholds. */
static void screen(const fast_screen *s, bool guessing)
{
    const int64_t panels = (s->count + PANEL - 1) / PANEL;
    const int64_t sample = panels < 32 ? 1 : panels / 32, stop[] = {sample, panels / 4, panels / 2, panels};
    int64_t done = 0;

    if (panels == 0) {
        return; /* a rank without latents, or without any that are listed */
    }
    for (int i = 0; i < 4; i++) {
        if (stop[i] > done) {
            fast_screen_panels(s, done, stop[i]);
            done = stop[i];
        }
        if (i == 0 && guessing) {
            guess(s, (double)(sample * PANEL) / (double)s->count);
        } else {
            for (int64_t b = 0; b < s->tokens; b++) {
                prune(s, b);
            }
        }
    }
}

/* Decides what is pending.  Pending rows ascend: some rows at a time serve some tokens while both are in a core's second cache. */
static void decide(const fast_screen *s)
{
    const int64_t fit = (512 << 10) / (s->ws->ld * (int64_t)sizeof(float)), group = fit > STRIP ? fit : STRIP;
    queue q = {.count = 0};

    for (int64_t b0 = 0; b0 < s->tokens; b0 += group) {
        const int64_t b1 = s->tokens - b0 < group ? s->tokens : b0 + group;
        for (int64_t end = RESIDENT; end < s->count + RESIDENT; end += RESIDENT) {
            for (int64_t b = b0; b < b1; b++) {
                rescue(s, b, end, &q);
            }
        }
        for (int64_t b = b0; b < b1; b++) {
            rescue(s, b, INT64_MAX, &q);
        }
    }
    flush(s, &q);
    for (int64_t b = 0; b < s->tokens; b++) {
        take(s, b);
    }
}

/* The tokens me->which[0 .. tokens - 1]; returns how many of them, now in front, guessed a threshold above their k-th value. */
static int64_t encode_tokens(fast_screen *s, bool guessing)
{
    const problem *p = s->problem;
    fast_thread *me = s->me;
    int64_t failed = 0;

    fast_screen_begin(s, p->ldy, p->y);
    for (int64_t b = 0; b < s->tokens; b++) {
        me->guess[b] = -FLT_MAX;
        for (int64_t q = 0; q < p->k; q++) {
            p->top[me->which[b] * p->k + q] = HPS_NO_CANDIDATE;
        }
    }
    screen(s, guessing);
    decide(s);
    for (int64_t b = 0; b < s->tokens; b++) {
        const int32_t t = me->which[b];
        if (me->guess[b] > -FLT_MAX && !(p->top[(t + 1) * p->k - 1].value >= me->guess[b])) {
            me->which[failed++] = t;
        }
    }
    return failed;
}

void FAST(encode)(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B, int64_t ldy,
                  const float *y, int64_t k, hps_candidate *top)
{
    const problem p = {.ldy = ldy, .k = k, .y = y, .top = top};
    const int64_t tokens = fast_task_tokens(ws, B);

    fast_screen_bounds(ws, enc->own);
#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t t0 = 0; t0 < B; t0 += tokens) {
        fast_screen s = {.ws = ws,
                         .me = ws->thread + omp_get_thread_num(),
                         .enc = enc,
                         .tokens = B - t0 < tokens ? B - t0 : tokens,
                         .d = enc->d,
                         .count = rows != NULL ? count : enc->own,
                         .rows = rows,
                         .problem = &p,
                         .room = make_room};
        for (int64_t b = 0; b < s.tokens; b++) {
            s.me->which[b] = (int32_t)(t0 + b);
        }
        s.tokens = encode_tokens(&s, true);
        if (s.tokens > 0) {
            encode_tokens(&s, false);
        }
    }
}
