/*
 * The nested reconstruction: a token's residual runs back from its last slot, and the suffix vector grows with it.  Both stay
 * in registers, some columns at a time, while the token's decoder rows pass.
 */
#include "group.h"
#include "screen.h"
#include "workspace.h"

#include <string.h>

enum {
    STRIPE = 2 * HPS_LANES
}; /* columns of a task of nested_sums: few, so that those of many latents stay in cache */

/* A token's slots, and some columns of the decoder. */
typedef struct {
    const float *W; /* [n, ldd] from the first of the columns on */
    int64_t ldd;
    const hps_candidate *slot;
    const float *weight;
    int64_t slots, inside; /* the token's; of them, those that R holds */
    int64_t
        lowest[2]; /* the first with a weight, of those beyond R and of those inside: below it no residual is used */
    int64_t left;  /* slots of the batch from the token's first on */
} token_sweep;

static int64_t lowest_weight(const float *weight, int64_t begin, int64_t end)
{
    while (begin < end && weight[begin] == 0) {
        begin++;
    }
    return begin;
}

static token_sweep sweep_of(const hps_slots *slots, const hps_nesting *nesting, int64_t B, int64_t t,
                            int64_t first_slots, const float *W, int64_t ldd)
{
    const int64_t begin = slots->first[t], count = slots->first[t + 1] - begin;
    const int64_t inside = first_slots >= 0 && first_slots < count ? first_slots : count;
    const float *weight = nesting->weight + begin;

    return (token_sweep){.W = W,
                         .ldd = ldd,
                         .slot = slots->slot + begin,
                         .weight = weight,
                         .slots = count,
                         .inside = inside,
                         .lowest = {lowest_weight(weight, inside, count), lowest_weight(weight, 0, inside)},
                         .left = slots->first[B] - begin};
}

static inline const float *row_at(const token_sweep *v, int64_t s)
{
    return v->W + v->slot[s].latent * v->ldd;
}

/* r = R and the slots that R does not hold; `count` times 16 columns. */
static inline void whole_residual(int count, const token_sweep *v, const float *R, lanes *r)
{
    for (int l = 0; l < count; l++) {
        r[l] = lanes_load(R + l * HPS_LANES);
    }
    for (int64_t s = v->inside; s < v->slots; s++) {
        for (int l = 0; l < count; l++) {
            r[l] = lanes_axpy(v->slot[s].value, row_at(v, s) + l * HPS_LANES, r[l]);
        }
    }
}

/* Slot s of the way back, first half: S takes in the residual after it. */
static inline void grow(int count, const token_sweep *v, int64_t s, const float *R, lanes *r, lanes *S)
{
    if (s == v->inside - 1 && v->inside < v->slots) {
        for (int l = 0; l < count; l++) {
            r[l] = lanes_load(R + l * HPS_LANES);
        }
    }
    if (v->weight[s] != 0) {
        for (int l = 0; l < count; l++) {
            S[l] = lanes_scaled(v->weight[s], r[l], S[l]);
        }
    }
}

/* Second half: the residual before it, where that is used. */
static inline void rewind_slot(int count, const token_sweep *v, int64_t s, lanes *r)
{
    if (s > v->lowest[s < v->inside]) {
        for (int l = 0; l < count; l++) {
            r[l] = lanes_axpy(-v->slot[s].value, row_at(v, s) + l * HPS_LANES, r[l]);
        }
    }
}

/* The same three over columns that fill no register, without touching what is beyond them. */
static void rest_residual(int64_t columns, const token_sweep *v, const float *R, float *r)
{
    memcpy(r, R, (size_t)columns * sizeof(*r));
    for (int64_t s = v->inside; s < v->slots; s++) {
        for (int64_t j = 0; j < columns; j++) {
            r[j] = fmaf(v->slot[s].value, row_at(v, s)[j], r[j]);
        }
    }
}

static void rest_grow(int64_t columns, const token_sweep *v, int64_t s, const float *R, float *r, float *S)
{
    if (s == v->inside - 1) {
        memcpy(r, R, (size_t)columns * sizeof(*r));
    }
    for (int64_t j = 0; v->weight[s] != 0 && j < columns; j++) {
        S[j] = fmaf(v->weight[s], r[j], S[j]);
    }
}

static void rest_rewind(int64_t columns, const token_sweep *v, int64_t s, float *r)
{
    for (int64_t j = 0; s > v->lowest[s < v->inside] && j < columns; j++) {
        r[j] = fmaf(-v->slot[s].value, row_at(v, s)[j], r[j]);
    }
}

/* Products of several slots and blocks of columns, until they are so many that their sums are taken together. */
enum { BLOCKS = PIECE / HPS_BLOCK, HELD = FOLDED > BLOCKS ? FOLDED : BLOCKS };
typedef struct {
    float product[HELD][HPS_LANES];
    int64_t *to[HELD];
    int held;
} products;

static inline void add_products(products *p, double scale)
{
    for (int q0 = 0; q0 < p->held; q0 += FOLDED) {
        int64_t sum[FOLDED] = {0};
        group_sums((const float(*)[HPS_LANES])p->product + q0, scale, sum);
        for (int q = 0; q < FOLDED && q0 + q < p->held; q++) {
            *p->to[q0 + q] += sum[q];
        }
    }
    p->held = 0;
}

/* The slot of the next token that this one's place has, on its way into the cache. */
static inline void prefetch_next(int count, const token_sweep *v, int64_t s)
{
    if (s + v->slots < v->left) {
        fast_prefetch(row_at(v, s + v->slots), count * HPS_LANES);
    }
}

/* The way back over `count` times 16 columns, an even number: fixed[s] += <S, w_s>, and what S comes to. */
static inline void sweep_dots(int count, const token_sweep *v, double scale, const float *R, int64_t *fixed, float *S)
{
    lanes r[PIECE / HPS_LANES], sum[PIECE / HPS_LANES];
    products p = {.held = 0};

    whole_residual(count, v, R, r);
    for (int l = 0; l < count; l++) {
        sum[l] = lanes_zero();
    }
    for (int64_t s = v->slots - 1; s >= 0; s--) {
        const float *w_i = row_at(v, s);
        prefetch_next(count, v, s);
        grow(count, v, s, R, r, sum);
        for (int b = 0; b < count / 2; b++) {
            const float *w_b = w_i + b * HPS_BLOCK;
            lanes_store(p.product[p.held + b],
                        lanes_times(sum[2 * b + 1], w_b + HPS_LANES, lanes_times(sum[2 * b], w_b, lanes_zero())));
            p.to[p.held + b] = fixed + s;
        }
        rewind_slot(count, v, s, r);
        p.held += count / 2;
        if (p.held + count / 2 > HELD || s == 0) {
            add_products(&p, scale);
        }
    }
    for (int l = 0; l < count; l++) {
        lanes_store(S + l * HPS_LANES, sum[l]);
    }
}

/* The same over columns too few for a block, without reading beyond them. */
static void sweep_rest(int64_t columns, const token_sweep *v, double scale, const float *R, int64_t *fixed, float *S)
{
    float r[HPS_BLOCK];

    memset(S, 0, (size_t)columns * sizeof(*S));
    rest_residual(columns, v, R, r);
    for (int64_t s = v->slots - 1; s >= 0; s--) {
        rest_grow(columns, v, s, R, r, S);
        fixed[s] += fast_dot_fixed(columns, S, row_at(v, s), scale);
        rest_rewind(columns, v, s, r);
    }
}

static void sweep_token(token_sweep *v, int64_t w, double scale, const float *R, int64_t *fixed, float *S)
{
    const float *W = v->W;
    int64_t j = 0;

    memset(fixed, 0, (size_t)v->slots * sizeof(*fixed));
    for (; j + PIECE <= w; j += PIECE) {
        v->W = W + j;
        sweep_dots(PIECE / HPS_LANES, v, scale, R + j, fixed, S + j);
    }
    for (; j + HPS_BLOCK <= w; j += HPS_BLOCK) {
        v->W = W + j;
        sweep_dots(HPS_BLOCK / HPS_LANES, v, scale, R + j, fixed, S + j);
    }
    if (j < w) {
        v->W = W + j;
        sweep_rest(w - j, v, scale, R + j, fixed, S + j);
    }
}

void FAST(nested)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start, const double *scale,
                  const float *R, float *S)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        float *restrict sum = S + t * ldd;
        token_sweep v = sweep_of(slots, nesting, B, t, first_slots, W_dec, ldd);

        sweep_token(&v, w, scale[t], R + t * ldd, slots->dz_fixed + slots->first[t], sum);
        for (int64_t j = 0; j < w; j++) {
            sum[j] = fmaf(nesting->bias_weight[t], -start[t * lds + j], sum[j]);
        }
    }
}

/* The way back over `count` times 16 columns: each slot's row of G takes in z S. */
static inline void sweep_sums(int count, const token_sweep *v, const float *R, int64_t ldg, float *G)
{
    lanes r[STRIPE / HPS_LANES], sum[STRIPE / HPS_LANES];

    whole_residual(count, v, R, r);
    for (int l = 0; l < count; l++) {
        sum[l] = lanes_zero();
    }
    for (int64_t s = v->slots - 1; s >= 0; s--) {
        float *g = G + v->slot[s].latent * ldg;
        if (s + v->slots < v->left) {
            fast_prefetch(row_at(v, s + v->slots), count * HPS_LANES);
            fast_prefetch(G + v->slot[s + v->slots].latent * ldg, count * HPS_LANES);
        }
        grow(count, v, s, R, r, sum);
        for (int l = 0; l < count; l++) {
            lanes_store(g + l * HPS_LANES, lanes_scaled(v->slot[s].value, sum[l], lanes_load(g + l * HPS_LANES)));
        }
        rewind_slot(count, v, s, r);
    }
}

static void sweep_sums_rest(int64_t columns, const token_sweep *v, const float *R, int64_t ldg, float *G)
{
    float r[HPS_LANES], sum[HPS_LANES] = {0};

    rest_residual(columns, v, R, r);
    for (int64_t s = v->slots - 1; s >= 0; s--) {
        float *g = G + v->slot[s].latent * ldg;
        rest_grow(columns, v, s, R, r, sum);
        for (int64_t j = 0; j < columns; j++) {
            g[j] = fmaf(v->slot[s].value, sum[j], g[j]);
        }
        rest_rewind(columns, v, s, r);
    }
}

/* Tokens in order, so that each latent's sums grow in that order. */
void FAST(nested_sums)(hps_workspace *ws, int64_t B, int64_t n, int64_t w, int64_t ldd, const float *W_dec,
                       const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                       int64_t ldg, float *G)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t j0 = 0; j0 < w; j0 += STRIPE) {
        const int64_t end = w - j0 < STRIPE ? w : j0 + STRIPE, whole = j0 + (end - j0) / HPS_LANES * HPS_LANES;

        for (int64_t i = 0; i < n; i++) {
            memset(G + i * ldg + j0, 0, (size_t)(end - j0) * sizeof(*G));
        }
        for (int64_t t = 0; t < B; t++) {
            token_sweep v = sweep_of(slots, nesting, B, t, first_slots, W_dec + j0, ldd);
            if (whole - j0 == STRIPE) {
                sweep_sums(STRIPE / HPS_LANES, &v, R + t * ldd + j0, ldg, G + j0);
                continue;
            }
            for (int64_t j = j0; j < whole; j += HPS_LANES) {
                v.W = W_dec + j;
                sweep_sums(1, &v, R + t * ldd + j, ldg, G + j);
            }
            v.W = W_dec + whole;
            if (whole < end) {
                sweep_sums_rest(end - whole, &v, R + t * ldd + whole, ldg, G + whole);
            }
        }
    }
}

/* The way back over `count` times 16 columns as far as it is needed: a vector for each weight. */
static inline void sweep_vectors(int count, const token_sweep *v, const int32_t *row, const float *R, int64_t lds,
                                 float *suffix)
{
    lanes r[PIECE / HPS_LANES], sum[PIECE / HPS_LANES];
    const int64_t end = v->lowest[1] < v->inside ? v->lowest[1] : v->lowest[0];

    whole_residual(count, v, R, r);
    for (int l = 0; l < count; l++) {
        sum[l] = lanes_zero();
    }
    for (int64_t s = v->slots - 1; s >= end; s--) {
        prefetch_next(count, v, s);
        grow(count, v, s, R, r, sum);
        for (int l = 0; v->weight[s] != 0 && l < count; l++) {
            lanes_store(suffix + row[s] * lds + l * HPS_LANES, sum[l]);
        }
        rewind_slot(count, v, s, r);
    }
}

static void sweep_vectors_rest(int64_t columns, const token_sweep *v, const int32_t *row, const float *R, int64_t lds,
                               float *suffix)
{
    float r[HPS_LANES], sum[HPS_LANES] = {0};

    rest_residual(columns, v, R, r);
    for (int64_t s = v->slots - 1; s >= 0; s--) {
        rest_grow(columns, v, s, R, r, sum);
        if (v->weight[s] != 0) {
            memcpy(suffix + row[s] * lds, sum, (size_t)columns * sizeof(*sum));
        }
        rest_rewind(columns, v, s, r);
    }
}

void FAST(suffix_rows)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                       const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t lds, float *suffix)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        token_sweep v = sweep_of(slots, nesting, B, t, first_slots, W_dec, ldd);
        const int32_t *row = nesting->row + slots->first[t];
        const float *r = R + t * ldd;
        int64_t j = 0;

        for (; j + PIECE <= w; j += PIECE) {
            v.W = W_dec + j;
            sweep_vectors(PIECE / HPS_LANES, &v, row, r + j, lds, suffix + j);
        }
        for (; j + HPS_LANES <= w; j += HPS_LANES) {
            v.W = W_dec + j;
            sweep_vectors(1, &v, row, r + j, lds, suffix + j);
        }
        if (j < w) {
            v.W = W_dec + j;
            sweep_vectors_rest(w - j, &v, row, r + j, lds, suffix + j);
        }
    }
}
