/*
 * What the dense units can do at most: multiply-adds on registers alone.
 */
#include "lanes.h"
#include "workspace.h"

enum { CHAINS = 12 }; /* of dependent sums: enough for two units of latency 6 */

/* The sums are used: 0. */
static double drain(const void *sums, size_t bytes)
{
    const unsigned char *byte = sums;
    double sum = 0;

    for (size_t i = 0; i < bytes; i++) {
        sum += byte[i];
    }
    return sum;
}

#if defined(__AMX_BF16__)

double FAST(screen_peak)(int64_t rounds)
{
    product_open();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    product_close();
    return (double)rounds * 4 * 2 * 16 * 16 * 32;
}

#else

double FAST(screen_peak)(int64_t rounds)
{
    product_word word[PAIR * PRODUCT_LANES] = {0};
    product_sum s[CHAINS];

    memset(s, 0, sizeof(s));
    __asm__ volatile("" : "+m"(word), "+m"(s)); /* the compiler knows nothing about them */
    for (int64_t i = 0; i < rounds; i++) {
        PRODUCT_UNROLL
        for (int c = 0; c < CHAINS; c++) {
            s[c] = product_add(s[c], word, word);
        }
        __asm__ volatile("" : "+r"(rounds)); /* a round is a round */
    }
    return drain(s, sizeof(s)) + (double)rounds * CHAINS * 2 * PAIR * PRODUCT_LANES;
}

#endif

double FAST(screen_trial)(int64_t rounds)
{
    enum { COLUMNS = 256 };
    static product_word zero[16 * COLUMNS * PANEL];
    static const float bias[PANEL];
    float tile[STRIP * PANEL];

    product_open();
    for (int64_t i = 0; i < rounds; i++) {
        product_run(COLUMNS, 0, COLUMNS, zero, zero, bias, tile);
        product_store(tile);
        __asm__ volatile("" : : "m"(tile) : "memory");
    }
    product_close();
    return (double)rounds * STRIP * PANEL * COLUMNS * 2;
}

double FAST(float_peak)(int64_t rounds)
{
    float zero[HPS_LANES] = {0};
    lanes s[CHAINS];

    memset(s, 0, sizeof(s));
    __asm__ volatile("" : "+m"(zero), "+m"(s));
    for (int64_t i = 0; i < rounds; i++) {
        PRODUCT_UNROLL
        for (int c = 0; c < CHAINS; c++) {
            s[c] = lanes_fma(zero, zero, s[c]);
        }
        __asm__ volatile("" : "+r"(rounds));
    }
    return drain(s, sizeof(s)) + (double)rounds * CHAINS * 2 * HPS_LANES;
}
