#include "hpsae/kernels/kernels.h"

/* Both backends are compiled once for each instruction set, the best last. */
extern const hps_kernels hps_kernels_ref_base, hps_fast_kernels_base;
#ifdef __x86_64__
extern const hps_kernels hps_kernels_ref_avx2, hps_fast_kernels_avx2;
extern const hps_kernels hps_kernels_ref_avx512, hps_fast_kernels_avx512;
#endif

static const hps_kernels *const ref[] = {
    &hps_kernels_ref_base,
#ifdef __x86_64__
    &hps_kernels_ref_avx2,
    &hps_kernels_ref_avx512,
#endif
};

static const hps_kernels *const fast[] = {
    &hps_fast_kernels_base,
#ifdef __x86_64__
    &hps_fast_kernels_avx2,
    &hps_fast_kernels_avx512,
#endif
};

enum { ISAS = sizeof(ref) / sizeof(ref[0]) };

/* Number of this CPU's best instruction set in the lists above; those before it run as well. */
static int best_isa(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return 0;
    }
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? 2
               : 1;
#else
    return 0;
#endif
}

int hps_kernels_all(const hps_kernels *all[HPS_KERNELS_MAX])
{
    _Static_assert(2 * ISAS <= HPS_KERNELS_MAX, "more kernels than hps_kernels_all returns");
    int count = 0;

    for (int isa = 0; isa <= best_isa(); isa++) {
        all[count++] = ref[isa];
        all[count++] = fast[isa];
    }
    return count;
}

const hps_kernels *hps_kernels_choose(hps_backend backend)
{
    return backend == HPS_BACKEND_REF ? ref[best_isa()] : fast[best_isa()];
}
