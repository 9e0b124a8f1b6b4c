/* The limits in words, as JSON, and as the cost model takes them. */
#include "bench_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/report.h"

#include <math.h>

static const struct {
    const char *name, *what, *unit;
    double scale;
} shown[HPS_LIMITS] = {
    [HPS_LIMIT_SCREEN] = {"screen_flops", "screening product", "GFLOP/s", 1e-9},
    [HPS_LIMIT_FLOAT] = {"float32_flops", "float32 multiply-adds", "GFLOP/s", 1e-9},
    [HPS_LIMIT_MEMORY] = {"memory_bytes", "memory, triad", "GB/s", 1e-9},
    [HPS_LIMIT_LATENCY] = {"latency_seconds", "allreduce of one number", "us", 1e6},
    [HPS_LIMIT_ALLREDUCE] = {"allreduce_bytes", "allreduce of 8 MiB", "GB/s", 1e-9},
    [HPS_LIMIT_MERGE] = {"merge_pairs", "merging candidates", "M/s", 1e-6},
    [HPS_LIMIT_READ] = {"read_bytes", "reading the store", "MB/s", 1e-6},
};

void hps_bench_limits_log(const hps_bench_limits *limits, int ranks)
{
    hps_log("bench", "limits of this machine, %d ranks at once: a rank, the slowest", ranks);
    for (int l = 0; l < HPS_LIMITS; l++) {
        const hps_bench_figure *f = &limits->of[l];
        if (!isnan(f->mine)) {
            hps_log("bench", "  %-24s %10.4g %-8s %10.4g (rank %d)", shown[l].what, f->mean * shown[l].scale,
                    shown[l].unit, f->least * shown[l].scale, f->slowest);
        }
    }
}

json_t *hps_bench_limits_json(const hps_bench_limits *limits)
{
    json_t *all = json_object();

    for (int l = 0; l < HPS_LIMITS; l++) {
        const hps_bench_figure *f = &limits->of[l];
        json_object_set_new(all, shown[l].name,
                            isnan(f->mine) ? json_null()
                                           : json_pack("{s:o,s:o,s:i}", "mean", hps_json_real(f->mean), "slowest",
                                                       hps_json_real(f->least), "slowest_rank", f->slowest));
    }
    return all;
}

void hps_bench_limits_cost(const hps_bench_limits *limits, int threads, hps_cost_limits *cost)
{
    double *const to[HPS_LIMITS] = {
        [HPS_LIMIT_SCREEN] = &cost->screen_flops,       [HPS_LIMIT_FLOAT] = &cost->float32_flops,
        [HPS_LIMIT_MEMORY] = &cost->memory_bytes,       [HPS_LIMIT_LATENCY] = &cost->latency,
        [HPS_LIMIT_ALLREDUCE] = &cost->allreduce_bytes, [HPS_LIMIT_MERGE] = &cost->merge_pairs,
        [HPS_LIMIT_READ] = &cost->read_bytes,
    };

    for (int l = 0; l < HPS_LIMITS; l++) {
        const double mean = limits->of[l].mean;
        if (!isnan(mean)) {
            *to[l] = l == HPS_LIMIT_SCREEN || l == HPS_LIMIT_FLOAT ? mean / threads : mean;
        }
    }
}
