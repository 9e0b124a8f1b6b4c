/*
 * Dot products in double with a fixed order, for figures that are computed once a token and not once a latent.
 */
#ifndef HPSAE_MODEL_DOUBLE_DOT_H
#define HPSAE_MODEL_DOUBLE_DOT_H

#include "hpsae/base/canonical.h"

#include <stdint.h>

enum { HPS_DOUBLE_LANES = 8 };

/* Local.  The lanes' sum, by a fixed tree. */
static inline double hps_lanes_sum(double s[HPS_DOUBLE_LANES])
{
    for (int half = HPS_DOUBLE_LANES / 2; half > 0; half /= 2) {
        for (int lane = 0; lane < half; lane++) {
            s[lane] += s[lane + half];
        }
    }
    return s[0];
}

/* Local.  <a, b> over m elements; products of two float32 numbers are exact. */
static inline double hps_float_dot(int64_t m, const float *a, const float *b)
{
    double s[HPS_DOUBLE_LANES] = {0};
    int64_t j = 0;

    for (; j + HPS_DOUBLE_LANES <= m; j += HPS_DOUBLE_LANES) {
        for (int lane = 0; lane < HPS_DOUBLE_LANES; lane++) {
            s[lane] += (double)a[j + lane] * (double)b[j + lane];
        }
    }
    for (int lane = 0; j + lane < m; lane++) {
        s[lane] += (double)a[j + lane] * (double)b[j + lane];
    }
    return hps_lanes_sum(s);
}

/* Local.  The same of doubles. */
static inline double hps_double_dot(int64_t m, const double *a, const double *b)
{
    double s[HPS_DOUBLE_LANES] = {0};
    int64_t j = 0;

    for (; j + HPS_DOUBLE_LANES <= m; j += HPS_DOUBLE_LANES) {
        for (int lane = 0; lane < HPS_DOUBLE_LANES; lane++) {
            s[lane] += a[j + lane] * b[j + lane];
        }
    }
    for (int lane = 0; j + lane < m; lane++) {
        s[lane] += a[j + lane] * b[j + lane];
    }
    return hps_lanes_sum(s);
}

/* Local.  <a, b> over a rank's m columns in fixed point, block by block, so that ranks' shares add up to the same. */
static inline int64_t hps_float_dot_fixed(int64_t m, const float *a, const float *b, double scale)
{
    int64_t sum = 0;

    for (int64_t j = 0; j < m; j += HPS_BLOCK) {
        sum += hps_to_fixed(hps_float_dot(m - j < HPS_BLOCK ? m - j : HPS_BLOCK, a + j, b + j), scale);
    }
    return sum;
}

#endif
