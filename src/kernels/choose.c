#include "hpsae/kernels/kernels.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Every table that was compiled, for ever larger instruction sets; a CPU runs the first so many. */
extern const hps_kernels hps_kernels_ref_portable, hps_fast_kernels_portable;
#ifdef __x86_64__
extern const hps_kernels hps_kernels_ref_avx2, hps_fast_kernels_avx2;
extern const hps_kernels hps_kernels_ref_avx512, hps_fast_kernels_avx512;
extern const hps_kernels hps_fast_kernels_avx512bf16, hps_fast_kernels_amx;
#endif

static const hps_kernels *const table[] = {
    &hps_kernels_ref_portable, &hps_fast_kernels_portable,
#ifdef __x86_64__
    &hps_kernels_ref_avx2,     &hps_fast_kernels_avx2,       &hps_kernels_ref_avx512,
    &hps_fast_kernels_avx512,  &hps_fast_kernels_avx512bf16, &hps_fast_kernels_amx,
#endif
};

static const char *const names[] = {
    [HPS_BACKEND_AUTO] = "auto", [HPS_BACKEND_REF] = "ref",       [HPS_BACKEND_PORTABLE] = "portable",
    [HPS_BACKEND_AVX2] = "avx2", [HPS_BACKEND_AVX512] = "avx512", [HPS_BACKEND_AVX512BF16] = "avx512bf16",
    [HPS_BACKEND_AMX] = "amx"};

#ifdef __x86_64__

/* The tiles must be there, saved by the kernel, and asked for once a process. */
static bool has_amx(void)
{
    unsigned a, b, c, d, low, high;
    enum { BF16 = 1 << 22, TILE = 1 << 24, SAVED = 3 << 17, REQUEST = 0x1023, TILE_DATA = 18 };

    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & BF16) == 0 || (d & TILE) == 0) {
        return false;
    }
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & SAVED) == SAVED && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

static int count_tables(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return 2;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
        return 4;
    }
    return !__builtin_cpu_supports("avx512bf16") ? 6 : has_amx() ? 8 : 7;
}

#else

static int count_tables(void)
{
    return 2;
}

#endif

int hps_kernels_all(const hps_kernels *all[HPS_KERNELS_MAX])
{
    const int count = count_tables();

    _Static_assert(sizeof(table) / sizeof(table[0]) <= HPS_KERNELS_MAX, "more kernels than hps_kernels_all returns");
    memcpy(all, table, (size_t)count * sizeof(table[0]));
    return count;
}

/* Operations a second of the screen's unit: the best of a few measurements of about a millisecond. */
static double screen_rate(const hps_kernels *k)
{
    int64_t rounds = 1000;
    double best = 0;

    for (int i = 0; i < 8; i++) {
        const double begin = omp_get_wtime();
        const double done = k->screen_peak(rounds), seconds = omp_get_wtime() - begin;
        if (seconds < 5e-4) {
            rounds *= 2;
        }
        best = seconds > 0 && done / seconds > best ? done / seconds : best;
    }
    return best;
}

static const hps_kernels *fastest(int count, const hps_kernels *const *all)
{
    const hps_kernels *choice = all[0];
    double rate = 0;

    for (int i = 0; i < count; i++) {
        const double here = strcmp(all[i]->name, names[HPS_BACKEND_REF]) == 0 ? 0 : screen_rate(all[i]);
        if (here >= rate) {
            rate = here;
            choice = all[i];
        }
    }
    return choice;
}

hps_status hps_kernels_choose(hps_backend backend, const hps_kernels **kernels)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    const int count = hps_kernels_all(all);
    char has[96] = "";

    if (backend == HPS_BACKEND_AUTO) {
        *kernels = fastest(count, all);
        return HPS_OK;
    }
    *kernels = NULL;
    for (int i = 0; i < count; i++) {
        if (strcmp(all[i]->name, names[backend]) == 0) {
            *kernels = all[i]; /* of ref: for the best instruction set */
        } else if (strcmp(all[i]->name, names[HPS_BACKEND_REF]) != 0) {
            const size_t length = strlen(has);
            snprintf(has + length, sizeof(has) - length, ", %s", all[i]->name);
        }
    }
    if (*kernels == NULL) {
        return hps_fail(HPS_ECONFIG, "kernels.backend: this CPU cannot run %s; it can run auto, ref%s", names[backend],
                        has);
    }
    return HPS_OK;
}
