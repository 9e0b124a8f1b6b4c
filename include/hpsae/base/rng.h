/*
 * Random numbers as functions of (seed, purpose, index, step): Philox4x32-10 of Random123 (Salmon et al. 2011).  No state,
 * so that any rank can draw any number, and a resumed run draws what the straight run would have drawn.  Everything
 * here is + - * / and sqrt in double, rounded as IEEE 754 says: the same bits on every CPU and libm.
 */
#ifndef HPSAE_BASE_RNG_H
#define HPSAE_BASE_RNG_H

#include <stdint.h>

/* What a number is drawn for; numbers of different purposes are independent.  Never renumber. */
typedef enum {
    HPS_DRAW_DECODER = 1,       /* index: latent * d + column */
    HPS_DRAW_BATCH_ORDER = 2,   /* index: block of rows; step: epoch */
    HPS_DRAW_SAMPLE = 3,        /* rows for medians and statistics */
    HPS_DRAW_SHUFFLE_BLOCK = 4, /* index: block of rows */
    HPS_DRAW_SHUFFLE_ROW = 5,   /* index: row */
    HPS_DRAW_PREFIX = 6,        /* index: draw; step: optimiser step */
    HPS_DRAW_BENCH = 7,         /* rows and parameters of a measurement without data; step: stream */
    HPS_DRAW_MEMBER = 8,        /* weight seeds of an ensemble; index: member, from 1 */
    HPS_DRAW_SYNTH_DICTIONARY = 16,
    HPS_DRAW_SYNTH_STRUCTURE = 17,
    HPS_DRAW_SYNTH_TOKEN = 18,
    HPS_DRAW_SYNTH_NOISE = 19,
    HPS_DRAW_TEST = 100
} hps_draw;

/* Local.  Four words of 32 uniform bits; block b of the stream (seed, purpose, step). */
void hps_random_bits(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t block, uint32_t bits[4]);

/* Local.  64 uniform bits for one index. */
uint64_t hps_random_u64(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t index);

/* Local.  Uniform in the open interval (0, 1): (u + 0.5) / 2^52 with u of 52 bits. */
double hps_random_uniform(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t index);

/* Local.  Standard normal: inverse of the distribution function at hps_random_uniform. */
double hps_random_normal(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t index);

/* Local.  Inverse of the standard normal distribution function, 0 < p < 1; Wichura (1988), AS 241, relative error 1e-16. */
double hps_normal_quantile(double p);

/* Local.  Natural logarithm (x > 0, normal) and exponential (|x| < 700), within 2 ulp, the same bits everywhere. */
double hps_ln(double x);
double hps_exp(double x);

/* Local.  x^n by repeated squaring, the same bits everywhere. */
double hps_power(double x, uint64_t n);

#endif
