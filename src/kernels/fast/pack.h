/*
 * How rows become words: to bf16, to bytes with scales, or not at all.
 */
#ifndef HPSAE_KERNELS_FAST_PACK_H
#define HPSAE_KERNELS_FAST_PACK_H

#include "product.h"

#include <float.h>
#include <math.h>

typedef struct {
    double square, packed, lost; /* |v|^2, |q(v)|^2, |v - q(v)|^2 */
} pack_squares;

#if defined(__AVX512VNNI__) && !defined(__AVX512BF16__)

/* m columns to bytes; the scale is 0 where the largest is not finite, or too small for it. */
static inline void pack_piece(int64_t m, const float *v, product_piece *piece, pack_squares *s)
{
    float largest = 0;
    double square = 0, packed = 0, lost = 0;

#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < m; j++) {
        largest = fabsf(v[j]) > largest ? fabsf(v[j]) : largest;
    }
    const float scale = largest >= FLT_MIN * 128 && largest <= FLT_MAX ? largest / 127 : 0;
    const float inverse = scale > 0 ? 1 / scale : 0;
    memset(piece->byte, 0, sizeof(piece->byte));
#pragma omp simd reduction(+ : square, packed, lost)
    for (int64_t j = 0; j < m; j++) {
        const float nearest = rintf(v[j] * inverse);
        const int word = (int)(nearest > 127 ? 127 : nearest >= -127 ? nearest : -127);
        const double x = (double)v[j], q = (double)scale * word;
        piece->byte[j] = (uint8_t)word;
        square += x * x;
        packed += q * q;
        lost += (x - q) * (x - q);
    }
    piece->scale = scale;
    s->square += square;
    s->packed += packed;
    s->lost += lost;
}

/* Packs v [d] as a row of words. */
static inline pack_squares pack_row(int64_t d, int64_t depth, const float *v, product_word *row)
{
    product_piece *piece = (void *)row;
    pack_squares s = {0};

    for (int64_t j = 0; j < depth; j += DEPTH) {
        pack_piece(d - j < DEPTH ? d - j : DEPTH, v + j, piece + j / DEPTH, &s);
    }
    return s;
}

/* PANEL packed rows become a panel. */
static inline void pack_panel(int64_t depth, const product_word *rows, product_word *panel)
{
    const int64_t groups = depth / DEPTH;
    const product_piece *piece = (const void *)rows;
    product_group *group = (void *)panel;

    for (int64_t g = 0; g < groups; g++) {
        for (int64_t l = 0; l < PANEL; l++) {
            const product_piece *from = piece + l * groups + g;
            int32_t sum = 0;
            for (int64_t j = 0; j < DEPTH; j++) {
                sum += (int8_t)from->byte[j];
            }
            for (int64_t j = 0; j < DEPTH / PAIR; j++) {
                memcpy(group[g].byte[j][l], from->byte + j * PAIR, PAIR);
            }
            group[g].scale[l] = from->scale;
            group[g].correction[l] = -128 * sum;
        }
    }
}

/* A packed row becomes token t. */
static inline void pack_token(int64_t depth, const product_word *row, int64_t t, product_word *tokens)
{
    product_piece *to = (product_piece *)(void *)tokens + t * (depth / DEPTH);

    memcpy(to, row, (size_t)product_row_words(depth));
    for (int64_t g = 0; g < depth / DEPTH; g++) {
        for (int64_t j = 0; j < DEPTH; j++) {
            to[g].byte[j] ^= 0x80;
        }
    }
}

#else

#if defined(__AVX512BF16__)

/* To the nearest bf16, ties to even; what the product takes for zero is zero. */
static inline uint16_t pack_word(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    bits += 0x7fff + (bits >> 16 & 1);
    return (bits & 0x7f800000) == 0 ? 0 : (uint16_t)(bits >> 16);
}

static inline float pack_value(uint16_t word)
{
    const uint32_t bits = (uint32_t)word << 16;
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

#else

static inline float pack_word(float value)
{
    return value;
}

static inline float pack_value(float word)
{
    return word;
}

#endif

static inline pack_squares pack_row(int64_t d, int64_t depth, const float *restrict v, product_word *restrict row)
{
    double square = 0, packed = 0, lost = 0;

#pragma omp simd reduction(+ : square, packed, lost)
    for (int64_t j = 0; j < d; j++) {
        const product_word word = pack_word(v[j]);
        const double x = (double)v[j], q = (double)pack_value(word);
        row[j] = word;
        square += x * x;
        packed += q * q;
        lost += (x - q) * (x - q);
    }
    memset(row + d, 0, (size_t)(depth - d) * sizeof(*row));
    return (pack_squares){square, packed, lost};
}

/* Some columns at a time: their part of the panel stays in the nearest cache. */
static inline void pack_panel(int64_t depth, const product_word *restrict rows, product_word *restrict panel)
{
    enum { STRETCH = 16 * PAIR };

    for (int64_t c = 0; c < depth; c += STRETCH) {
        const int64_t end = depth - c < STRETCH ? depth : c + STRETCH;
        for (int64_t l = 0; l < PANEL; l++) {
            for (int64_t j = c; j < end; j += PAIR) {
                memcpy(panel + j * PANEL + l * PAIR, rows + l * depth + j, PAIR * sizeof(*rows));
            }
        }
    }
}

static inline void pack_token(int64_t depth, const product_word *row, int64_t t, product_word *tokens)
{
#if defined(__AMX_BF16__)
    for (int64_t j = 0; j < depth; j += DEPTH) {
        memcpy(tokens + t / 16 * 16 * depth + j * 16 + t % 16 * DEPTH, row + j, DEPTH * sizeof(*row));
    }
#else
    memcpy(tokens + t * depth, row, (size_t)depth * sizeof(*row));
#endif
}

#endif

#endif
