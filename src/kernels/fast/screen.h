/*
 * What screening shares: tokens and latents are packed, multiplied a strip and a panel at a time, and what may reach a
 * token's threshold is put aside.
 */
#ifndef HPSAE_KERNELS_FAST_SCREEN_H
#define HPSAE_KERNELS_FAST_SCREEN_H

#include "lanes.h"
#include "workspace.h"

#include <float.h>
#include <omp.h>

#define fast_pack_panel FAST(pack_panel)
#define fast_pack_token FAST(pack_token)

/* Packs `count` rows (at most PANEL) of the encoder, rows[first ...] or first ..., as panel p.  Uses me->packed. */
void fast_pack_panel(const hps_workspace *ws, fast_thread *me, const fast_panels *panels, int64_t p,
                     const hps_encoder *enc, int64_t first, int64_t count, const int32_t *rows);

/* Packs y [d] as token t of the thread's task, with its error bound. */
void fast_pack_token(const hps_workspace *ws, fast_thread *me, int64_t d, const float *y, int64_t t);

/* What a task screens.  room(screen, b) is called when token b's list may overflow, and leaves PANEL places. */
typedef struct fast_screen fast_screen;
struct fast_screen {
    hps_workspace *ws;
    fast_thread *me;
    const hps_encoder *enc;
    int64_t tokens, d;
    int64_t count; /* rows */
    const int32_t *rows;
    const void *problem;
    void (*room)(const fast_screen *screen, int64_t b);
};

/* A task begins: its tokens me->which[0 .. tokens - 1] are packed, nothing is pending, no threshold is known. */
static inline void fast_screen_begin(const fast_screen *s, int64_t ldy, const float *y)
{
    const hps_workspace *ws = s->ws;
    fast_thread *me = s->me;

    for (int64_t b = 0; b < s->tokens; b++) {
        fast_pack_token(ws, me, s->d, y + me->which[b] * ldy, b);
        me->error[b] = 1.0001f * (me->a[b] * ws->norm + me->b[b] * ws->lost + ws->constant);
        me->count[b] = me->next[b] = 0;
        me->threshold[b] = -FLT_MAX;
    }
}

static inline void fast_put_aside(const fast_screen *s, int64_t b, uint32_t reach, float error, int64_t first,
                                  const float *value)
{
    fast_thread *me = s->me;
    const int64_t capacity = s->ws->capacity;

    if (me->count[b] + PANEL > capacity) {
        s->room(s, b);
    }
    float *low = me->low + b * capacity;
    int32_t *number = me->number + b * capacity, count = me->count[b];
#if defined(__AVX512F__)
    if (__builtin_popcount(reach) > 4) {
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (int l = 0; l < PANEL; l += 16, reach >>= 16) {
            const __mmask16 here = (__mmask16)reach;
            const __m512 v = _mm512_sub_ps(_mm512_loadu_ps(value + l), _mm512_set1_ps(error));
            const __m512i i = _mm512_add_epi32(lane, _mm512_set1_epi32((int)(first + l)));
            _mm512_storeu_ps(low + count, _mm512_maskz_compress_ps(here, v));
            _mm512_storeu_si512(number + count, _mm512_maskz_compress_epi32(here, i));
            count += __builtin_popcount(here);
        }
        me->count[b] = count;
        return;
    }
#endif
    for (; reach != 0; reach &= reach - 1) {
        const int l = __builtin_ctz(reach);
        low[count] = value[l] - error;
        number[count++] = (int32_t)(first + l);
    }
    me->count[b] = count;
}

/*
 * Puts aside what may reach the thresholds, of the rows t0 .. t1 - 1 of a tile: the strip from token b0 on, the panel of
 * latents from `first` on.
 */
static inline void fast_sieve(const fast_screen *s, int t0, int t1, int64_t b0, const fast_panels *panels, int64_t p,
                              int64_t first, const float *tile)
{
    const fast_thread *me = s->me;
    const float norm = panels->norm[p], lost = panels->lost[p], constant = panels->constant[p];
    float error[STRIP];
    uint32_t reach[STRIP], some = 0;

    for (int t = t0; t < t1; t++) {
        error[t] = 1.0001f * (me->a[b0 + t] * norm + me->b[b0 + t] * lost + constant);
        reach[t] = product_reach(tile + t * PANEL, me->threshold[b0 + t] - error[t]);
        some |= (uint32_t)(reach[t] != 0) << t;
    }
    /* Few rows hold something, and which is hard to foresee: the loop runs over them alone. */
    for (; some != 0; some &= some - 1) {
        const int t = __builtin_ctz(some);
        if (b0 + t < s->tokens) {
            fast_put_aside(s, b0 + t, reach[t], error[t], first, tile + t * PANEL);
        }
    }
}

/* Asks for a share of the next panel, so that it is in cache when its turn comes. */
static inline void fast_prefetch_panel(const product_word *word, int64_t bytes, int64_t share, int64_t shares)
{
    const char *next = (const char *)word;

    for (int64_t at = bytes * share / shares; at < bytes * (share + 1) / shares; at += 64) {
        __builtin_prefetch(next + at, 0, 2);
    }
}

/*
 * One panel of all strips.  The sieve of a strip runs in the shadow of the next one's product, some rows after some columns:
 * a core does not look further ahead than that.
 */
static inline void fast_screen_panel(const fast_screen *s, const fast_panels *panels, int64_t p, int64_t first)
{
    const hps_workspace *ws = s->ws;
    const int64_t depth = ws->depth, words = product_panel_words(depth);
    const product_word *word = panels->word + p * words, *token = s->me->token;
    const float *bias = panels->bias + p * PANEL;
    enum { TILE = STRIP * PANEL, PIECES = 2 };
    float *tile = s->me->tile;
    int64_t column[PIECES + 1];

    for (int q = 0; q <= PIECES; q++) {
        column[q] = depth / DEPTH * q / PIECES * DEPTH;
    }
    for (int64_t b = 0; b < s->tokens; b += STRIP, token += STRIP * product_row_words(depth)) {
        float *here = tile + b / STRIP % 2 * TILE, *before = tile + (b / STRIP + 1) % 2 * TILE;
        fast_prefetch_panel(word + words, words * (int64_t)sizeof(*word), b / STRIP, (s->tokens + STRIP - 1) / STRIP);
        product_run(depth, 0, column[1], word, token, bias, here);
        for (int q = 0; q < PIECES; q++) {
            if (q > 0) {
                product_more(depth, column[q], column[q + 1], word, token);
            }
            if (b > 0) {
                fast_sieve(s, STRIP * q / PIECES, STRIP * (q + 1) / PIECES, b - STRIP, panels, p, first, before);
            }
        }
        product_store(here);
    }
    const int64_t last = (s->tokens - 1) / STRIP;
    fast_sieve(s, 0, STRIP, last * STRIP, panels, p, first, tile + last % 2 * TILE);
}

/* Panels p0 .. p1 - 1 (fewer than GROUP), more columns than a chunk: their tiles wait for the next chunk in cache. */
static inline void fast_screen_chunks(const fast_screen *s, int64_t p0, int64_t p1)
{
    const hps_workspace *ws = s->ws;
    const fast_panels *panels = &ws->panels;
    enum { TILES = TOKENS * PANEL };

    for (int64_t c = 0; c < ws->depth; c += CHUNK) {
        const int64_t end = ws->depth - c < CHUNK ? ws->depth : c + CHUNK;
        for (int64_t p = p0; p < p1; p++) {
            float *tile = s->me->tile + (p - p0) * TILES;
            for (int64_t b = 0; b < s->tokens; b += STRIP, tile += STRIP * PANEL) {
                product_run(ws->depth, c, end, panels->word + p * ws->depth * PANEL, s->me->token + b * ws->depth,
                            panels->bias + p * PANEL, tile);
                product_store(tile);
                if (end == ws->depth) {
                    fast_sieve(s, 0, STRIP, b, panels, p, p * PANEL, tile);
                }
            }
        }
    }
}

/* Panels p0 .. p1 - 1 of the rows. */
static inline void fast_screen_panels(const fast_screen *s, int64_t p0, int64_t p1)
{
    const hps_workspace *ws = s->ws;

    product_open();
    if (s->rows != NULL) {
        for (int64_t p = p0; p < p1; p++) {
            const int64_t first = p * PANEL, left = s->count - first;
            fast_pack_panel(ws, s->me, &s->me->gathered, 0, s->enc, first, left < PANEL ? left : PANEL, s->rows);
            fast_screen_panel(s, &s->me->gathered, 0, first);
        }
    } else if (ws->depth > CHUNK + CHUNK / 4) {
        for (int64_t p = p0; p < p1; p += GROUP) {
            fast_screen_chunks(s, p, p1 - p < GROUP ? p1 : p + GROUP);
        }
    } else {
        for (int64_t p = p0; p < p1; p++) {
            fast_screen_panel(s, &ws->panels, p, p * PANEL);
        }
    }
    product_close();
}

/* The bounds of all panels, for what does not ask which panel: once before a batch. */
static inline void fast_screen_bounds(hps_workspace *ws, int64_t own)
{
    const fast_panels *panels = &ws->panels;

    ws->norm = ws->lost = ws->constant = 0;
    for (int64_t p = 0; p * PANEL < own; p++) {
        ws->norm = fmaxf(ws->norm, panels->norm[p]);
        ws->lost = fmaxf(ws->lost, panels->lost[p]);
        ws->constant = fmaxf(ws->constant, panels->constant[p]);
    }
}

/*
 * A value that at least k of count >= k values reach, next to the largest such: by halving, which goes through short
 * lists faster than a selection.
 */
static inline float fast_reach(const float *restrict v, int32_t count, int64_t k)
{
    enum { HALVINGS = 12 };
    float low = v[0], high = v[0];

    for (int32_t i = 0; i < count; i++) {
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    for (int h = 0; h < HALVINGS; h++) {
        const float middle = low + (high - low) / 2;
        int32_t reach = 0;
        for (int32_t i = 0; i < count; i++) {
            reach += v[i] >= middle;
        }
        if (reach == k) {
            return middle;
        }
        if (reach > k) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The k-th largest of count >= k values (Hoare's selection); reorders them. */
static inline float fast_kth_largest(float *v, int64_t count, int64_t k)
{
    int64_t low = 0, high = count - 1;

    while (low < high) {
        const float pivot = v[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (v[i] > pivot) {
                i++;
            }
            while (v[j] < pivot) {
                j--;
            }
            if (i <= j) {
                const float swap = v[i];
                v[i++] = v[j];
                v[j--] = swap;
            }
        }
        if (k - 1 <= j) {
            high = j;
        } else if (k - 1 >= i) {
            low = i;
        } else {
            break;
        }
    }
    return v[k - 1];
}

/* Drops the token's pending rows whose upper bound is below its threshold. */
static inline void fast_drop(const hps_workspace *ws, fast_thread *me, int64_t b)
{
    float *low = me->low + b * ws->capacity;
    int32_t *number = me->number + b * ws->capacity, kept = 0;
    const float cut = me->threshold[b] - 2 * me->error[b];

    for (int32_t i = 0; i < me->count[b]; i++) {
        const float value = low[i];
        const int32_t row = number[i];
        low[kept] = value;
        number[kept] = row;
        kept += !(value < cut);
    }
    me->count[b] = kept;
}

/* Asks for a row that is needed soon. */
static inline void fast_prefetch(const float *row, int64_t m)
{
    for (int64_t j = 0; j < m; j += HPS_LANES) {
        __builtin_prefetch(row + j);
    }
}

/* Tokens of a task: as many as keep all threads busy to the end. */
static inline int64_t fast_task_tokens(const hps_workspace *ws, int64_t B)
{
    int64_t tokens = TOKENS;

    while (tokens >= 64 && B < 2 * tokens * ws->size.threads) {
        tokens = (tokens / 2 + STRIP - 1) / STRIP * STRIP;
    }
    return tokens;
}

/* The canonical pre-activations of own rows, each of its token.  Their sums are chains of their own, which hides the latency of fma. */
enum { AT_ONCE = 4 };
static inline void fast_values(const hps_encoder *enc, const int64_t l[AT_ONCE], const float *const y[AT_ONCE],
                               float value[AT_ONCE])
{
    const float *row[AT_ONCE];
    lanes s[AT_ONCE];
    int64_t j = 0;

    for (int i = 0; i < AT_ONCE; i++) {
        row[i] = enc->W_enc + l[i] * enc->lde;
        s[i] = lanes_zero();
    }
    for (; j + HPS_LANES <= enc->d; j += HPS_LANES) {
        for (int i = 0; i < AT_ONCE; i++) {
            s[i] = lanes_fma(row[i] + j, y[i] + j, s[i]);
        }
    }
    for (int i = 0; i < AT_ONCE; i++) {
        if (j < enc->d) {
            s[i] = lanes_fma_first(enc->d - j, row[i] + j, y[i] + j, s[i]);
        }
        value[i] = lanes_sum(s[i]) + enc->b_enc[l[i]];
    }
}

/* The own row of a pending number; of padding, any. */
static inline int64_t fast_row(const fast_screen *s, int32_t number)
{
    return number >= s->count ? 0 : s->rows != NULL ? s->rows[number] : number;
}

#endif
