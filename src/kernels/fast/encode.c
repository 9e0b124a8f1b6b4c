/*
 * Selection by screen and rescue: a BLAS product only says which latents may win.  With a rigorous bound `error` on
 * |screened - canonical|, a latent whose screened value lies below the k-th largest one by more than 2 error cannot be
 * among the k best; the few others are computed again, canonically, and those values decide.
 */
#include "lanes.h"
#include "screen.h"
#include "workspace.h"

#include <cblas.h>
#include <omp.h>
#include <string.h>

/* What one call of encode works on. */
typedef struct {
    const hps_encoder *enc;
    int64_t count, B, ldy, k;
    const int32_t *rows;
    const float *y, *y_norm;
    hps_candidate *top;
} problem;

/* Raises the token's threshold by its pending candidates and drops those below it. */
static void prune(fast_thread *me, int64_t capacity, int64_t token, int64_t k)
{
    hps_candidate *pending = me->pending + token * capacity;
    int32_t kept = 0;

    if (me->count[token] >= k) {
        for (int32_t i = 0; i < me->count[token]; i++) {
            me->scratch[i] = pending[i].value;
        }
        const float reach = fast_kth_largest(me->scratch, me->count[token], k) - 2 * me->error[token];
        me->threshold[token] = fmaxf(me->threshold[token], reach);
    }
    for (int32_t i = 0; i < me->count[token]; i++) {
        if (pending[i].value >= me->threshold[token]) {
            pending[kept++] = pending[i];
        }
    }
    me->count[token] = kept;
}

/* Takes a candidate into a sorted list of k: by halving, since k may be hundreds. */
static void insert(hps_candidate *top, int64_t k, hps_candidate c)
{
    int64_t low = 0, high = k - 1;

    if (!hps_before(c, top[high])) {
        return;
    }
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (hps_before(c, top[middle])) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    memmove(top + low + 1, top + low, (size_t)(k - 1 - low) * sizeof(*top));
    top[low] = c;
}

/* Computes the token's pending candidates below row `end`, from its next one on, canonically and takes them into its top k. */
static void rescue(fast_thread *me, int64_t capacity, const problem *p, int64_t token, int64_t t, int64_t end)
{
    const hps_encoder *enc = p->enc;
    const hps_candidate *pending = me->pending + token * capacity;
    hps_candidate *top = p->top + t * p->k;
    enum { AHEAD = 3 };

    int32_t i = me->next[token];
    for (; i < me->count[token] && pending[i].latent < end; i++) {
        if (i + AHEAD < me->count[token]) {
            fast_prefetch(enc->W_enc + pending[i + AHEAD].latent * enc->lde, enc->d);
        }
        const int64_t l = pending[i].latent;
        const float value = fast_dot(enc->d, enc->W_enc + l * enc->lde, p->y + t * p->ldy) + enc->b_enc[l];
        insert(top, p->k, (hps_candidate){value, enc->latent[l]});
    }
    me->next[token] = i;
}

/* Makes room for HPS_LANES more: by pruning, and when the bound separates too few (ties), by deciding now. */
static void make_room(fast_thread *me, int64_t capacity, const problem *p, int64_t token, int64_t t)
{
    prune(me, capacity, token, p->k);
    if (me->count[token] > capacity / 2) {
        rescue(me, capacity, p, token, t, INT64_MAX);
        me->count[token] = me->next[token] = 0;
        me->threshold[token] = fmaxf(me->threshold[token], p->top[(t + 1) * p->k - 1].value - me->error[token]);
    }
}

/* Appends what reaches the threshold in one row of a tile: values of m latents, numbers number[...] or from l0 on. */
static void scan(fast_thread *me, int64_t capacity, const problem *p, int64_t token, int64_t t, int64_t l0, int64_t m,
                 const float *values)
{
    hps_candidate *pending = me->pending + token * capacity;
    const float *bias = p->enc->b_enc;
    const int32_t *rows = p->rows;

    for (int64_t j = 0; j < m; j += HPS_LANES) {
        const int64_t lanes_here = m - j < HPS_LANES ? m - j : HPS_LANES;
        float value[HPS_LANES];
        int any = 0;

        for (int64_t l = 0; l < lanes_here; l++) {
            value[l] = values[j + l] + (rows != NULL ? bias[rows[l0 + j + l]] : bias[l0 + j + l]);
        }
        for (int64_t l = 0; l < lanes_here; l++) {
            any |= value[l] >= me->threshold[token];
        }
        if (__builtin_expect(!any, 1)) {
            continue;
        }
        if (me->count[token] + HPS_LANES > capacity) {
            make_room(me, capacity, p, token, t);
        }
        for (int64_t l = 0; l < lanes_here; l++) {
            if (value[l] >= me->threshold[token]) {
                const int64_t q = l0 + j + l;
                pending[me->count[token]++] = (hps_candidate){value[l], rows != NULL ? rows[q] : (int32_t)q};
            }
        }
    }
}

/* Where the m rows of the panel that begins at l0 stand: in place, or gathered. */
static const float *panel_rows(fast_thread *me, int64_t ld, const problem *p, int64_t l0, int64_t m, int64_t *stride)
{
    const hps_encoder *enc = p->enc;

    if (p->rows == NULL) {
        *stride = enc->lde;
        return enc->W_enc + l0 * enc->lde;
    }
    for (int64_t l = 0; l < m; l++) {
        memcpy(me->gathered + l * ld, enc->W_enc + p->rows[l0 + l] * enc->lde, (size_t)enc->d * sizeof(float));
    }
    *stride = ld;
    return me->gathered;
}

static void encode_tokens(hps_workspace *ws, fast_thread *me, const problem *p, int64_t t0, int64_t tokens)
{
    for (int64_t b = 0; b < tokens; b++) {
        me->count[b] = me->next[b] = 0;
        me->threshold[b] = -INFINITY;
        me->error[b] = fast_screen_error(p->enc, p->y_norm[t0 + b]);
        for (int64_t s = 0; s < p->k; s++) {
            p->top[(t0 + b) * p->k + s] = HPS_NO_CANDIDATE;
        }
    }
    for (int64_t l0 = 0; l0 < p->count; l0 += PANEL) {
        const int64_t m = p->count - l0 < PANEL ? p->count - l0 : PANEL;
        int64_t stride;
        const float *panel = panel_rows(me, ws->ld, p, l0, m, &stride);

        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)tokens, (int)m, (int)p->enc->d, 1, p->y + t0 * p->ldy,
                    (int)p->ldy, panel, (int)stride, 0, me->tile, PANEL);
        for (int64_t b = 0; b < tokens; b++) {
            scan(me, ws->capacity, p, b, t0 + b, l0, m, me->tile + b * PANEL);
        }
    }
    for (int64_t b = 0; b < tokens; b++) {
        prune(me, ws->capacity, b, p->k);
    }
    /* Pending rows ascend: some rows at a time serve all tokens while they are in cache. */
    for (int64_t end = RESIDENT; end < p->enc->own + RESIDENT; end += RESIDENT) {
        for (int64_t b = 0; b < tokens; b++) {
            rescue(me, ws->capacity, p, b, t0 + b, end);
        }
    }
}

void FAST(encode)(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B, int64_t ldy,
                  const float *y, const float *y_norm, int64_t k, hps_candidate *top)
{
    const problem p = {.enc = enc,
                       .count = rows != NULL ? count : enc->own,
                       .B = B,
                       .ldy = ldy,
                       .k = k,
                       .rows = rows,
                       .y = y,
                       .y_norm = y_norm,
                       .top = top};

    const int64_t tokens = fast_task_tokens(ws, B);

#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t t0 = 0; t0 < B; t0 += tokens) {
        encode_tokens(ws, ws->thread + omp_get_thread_num(), &p, t0, B - t0 < tokens ? B - t0 : tokens);
    }
}
