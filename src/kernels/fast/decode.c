/*
 * Decoding, slot gradients and column sums.  A token's residual stays in cache while its slots pass twice: once to be
 * added, once for <R, w>.
 */
#include "group.h"
#include "screen.h"
#include "workspace.h"

#include <string.h>

/* What decoding a piece of columns of one token needs. */
typedef struct {
    const float *W; /* [n, ldd] from the piece's first column on */
    int64_t ldd, columns;
    const hps_candidate *slot;
    int64_t slots, left; /* of the token; of the batch from the token's first on */
} decode_piece;

/* r += sum of z row over the slots, `count` times 16 columns in registers. */
static inline void add_slots(int count, int64_t j, const decode_piece *p, float *r)
{
    enum { AHEAD = 24 };
    lanes sum[PIECE / HPS_LANES];

    for (int l = 0; l < count; l++) {
        sum[l] = lanes_load(r + j + l * HPS_LANES);
    }
    for (int64_t s = 0; s < p->slots; s++) {
        const float *w_i = p->W + p->slot[s].latent * p->ldd + j;
        if (s + AHEAD < p->left) {
            fast_prefetch(p->W + p->slot[s + AHEAD].latent * p->ldd + j, count * HPS_LANES);
        }
        for (int l = 0; l < count; l++) {
            sum[l] = lanes_axpy(p->slot[s].value, w_i + l * HPS_LANES, sum[l]);
        }
    }
    for (int l = 0; l < count; l++) {
        lanes_store(r + j + l * HPS_LANES, sum[l]);
    }
}

/* fixed[s] += <r, w_i> over the piece. */
static void add_dots(const decode_piece *p, double scale, const float *r, int64_t *fixed)
{
    const int64_t blocks = p->columns / HPS_BLOCK * HPS_BLOCK;
    const float *a[FOLDED], *b[FOLDED];

    for (int64_t s0 = 0; blocks > 0 && s0 < p->slots; s0 += FOLDED) {
        const int64_t group = p->slots - s0 < FOLDED ? p->slots - s0 : FOLDED;
        int64_t sum[FOLDED] = {0};
        for (int64_t j = 0; j < blocks; j += HPS_BLOCK) {
            for (int64_t q = 0; q < FOLDED; q++) {
                a[q] = r + j;
                b[q] = p->W + p->slot[s0 + (q < group ? q : 0)].latent * p->ldd + j;
            }
            group_dots(a, b, scale, sum);
        }
        for (int64_t q = 0; q < group; q++) {
            fixed[s0 + q] += sum[q];
        }
    }
    for (int64_t s = 0; blocks < p->columns && s < p->slots; s++) {
        fixed[s] += fast_dot_fixed(p->columns - blocks, r + blocks, p->W + p->slot[s].latent * p->ldd + blocks, scale);
    }
}

static void decode_columns(const decode_piece *p, float sign, const float *start, float *r)
{
    int64_t j = 0;

    for (int64_t c = 0; c < p->columns; c++) {
        r[c] = sign * start[c];
    }
    for (; j + PIECE <= p->columns; j += PIECE) {
        add_slots(PIECE / HPS_LANES, j, p, r);
    }
    for (; j + FEW * HPS_LANES <= p->columns; j += FEW * HPS_LANES) {
        add_slots(FEW, j, p, r);
    }
    for (; j < p->columns; j += HPS_LANES) {
        add_slots(1, j, p, r);
    }
}

/* One token, columns first .. end - 1; the first columns begin the slots' sums. */
static void decode_token(decode_piece *p, int64_t first, int64_t end, const float *W_dec, float sign,
                         const float *start, double scale, float *r, int64_t *fixed)
{
    if (fixed != NULL && first == 0) {
        memset(fixed, 0, (size_t)p->slots * sizeof(*fixed));
    }
    for (int64_t j = first; j < end; j += PIECE) {
        p->W = W_dec + j;
        p->columns = end - j < PIECE ? end - j : PIECE;
        decode_columns(p, sign, start + j, r + j);
        if (fixed != NULL) {
            add_dots(p, scale, r + j, fixed);
        }
    }
}

/* Columns at a time: a piece where the rows that occur, so cut, fit a core's second cache and are used often; else all. */
static int64_t columns_at_a_time(int64_t B, int64_t w, const hps_slots *slots)
{
    const int64_t bytes = slots->latents * PIECE * (int64_t)sizeof(float);

    return slots->latents > 0 && bytes <= 1 << 20 && slots->first[B] >= 128 * slots->latents ? PIECE : w + PIECE;
}

/*
 * A piece of columns stays in registers while a token's slots pass, and the rows' pieces in cache for <R, w>.  Few rows
 * serve all tokens a piece at a time; else a token is decoded whole.
 */
void FAST(decode)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                  float *R)
{
    const int64_t width = columns_at_a_time(B, w, slots);

#pragma omp parallel num_threads(ws->size.threads)
    for (int64_t c = 0; c < w || c == 0; c += width) {
        const int64_t end = w - c < width ? w : c + width;
#pragma omp for schedule(static) nowait
        for (int64_t t = 0; t < B; t++) {
            const int64_t begin = slots->first[t], all = slots->first[t + 1] - begin;
            decode_piece p = {.ldd = ldd, .slot = slots->slot + begin, .left = slots->first[B] - begin};
            p.slots = first_slots >= 0 && first_slots < all ? first_slots : all;
            decode_token(&p, c, end, W_dec, sign, start + t * lds, scale[t], R + t * ldd,
                         dz ? slots->dz_fixed + begin : NULL);
        }
    }
}

/* A task is a block of tokens: where their slots ascend by latent, some decoder rows at a time serve all of them. */
void FAST(slot_dots)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                     int64_t ldg, const float *G, const double *scale)
{
    enum { BLOCK = 64 };

#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t t0 = 0; t0 < B; t0 += BLOCK) {
        const int64_t tokens = B - t0 < BLOCK ? B - t0 : BLOCK;
        int32_t next[BLOCK], left = slots->first[t0 + tokens] - slots->first[t0];

        for (int64_t b = 0; b < tokens; b++) {
            next[b] = slots->first[t0 + b];
        }
        for (int64_t end = RESIDENT; left > 0; end += RESIDENT) {
            for (int64_t b = 0; b < tokens; b++) {
                const int64_t t = t0 + b;
                for (; next[b] < slots->first[t + 1] && slots->slot[next[b]].latent < end; next[b]++, left--) {
                    const float *w_i = W_dec + slots->slot[next[b]].latent * ldd;
                    slots->dz_fixed[next[b]] = fast_dot_fixed(w, G + t * ldg, w_i, scale[t]);
                }
            }
        }
    }
}

/* A task is a block of columns: its sums stay in registers while the rows pass. */
static void sum_block(int64_t B, int64_t columns, int64_t ldr, const float *R, int64_t ldq, const float *Q, double *sum,
                      double *product)
{
    double s[HPS_BLOCK] = {0}, q[HPS_BLOCK] = {0};

    for (int64_t t = 0; t < B; t++) {
        const float *r = R + t * ldr, *other = Q + t * ldq;
        for (int64_t j = 0; j < columns; j++) {
            s[j] += (double)r[j];
            q[j] += (double)r[j] * (double)other[j];
        }
    }
    for (int64_t j = 0; j < columns; j++) {
        sum[j] = s[j];
        product[j] = q[j];
    }
}

void FAST(column_sums)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq,
                       const float *Q, double *sum, double *product)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t c = 0; c < w; c += HPS_BLOCK) {
        if (w - c >= HPS_BLOCK) {
            sum_block(B, HPS_BLOCK, ldr, R + c, ldq, Q + c, sum + c, product + c);
        } else {
            sum_block(B, w - c, ldr, R + c, ldq, Q + c, sum + c, product + c);
        }
    }
}
