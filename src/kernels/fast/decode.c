/*
 * Decoding, slot gradients and column sums.  A token's residual stays in cache while its slots pass twice: once to be
 * added, once for <R, w>.
 */
#include "lanes.h"
#include "screen.h"
#include "workspace.h"

static void decode_token(int64_t w, int64_t ldd, const float *W_dec, const hps_candidate *slot, int64_t slots,
                         float *restrict r)
{
    enum { AHEAD = 2 };

    for (int64_t s = 0; s < slots; s++) {
        const float *restrict w_i = W_dec + slot[s].latent * ldd;
        const float z = slot[s].value;

        if (s + AHEAD < slots) {
            fast_prefetch(W_dec + slot[s + AHEAD].latent * ldd, w);
        }
        for (int64_t j = 0; j < ldd; j++) {
            r[j] = fmaf(z, w_i[j], r[j]);
        }
    }
}

void FAST(decode)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                  float *R)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        const int64_t begin = slots->first[t], all = slots->first[t + 1];
        const int64_t end = first_slots >= 0 && begin + first_slots < all ? begin + first_slots : all;
        float *r = R + t * ldd;

        for (int64_t j = 0; j < w; j++) {
            r[j] = sign * start[t * lds + j];
        }
        decode_token(w, ldd, W_dec, slots->slot + begin, end - begin, r);
        for (int64_t s = begin; dz && s < end; s++) {
            slots->dz_fixed[s] = fast_dot_fixed(w, r, W_dec + slots->slot[s].latent * ldd, scale[t]);
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
