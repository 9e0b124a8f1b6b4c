#include "hpsae/kernels/kernels.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

extern const hps_kernels hps_kernels_ref_portable, hps_fast_kernels_portable;
#ifdef __x86_64__
extern const hps_kernels hps_kernels_ref_avx2, hps_fast_kernels_avx2;
extern const hps_kernels hps_kernels_ref_avx512, hps_fast_kernels_avx512;
extern const hps_kernels hps_fast_kernels_avx512vnni, hps_fast_kernels_avx512bf16, hps_fast_kernels_amx;
#endif
#ifdef HPS_CUDA
extern const hps_kernels hps_cuda_kernels;
bool hps_cuda_is_there(void);
#endif

/* What a machine may have, beyond the base. */
enum { AVX2 = 1, AVX512 = 2, VNNI = 4, BF16 = 8, AMX = 16 };

/* Every table that was compiled, and what it needs. */
static const struct {
    const hps_kernels *kernels;
    unsigned needs;
} table[] = {
    {&hps_kernels_ref_portable, 0},     {&hps_fast_kernels_portable, 0},
#ifdef __x86_64__
    {&hps_kernels_ref_avx2, AVX2},      {&hps_fast_kernels_avx2, AVX2},       {&hps_kernels_ref_avx512, AVX512},
    {&hps_fast_kernels_avx512, AVX512}, {&hps_fast_kernels_avx512vnni, VNNI}, {&hps_fast_kernels_avx512bf16, BF16},
    {&hps_fast_kernels_amx, AMX},
#endif
};
enum { TABLES = sizeof(table) / sizeof(table[0]) };

static bool is(const hps_kernels *kernels, hps_backend backend)
{
    return strcmp(kernels->name, hps_config_word("kernels.backend", backend)) == 0;
}

#ifdef __x86_64__

/* The tiles must be there, saved by the kernel, and asked for once a process. */
static bool has_amx(void)
{
    unsigned a, b, c, d, low, high;
    enum { HAS_BF16 = 1 << 22, HAS_TILE = 1 << 24, SAVED = 3 << 17, REQUEST = 0x1023, TILE_DATA = 18 };

    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & HAS_BF16) == 0 || (d & HAS_TILE) == 0) {
        return false;
    }
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & SAVED) == SAVED && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

static unsigned cpu_has(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return 0;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
        return AVX2;
    }
    const bool bf16 = __builtin_cpu_supports("avx512bf16");
    return AVX2 | AVX512 | (__builtin_cpu_supports("avx512vnni") ? VNNI : 0) | (bf16 ? BF16 : 0) |
           (bf16 && has_amx() ? AMX : 0);
}

#else

static unsigned cpu_has(void)
{
    return 0;
}

#endif

const hps_kernels *hps_kernels_device(void)
{
#ifdef HPS_CUDA
    return hps_cuda_is_there() ? &hps_cuda_kernels : NULL;
#else
    return NULL;
#endif
}

int hps_kernels_all(const hps_kernels *all[HPS_KERNELS_MAX])
{
    const unsigned has = cpu_has();
    int count = 0;

    _Static_assert((int)TABLES < (int)HPS_KERNELS_MAX, "more kernels than hps_kernels_all returns");
    for (int i = 0; i < TABLES; i++) {
        if ((table[i].needs & ~has) == 0) {
            all[count++] = table[i].kernels;
        }
    }
    return count;
}

/* Operations a second of the screen's product: the best of a few measurements of about a millisecond. */
static double screen_rate(const hps_kernels *k)
{
    int64_t rounds = 16;
    double best = 0;

    for (int i = 0; i < 8; i++) {
        const double begin = omp_get_wtime();
        const double done = k->screen_trial(rounds), seconds = omp_get_wtime() - begin;
        if (seconds < 5e-4) {
            rounds *= 2;
        }
        best = seconds > 0 && done / seconds > best ? done / seconds : best;
    }
    return best;
}

/* Bytes leave about three times as many latents to rescue as bf16 does: they must be faster by more than that costs. */
static double worth(const hps_kernels *k)
{
    static const double bytes = 0.8;

    return is(k, HPS_BACKEND_REF) ? 0 : screen_rate(k) * (is(k, HPS_BACKEND_AVX512VNNI) ? bytes : 1);
}

static const hps_kernels *fastest(int count, const hps_kernels *const *all)
{
    const hps_kernels *choice = all[0];
    double rate = 0;

    for (int i = 0; i < count; i++) {
        const double here = worth(all[i]);
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
    char has[112] = "";

    if (backend == HPS_BACKEND_AUTO) {
        *kernels = fastest(count, all);
        return HPS_OK;
    }
    *kernels = backend == HPS_BACKEND_CUDA ? hps_kernels_device() : NULL;
    for (int i = 0; i < count; i++) {
        if (is(all[i], backend)) {
            *kernels = all[i]; /* of ref: for the best instruction set */
        } else if (!is(all[i], HPS_BACKEND_REF)) {
            const size_t length = strlen(has);
            snprintf(has + length, sizeof(has) - length, ", %s", all[i]->name);
        }
    }
    if (*kernels == NULL && backend == HPS_BACKEND_CUDA) {
#ifdef HPS_CUDA
        return hps_fail(HPS_ECONFIG,
                        "kernels.backend: cuda, but no GPU that it can use is found here (nvidia-smi lists them); this "
                        "machine can run auto, ref%s",
                        has);
#else
        return hps_fail(HPS_ECONFIG,
                        "kernels.backend: cuda, but this program was built without it (make CUDA=1, with nvcc on the "
                        "PATH or CUDA_HOME set); it can run auto, ref%s",
                        has);
#endif
    }
    if (*kernels == NULL) {
        return hps_fail(HPS_ECONFIG, "kernels.backend: this CPU cannot run %s; it can run auto, ref%s",
                        hps_config_word("kernels.backend", backend), has);
    }
    return HPS_OK;
}
