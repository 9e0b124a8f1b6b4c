/*
 * Many canonical dot products over one block of columns at a time: the pairwise trees of a group of products are folded
 * together, so that a register holds one sum of each and no lane idles.  Same bits as hps_dot_fixed.
 */
#ifndef HPSAE_KERNELS_FAST_GROUP_H
#define HPSAE_KERNELS_FAST_GROUP_H

#include "lanes.h"

/* Columns of a row that are worked on at a time, in registers. */
#ifdef __AVX512F__
enum { PIECE = 8 * HPS_LANES };
#else
enum { PIECE = 4 * HPS_LANES };
#endif
enum { FEW = 4 }; /* lanes of what is left of a row */

static inline lanes block_product(const float *a, const float *b)
{
    return lanes_fma(a + HPS_LANES, b + HPS_LANES, lanes_fma(a, b, lanes_zero()));
}

#if defined(__AVX512F__)

enum { FOLDED = 16 };

static inline __m512 group_fold8(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_shuffle_f64x2(_mm512_castps_pd(a), _mm512_castps_pd(b), 0x44)),
                         _mm512_castpd_ps(_mm512_shuffle_f64x2(_mm512_castps_pd(a), _mm512_castps_pd(b), 0xEE)));
}

static inline __m512 group_fold4(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

static inline __m512 group_fold2(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
}

static inline __m512 group_fold1(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

/* Product q ends in lane q when the folds meet the products P(0) ... in this order. */
#define FOLD_8(P, q) group_fold8(P(q), P((q) + 4))
#define FOLD_4(P, q) group_fold4(FOLD_8(P, q), FOLD_8(P, (q) + 8))
#define FOLD_2(P, q) group_fold2(FOLD_4(P, q), FOLD_4(P, (q) + 1))

static inline void group_add_fixed(__m512 dot, double scale, int64_t sum[FOLDED])
{
    const __m512d s = _mm512_set1_pd(scale), low = _mm512_cvtps_pd(_mm512_castps512_ps256(dot));
    const __m512d high = _mm512_cvtps_pd(_mm512_castps512_ps256(_mm512_shuffle_f32x4(dot, dot, 0xEE)));

    _mm512_storeu_si512(sum, _mm512_add_epi64(_mm512_loadu_si512(sum), _mm512_cvtpd_epi64(_mm512_mul_pd(low, s))));
    _mm512_storeu_si512(sum + 8,
                        _mm512_add_epi64(_mm512_loadu_si512(sum + 8), _mm512_cvtpd_epi64(_mm512_mul_pd(high, s))));
}

#elif defined(__AVX2__)

enum { FOLDED = 8 };

static inline __m256 group_fold4(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

static inline __m256 group_fold2(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE));
}

static inline __m256 group_fold1(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD));
}

#define FOLD_8(P, q) lanes_fold(P(q))
#define FOLD_4(P, q) group_fold4(FOLD_8(P, q), FOLD_8(P, (q) + 4))
#define FOLD_2(P, q) group_fold2(FOLD_4(P, q), FOLD_4(P, (q) + 1))

static inline void group_add_fixed(__m256 folded, double scale, int64_t sum[FOLDED])
{
    float dot[FOLDED];

    _mm256_storeu_ps(dot, folded);
    for (int q = 0; q < FOLDED; q++) {
        sum[q] += hps_to_fixed((double)dot[q], scale);
    }
}

#else

enum { FOLDED = 1 };

static inline void group_add_fixed(float dot, double scale, int64_t sum[FOLDED])
{
    sum[0] += hps_to_fixed((double)dot, scale);
}

#endif

#if defined(__AVX2__)
#define GROUP_FOLD(P) group_fold1(FOLD_2(P, 0), FOLD_2(P, 2))
#else
#define GROUP_FOLD(P) lanes_sum(P(0))
#endif

/* sum[q] += <a[q], b[q]> over HPS_BLOCK columns, in fixed point, q < FOLDED. */
static inline void group_dots(const float *const a[FOLDED], const float *const b[FOLDED], double scale,
                              int64_t sum[FOLDED])
{
#define PRODUCT(q) block_product(a[q], b[q])
    group_add_fixed(GROUP_FOLD(PRODUCT), scale, sum);
#undef PRODUCT
}

/* sum[q] += the sum over the lanes of product[q], as block_product leaves it, in fixed point, q < FOLDED. */
static inline void group_sums(const float (*product)[HPS_LANES], double scale, int64_t sum[FOLDED])
{
#define PRODUCT(q) lanes_load(product[q])
    group_add_fixed(GROUP_FOLD(PRODUCT), scale, sum);
#undef PRODUCT
}

#endif
