/*
 * What screening shares: how far a BLAS product can be from the canonical value, and how a batch is cut into tasks.
 */
#ifndef HPSAE_KERNELS_FAST_SCREEN_H
#define HPSAE_KERNELS_FAST_SCREEN_H

#include "lanes.h"
#include "workspace.h"

/*
 * Bound on the difference of two float32 evaluations of <e, y> + b_enc: any order of summation, with or without fma,
 * errs by at most d u / (1 - d u) |e| |y| (Higham 2002, 3.1; Cauchy-Schwarz), the canonical one by (d / 16 + 5) u; the
 * last addition rounds each; the constant stands for underflow.
 */
static inline float fast_screen_error(const hps_encoder *enc, float y_norm)
{
    const double u = 0x1p-24, terms = (double)enc->d * (17.0 / 16) + 16;
    const double product = (double)enc->row_norm * (double)y_norm;

    return (float)(1.05 * u * (terms * product + 4 * (double)enc->bias) + 1e-35);
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

    while (tokens > 32 && B < 2 * tokens * ws->size.threads) {
        tokens /= 2;
    }
    return tokens;
}

#endif
