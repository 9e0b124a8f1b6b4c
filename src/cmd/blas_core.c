#include "blas_core.h"

#include "node.h"

#include <cblas.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Says to this program, started over, that the number of BLAS threads is its own choice. */
static const char ours[] = "HPSAE_BLAS_THREADS_CHOSEN";

/* What OpenBLAS calls the CPUs below AVX2, which it also falls back on. */
static const char *const poor[] = {"Generic",    "Katmai",        "Coppermine", "Northwood", "Prescott",    "Banias",
                                   "Core2",      "Penryn",        "Dunnington", "Nehalem",   "Atom",        "Athlon",
                                   "Opteron",    "Opteron(SSE3)", "Barcelona",  "Bobcat",    "Sandybridge", "Bulldozer",
                                   "Piledriver", "Steamroller",   "Unknown"};

const char *hps_blas_core_better(const char *core, int avx512, int avx2)
{
    for (size_t i = 0; i < sizeof(poor) / sizeof(poor[0]); i++) {
        if (strcasecmp(core, poor[i]) == 0) {
            return avx512 ? "SkylakeX" : avx2 ? "Haswell" : NULL;
        }
    }
    return NULL;
}

static const char *better_here(void)
{
#ifdef __x86_64__
    const int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");

    return hps_blas_core_better(openblas_get_corename(), avx512,
                                __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#else
    return NULL;
#endif
}

void hps_blas_core_choose(char **argv)
{
    static const char guard[] = "HPSAE_BLAS_CORE_CHOSEN";
    char path[PATH_MAX];
    cpu_set_t mask;
    const char *core = getenv("OPENBLAS_CORETYPE") == NULL && getenv(guard) == NULL ? better_here() : NULL;
    const ssize_t length = core == NULL ? 0 : readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (getenv("OPENBLAS_NUM_THREADS") == NULL) {
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        setenv(ours, "1", 1);
        openblas_set_num_threads(1);
    }
    if (length > 0) {
        path[length] = '\0';
        setenv("OPENBLAS_CORETYPE", core, 1);
        setenv(guard, core, 1);
        /* OpenMP may have bound this thread to one processor, which would be all that the program then had. */
        hps_node_own_mask(&mask);
        sched_setaffinity(0, sizeof(mask), &mask);
        execv(path, argv);
        /* Still here: the slow core will do. */
        unsetenv("OPENBLAS_CORETYPE");
    }
}

void hps_blas_threads(int threads)
{
    if (getenv(ours) != NULL) {
        openblas_set_num_threads(threads);
    }
}
