/* The dense units' peaks, by the kernels that drive them. */
#include "bench_parts.h"

/* Twelve chains of sixteen lanes: enough to hide the latency of a multiply and an add. */
enum { CHAINS = 12, LANES = 16 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(64)));

static double multiply_add(int64_t rounds)
{
    lanes sum[CHAINS] = {{0}}, factor = {0};
    volatile float used;

    for (int j = 0; j < LANES; j++) {
        factor[j] = 0.5f + 0.01f * (float)j;
    }
    for (int64_t i = 0; i < rounds; i++) {
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = sum[c] * factor + factor;
        }
    }
    for (int c = 1; c < CHAINS; c++) {
        sum[0] += sum[c];
    }
    used = sum[0][0];
    (void)used;
    return 2.0 * CHAINS * LANES * (double)rounds;
}

double hps_bench_screen_peak(const hps_kernels *kernels, int64_t rounds)
{
    (void)kernels;
    return multiply_add(rounds);
}

double hps_bench_float_peak(const hps_kernels *kernels, int64_t rounds)
{
    (void)kernels;
    return multiply_add(rounds);
}
