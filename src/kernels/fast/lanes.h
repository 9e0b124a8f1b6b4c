/*
 * Sixteen float lanes, and the canonical dot products on them: one register with AVX-512, two with AVX2, an array
 * elsewhere.  Same bits as base/canonical.h.
 */
#ifndef HPSAE_KERNELS_FAST_LANES_H
#define HPSAE_KERNELS_FAST_LANES_H

#include "hpsae/base/canonical.h"

#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)

typedef __m512 lanes;

static inline lanes lanes_zero(void)
{
    return _mm512_setzero_ps();
}

static inline lanes lanes_fma(const float *a, const float *b, lanes s)
{
    return _mm512_fmadd_ps(_mm512_loadu_ps(a), _mm512_loadu_ps(b), s);
}

static inline lanes lanes_load(const float *a)
{
    return _mm512_loadu_ps(a);
}

static inline void lanes_store(float *a, lanes s)
{
    _mm512_storeu_ps(a, s);
}

/* s + z row */
static inline lanes lanes_axpy(float z, const float *row, lanes s)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(z), _mm512_loadu_ps(row), s);
}

/* s + z a */
static inline lanes lanes_scaled(float z, lanes a, lanes s)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(z), a, s);
}

/* s + a row */
static inline lanes lanes_times(lanes a, const float *row, lanes s)
{
    return _mm512_fmadd_ps(a, _mm512_loadu_ps(row), s);
}

/* Only the first `count` lanes take part. */
static inline lanes lanes_fma_first(int64_t count, const float *a, const float *b, lanes s)
{
    const __mmask16 mask = (__mmask16)((1u << count) - 1);

    return _mm512_mask3_fmadd_ps(_mm512_maskz_loadu_ps(mask, a), _mm512_maskz_loadu_ps(mask, b), s, mask);
}

static inline __m256 lanes_fold(lanes s)
{
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(s), 1));

    return _mm256_add_ps(_mm512_castps512_ps256(s), high);
}

#elif defined(__AVX2__)

typedef struct {
    __m256 low, high;
} lanes;

static inline lanes lanes_zero(void)
{
    return (lanes){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

static inline lanes lanes_fma(const float *a, const float *b, lanes s)
{
    return (lanes){_mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b), s.low),
                   _mm256_fmadd_ps(_mm256_loadu_ps(a + 8), _mm256_loadu_ps(b + 8), s.high)};
}

static inline lanes lanes_load(const float *a)
{
    return (lanes){_mm256_loadu_ps(a), _mm256_loadu_ps(a + 8)};
}

static inline void lanes_store(float *a, lanes s)
{
    _mm256_storeu_ps(a, s.low);
    _mm256_storeu_ps(a + 8, s.high);
}

static inline lanes lanes_axpy(float z, const float *row, lanes s)
{
    const __m256 all = _mm256_set1_ps(z);

    return (lanes){_mm256_fmadd_ps(all, _mm256_loadu_ps(row), s.low),
                   _mm256_fmadd_ps(all, _mm256_loadu_ps(row + 8), s.high)};
}

static inline lanes lanes_scaled(float z, lanes a, lanes s)
{
    const __m256 all = _mm256_set1_ps(z);

    return (lanes){_mm256_fmadd_ps(all, a.low, s.low), _mm256_fmadd_ps(all, a.high, s.high)};
}

static inline lanes lanes_times(lanes a, const float *row, lanes s)
{
    return (lanes){_mm256_fmadd_ps(a.low, _mm256_loadu_ps(row), s.low),
                   _mm256_fmadd_ps(a.high, _mm256_loadu_ps(row + 8), s.high)};
}

static inline __m256 half_fma_first(__m256i mask, const float *a, const float *b, __m256 s)
{
    const __m256 sum = _mm256_fmadd_ps(_mm256_maskload_ps(a, mask), _mm256_maskload_ps(b, mask), s);

    return _mm256_blendv_ps(s, sum, _mm256_castsi256_ps(mask));
}

static inline lanes lanes_fma_first(int64_t count, const float *a, const float *b, lanes s)
{
    const __m256i limit = _mm256_set1_epi32((int)count), number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i low = _mm256_cmpgt_epi32(limit, number);
    const __m256i high = _mm256_cmpgt_epi32(limit, _mm256_add_epi32(number, _mm256_set1_epi32(8)));

    return (lanes){half_fma_first(low, a, b, s.low), half_fma_first(high, a + 8, b + 8, s.high)};
}

static inline __m256 lanes_fold(lanes s)
{
    return _mm256_add_ps(s.low, s.high);
}

#else

typedef struct {
    float v[HPS_LANES];
} lanes;

static inline lanes lanes_zero(void)
{
    return (lanes){{0}};
}

static inline lanes lanes_load(const float *a)
{
    lanes s;

    memcpy(s.v, a, sizeof(s.v));
    return s;
}

static inline void lanes_store(float *a, lanes s)
{
    memcpy(a, s.v, sizeof(s.v));
}

static inline lanes lanes_axpy(float z, const float *row, lanes s)
{
    for (int l = 0; l < HPS_LANES; l++) {
        s.v[l] = fmaf(z, row[l], s.v[l]);
    }
    return s;
}

static inline lanes lanes_scaled(float z, lanes a, lanes s)
{
    return lanes_axpy(z, a.v, s);
}

static inline lanes lanes_times(lanes a, const float *row, lanes s)
{
    for (int l = 0; l < HPS_LANES; l++) {
        s.v[l] = fmaf(a.v[l], row[l], s.v[l]);
    }
    return s;
}

static inline lanes lanes_fma_first(int64_t count, const float *a, const float *b, lanes s)
{
    for (int64_t l = 0; l < count; l++) {
        s.v[l] = fmaf(a[l], b[l], s.v[l]);
    }
    return s;
}

static inline lanes lanes_fma(const float *a, const float *b, lanes s)
{
    return lanes_fma_first(HPS_LANES, a, b, s);
}

#endif

/* The fixed pairwise tree over the lanes. */
static inline float lanes_sum(lanes s)
{
#if defined(__AVX512F__) || defined(__AVX2__)
    const __m256 eight = lanes_fold(s);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    for (int half = HPS_LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            s.v[l] += s.v[l + half];
        }
    }
    return s.v[0];
#endif
}

/* hps_dot. */
static inline float fast_dot(int64_t m, const float *a, const float *b)
{
    lanes s = lanes_zero();
    int64_t j = 0;

    for (; j + HPS_LANES <= m; j += HPS_LANES) {
        s = lanes_fma(a + j, b + j, s);
    }
    if (j < m) {
        s = lanes_fma_first(m - j, a + j, b + j, s);
    }
    return lanes_sum(s);
}

/* hps_dot_fixed. */
static inline int64_t fast_dot_fixed(int64_t m, const float *a, const float *b, double scale)
{
    int64_t sum = 0, j = 0;

    for (; j + HPS_BLOCK <= m; j += HPS_BLOCK) {
        const lanes s = lanes_fma(a + j + HPS_LANES, b + j + HPS_LANES, lanes_fma(a + j, b + j, lanes_zero()));
        sum += hps_to_fixed((double)lanes_sum(s), scale);
    }
    if (j < m) {
        sum += hps_to_fixed((double)fast_dot(m - j, a + j, b + j), scale);
    }
    return sum;
}

#endif
