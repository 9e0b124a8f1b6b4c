/*
 * Canonical arithmetic: the sums on which the bits of a run depend, spelled out in plain C.  A fast kernel is right
 * when it gives these bits.
 *
 * A dot product is 16 accumulators, accumulator j taking elements j, j + 16, ... in order by fused multiply-add, then a
 * fixed pairwise tree.  A dot product over columns that several ranks share is the sum of its HPS_BLOCK-column
 * blocks, each canonical and then rounded to 64-bit fixed point, whose addition is associative.
 */
#ifndef HPSAE_BASE_CANONICAL_H
#define HPSAE_BASE_CANONICAL_H

#include <math.h>
#include <stdint.h>

/* The same text is compiled for GPUs. */
#ifdef __CUDACC__
#define HPS_BOTH __host__ __device__
#else
#define HPS_BOTH
#endif

enum { HPS_LANES = 16, HPS_BLOCK = 32 };

/* Local.  <a, b> over m elements, canonical. */
static HPS_BOTH inline float hps_dot(int64_t m, const float *a, const float *b)
{
    float s[HPS_LANES] = {0};
    int64_t j = 0;

    for (; j + HPS_LANES <= m; j += HPS_LANES) {
        for (int lane = 0; lane < HPS_LANES; lane++) {
            s[lane] = fmaf(a[j + lane], b[j + lane], s[lane]);
        }
    }
    for (int lane = 0; j + lane < m; lane++) {
        s[lane] = fmaf(a[j + lane], b[j + lane], s[lane]);
    }
    for (int half = HPS_LANES / 2; half > 0; half /= 2) {
        for (int lane = 0; lane < half; lane++) {
            s[lane] += s[lane + half];
        }
    }
    return s[0];
}

/* Local.  Fixed point: value * scale to the nearest integer; |value * scale| must stay below 2^62. */
static HPS_BOTH inline int64_t hps_to_fixed(double value, double scale)
{
    return (int64_t)llrint(value * scale);
}

/* Local.  <a, b> over m elements in fixed point, a sum over blocks of columns. */
static HPS_BOTH inline int64_t hps_dot_fixed(int64_t m, const float *a, const float *b, double scale)
{
    int64_t sum = 0;

    for (int64_t j = 0; j < m; j += HPS_BLOCK) {
        const int64_t columns = m - j < HPS_BLOCK ? m - j : HPS_BLOCK;
        sum += hps_to_fixed((double)hps_dot(columns, a + j, b + j), scale);
    }
    return sum;
}

/*
 * Local.  The power of two by which to scale terms whose sum of absolute values is at most `bound` (finite, >= 0), so
 * that neither a term nor their sum overflows 64-bit fixed point: bound * scale <= 2^60, and above 2^58.
 */
static HPS_BOTH inline double hps_fixed_scale(double bound)
{
    int exponent;

    frexp(bound, &exponent);
    exponent = 60 - exponent;
    return ldexp(1.0, bound <= 0 || exponent > 1000 ? 1000 : exponent);
}

/* Local.  Back from fixed point; scale is a power of two. */
static HPS_BOTH inline double hps_from_fixed(int64_t fixed, double scale)
{
    return (double)fixed / scale;
}

#endif
