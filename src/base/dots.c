/* Compiled for any CPU of its kind, fmaf is a call of libm, some ten times slower than the instruction. */
#include "hpsae/base/dots.h"

#include "hpsae/base/canonical.h"

static inline void every_dot(int64_t count, int64_t m, int64_t ld, const float *a, const float *rows, float *out)
{
    for (int64_t t = 0; t < count; t++) {
        out[t] = hps_dot(m, a, rows + t * ld);
    }
}

#ifdef __x86_64__
/* flatten: inlined to the last call, so that all of it is compiled for these instructions. */
__attribute__((target("avx2,fma"), flatten)) static void every_dot_fma(int64_t count, int64_t m, int64_t ld,
                                                                       const float *a, const float *rows, float *out)
{
    every_dot(count, m, ld, a, rows, out);
}
#endif

void hps_dots(int64_t count, int64_t m, int64_t ld, const float *a, const float *rows, float *out)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        every_dot_fma(count, m, ld, a, rows, out);
        return;
    }
#endif
    every_dot(count, m, ld, a, rows, out);
}
