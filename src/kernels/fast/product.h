/*
 * The screen's dense product: a panel of 32 latents times a strip of tokens, on the fastest unit of the instruction set.
 * It may round as it likes: panel.h bounds the difference to the canonical value.
 *
 * AMX and AVX-512 BF16 multiply bf16 words, exactly, and add up in float32, denormals as zero.  AVX-512 VNNI multiplies
 * bytes, exactly, with a float32 scale for each DEPTH columns of a row.  The others multiply float32.
 *   panel   [depth / PAIR, PANEL, PAIR] words: PAIR columns of a latent stand together
 *           VNNI: for each DEPTH columns the same, then [PANEL] scales and [PANEL] corrections (product_group)
 *   tokens  AMX: [strip, 2 blocks, depth / 32, 16 tokens, 32]; elsewhere [token, depth]
 *           VNNI: for each DEPTH columns of a token the bytes, 128 added, then the scale
 *   tile    [STRIP, PANEL] float32
 * depth is d rounded up to DEPTH; what stands behind d is zero.
 */
#ifndef HPSAE_KERNELS_FAST_PRODUCT_H
#define HPSAE_KERNELS_FAST_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { PANEL = 32 };

#if defined(__AMX_BF16__)
enum { STRIP = 32, DEPTH = 32, PAIR = 2, CHUNK = 512 };
#elif defined(__AVX512BF16__)
enum { STRIP = 12, DEPTH = 2, PAIR = 2, CHUNK = 1 << 30 };
#elif defined(__AVX512VNNI__)
enum { STRIP = 6, DEPTH = 64, PAIR = 4, CHUNK = 1 << 30 };
#elif defined(__AVX512F__)
enum { STRIP = 12, DEPTH = 1, PAIR = 1, CHUNK = 1 << 30 };
#elif defined(__AVX2__)
enum { STRIP = 6, DEPTH = 1, PAIR = 1, CHUNK = 1 << 30 };
#else
enum { STRIP = 4, DEPTH = 1, PAIR = 1, CHUNK = 1 << 30 };
#endif

#if defined(__AVX512BF16__)
typedef uint16_t product_word;
#elif defined(__AVX512VNNI__)
typedef uint8_t product_word;
#else
typedef float product_word;
#endif

#if defined(__AVX512VNNI__) && !defined(__AVX512BF16__)

/* DEPTH columns of a row, or a token. */
typedef struct {
    uint8_t byte[DEPTH]; /* int8_t; of a token with 128 added, since one factor must be unsigned */
    float scale;
} product_piece;

/* DEPTH columns of a panel. */
typedef struct {
    uint8_t byte[DEPTH / PAIR][PANEL][PAIR]; /* int8_t */
    float scale[PANEL];
    int32_t correction[PANEL]; /* -128 times the sum of the latent's bytes */
} product_group;

/* Words of a panel, and of a token or row. */
static inline int64_t product_panel_words(int64_t depth)
{
    return depth / DEPTH * (int64_t)sizeof(product_group);
}

static inline int64_t product_row_words(int64_t depth)
{
    return depth / DEPTH * (int64_t)sizeof(product_piece);
}

#else

static inline int64_t product_panel_words(int64_t depth)
{
    return depth * PANEL;
}

static inline int64_t product_row_words(int64_t depth)
{
    return depth;
}

#endif

#if defined(__clang__)
#define PRODUCT_UNROLL _Pragma("unroll")
#else
#define PRODUCT_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__AMX_BF16__)

/* Tiles: 0 to 3 sums of 16 tokens x 16 latents, 4 and 5 tokens, 6 and 7 latents. */
static inline void product_open(void)
{
    struct {
        uint8_t palette, start, rest[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};

    for (int i = 0; i < 8; i++) {
        tiles.bytes[i] = 64;
        tiles.rows[i] = 16;
    }
    __asm__ volatile("" : : "r"(&tiles) : "memory"); /* gcc 12 thinks that only the first bytes are read */
    _tile_loadconfig(&tiles);
}

static inline void product_close(void)
{
    _tile_release();
}

/* Columns c0 .. c1 - 1 are added to what stands in the tiles. */
static inline void product_more(int64_t depth, int64_t c0, int64_t c1, const product_word *panel,
                                const product_word *tokens)
{
    const product_word *a = tokens + c0 * 16, *b = a + depth * 16, *w = panel + c0 * PANEL;
    enum { ROW = PANEL * sizeof(float) };

    for (int64_t j = c0; j < c1; j += DEPTH, a += 512, b += 512, w += DEPTH * PANEL) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, w, ROW);
        _tile_loadd(7, w + PANEL, ROW);
        _tile_loadd(5, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* Columns c0 .. c1 - 1: starts from the bias at c0 = 0, else from the tile. */
static inline void product_run(int64_t depth, int64_t c0, int64_t c1, const product_word *panel,
                               const product_word *tokens, const float *bias, const float *tile)
{
    enum { ROW = PANEL * sizeof(float) };

    __asm__ volatile("" ::: "memory");
    if (c0 == 0) {
        _tile_loadd(0, bias, 0);
        _tile_loadd(1, bias + 16, 0);
        _tile_loadd(2, bias, 0);
        _tile_loadd(3, bias + 16, 0);
    } else {
        _tile_loadd(0, tile, ROW);
        _tile_loadd(1, tile + 16, ROW);
        _tile_loadd(2, tile + 16 * PANEL, ROW);
        _tile_loadd(3, tile + 16 * PANEL + 16, ROW);
    }
    product_more(depth, c0, c1, panel, tokens);
}

static inline void product_store(float *tile)
{
    enum { ROW = PANEL * sizeof(float) };

    _tile_stored(0, tile, ROW);
    _tile_stored(1, tile + 16, ROW);
    _tile_stored(2, tile + 16 * PANEL, ROW);
    _tile_stored(3, tile + 16 * PANEL + 16, ROW);
}

#else

#if defined(__AVX512F__)
typedef __m512 product_vector;
#elif defined(__AVX2__)
typedef __m256 product_vector;
#else
typedef float product_vector __attribute__((vector_size(16)));
#endif

#if defined(__AVX512VNNI__) && !defined(__AVX512BF16__)
typedef __m512i product_sum;
#else
typedef product_vector product_sum;
#endif

/* Latents whose sums stay in registers together. */
enum {
    PRODUCT_LANES = sizeof(product_vector) / sizeof(float),
    PRODUCT_WIDTH = 2 * PRODUCT_LANES,
};

static inline product_vector product_load(const float *p)
{
    product_vector v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void product_open(void)
{
}

static inline void product_close(void)
{
}

static inline void product_more(int64_t depth, int64_t c0, int64_t c1, const product_word *panel,
                                const product_word *tokens)
{
    (void)depth;
    (void)c0;
    (void)c1;
    (void)panel;
    (void)tokens;
}

static inline void product_store(float *tile)
{
    (void)tile;
}

#if defined(__AVX512VNNI__) && !defined(__AVX512BF16__)

/* s += PAIR columns of a token, times those of the latents at w. */
static inline __m512i product_add(__m512i s, const product_word *w, const product_word *x)
{
    int four;

    memcpy(&four, x, sizeof(four));
    return _mm512_dpbusd_epi32(s, _mm512_set1_epi32(four), _mm512_loadu_si512(w));
}

static inline void product_run(int64_t depth, int64_t c0, int64_t c1, const product_word *panel,
                               const product_word *tokens, const float *bias, float *tile)
{
    const product_group *group = (const void *)panel;
    const int64_t groups = depth / DEPTH;
    __m512 sum[STRIP][2];

    (void)c0;
    (void)c1;
    PRODUCT_UNROLL
    for (int t = 0; t < STRIP; t++) {
        sum[t][0] = product_load(bias);
        sum[t][1] = product_load(bias + PRODUCT_LANES);
    }
    for (int64_t g = 0; g < groups; g++, group++) {
        const product_piece *token = (const product_piece *)(const void *)tokens + g;
        __m512i s[STRIP][2];
        PRODUCT_UNROLL
        for (int t = 0; t < STRIP; t++) {
            s[t][0] = _mm512_loadu_si512(group->correction);
            s[t][1] = _mm512_loadu_si512(group->correction + PRODUCT_LANES);
        }
        for (int j = 0; j < DEPTH / PAIR; j++) {
            PRODUCT_UNROLL
            for (int t = 0; t < STRIP; t++) {
                s[t][0] = product_add(s[t][0], group->byte[j][0], token[t * groups].byte + j * PAIR);
                s[t][1] = product_add(s[t][1], group->byte[j][PRODUCT_LANES], token[t * groups].byte + j * PAIR);
            }
        }
        PRODUCT_UNROLL
        for (int t = 0; t < STRIP; t++) {
            const __m512 scale = _mm512_set1_ps(token[t * groups].scale);
            for (int h = 0; h < 2; h++) {
                const __m512 both = _mm512_mul_ps(scale, product_load(group->scale + h * PRODUCT_LANES));
                sum[t][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[t][h]), both, sum[t][h]);
            }
        }
    }
    PRODUCT_UNROLL
    for (int t = 0; t < STRIP; t++) {
        memcpy(tile + t * PANEL, &sum[t][0], sizeof(product_vector));
        memcpy(tile + t * PANEL + PRODUCT_LANES, &sum[t][1], sizeof(product_vector));
    }
}

#else

/* s += the PAIR columns of a token, times those of the latents at w. */
static inline product_vector product_add(product_vector s, const product_word *w, const product_word *x)
{
#if defined(__AVX512BF16__)
    int pair;
    memcpy(&pair, x, sizeof(pair));
    return _mm512_dpbf16_ps(s, (__m512bh)_mm512_loadu_si512(w), (__m512bh)_mm512_set1_epi32(pair));
#elif defined(__AVX512F__)
    return _mm512_fmadd_ps(_mm512_loadu_ps(w), _mm512_set1_ps(*x), s);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(_mm256_loadu_ps(w), _mm256_broadcast_ss(x), s);
#else
    return s + product_load(w) * *x;
#endif
}

static inline void product_pass(int64_t depth, const product_word *w, const product_word *tokens, const float *bias,
                                float *tile)
{
    product_vector s[STRIP][2];

    PRODUCT_UNROLL
    for (int t = 0; t < STRIP; t++) {
        s[t][0] = product_load(bias);
        s[t][1] = product_load(bias + PRODUCT_LANES);
    }
    for (int64_t j = 0; j < depth; j += PAIR, w += PAIR * PANEL) {
        PRODUCT_UNROLL
        for (int t = 0; t < STRIP; t++) {
            s[t][0] = product_add(s[t][0], w, tokens + t * depth + j);
            s[t][1] = product_add(s[t][1], w + PAIR * PRODUCT_LANES, tokens + t * depth + j);
        }
    }
    PRODUCT_UNROLL
    for (int t = 0; t < STRIP; t++) {
        memcpy(tile + t * PANEL, &s[t][0], sizeof(product_vector));
        memcpy(tile + t * PANEL + PRODUCT_LANES, &s[t][1], sizeof(product_vector));
    }
}

static inline void product_run(int64_t depth, int64_t c0, int64_t c1, const product_word *panel,
                               const product_word *tokens, const float *bias, float *tile)
{
    (void)c0;
    (void)c1;
    for (int l = 0; l < PANEL; l += PRODUCT_WIDTH) {
        product_pass(depth, panel + l * PAIR, tokens, bias + l, tile + l);
    }
}

#endif
#endif

/* Which of a tile's row of values are not below the cut (or not numbers), a bit each. */
static inline uint32_t product_reach(const float *row, float cut)
{
#if defined(__AVX512F__)
    const __m512 c = _mm512_set1_ps(cut);
    const __mmask16 low = _mm512_cmp_ps_mask(_mm512_loadu_ps(row), c, _CMP_NLT_UQ);
    const __mmask16 high = _mm512_cmp_ps_mask(_mm512_loadu_ps(row + 16), c, _CMP_NLT_UQ);

    return (uint32_t)high << 16 | low;
#elif defined(__AVX2__)
    const __m256 c = _mm256_set1_ps(cut);
    uint32_t bits = 0;

    for (int l = 0; l < PANEL; l += 8) {
        const __m256 reach = _mm256_cmp_ps(_mm256_loadu_ps(row + l), c, _CMP_NLT_UQ);
        bits |= (uint32_t)_mm256_movemask_ps(reach) << l;
    }
    return bits;
#else
    uint32_t bits = 0;

    for (int l = 0; l < PANEL; l++) {
        bits |= (uint32_t) !(row[l] < cut) << l;
    }
    return bits;
#endif
}

#endif
