/* Repetitions, and their medians. */
#include "bench_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"

#include <stdlib.h>

static const double PROGRESS_SECONDS = 5;

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double hps_bench_median(int64_t count, double *values)
{
    if (count == 0) {
        return 0;
    }
    qsort(values, (size_t)count, sizeof(*values), by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

hps_status hps_bench_medians(int64_t steps, const hps_bench_seconds *each, hps_bench_seconds *median)
{
    double *values = NULL;

    HPS_TRY(HPS_ALLOC(&values, steps, "times of steps"));
    for (int p = 0; p <= HPS_PHASES; p++) {
        for (int64_t i = 0; i < steps; i++) {
            values[i] = p < HPS_PHASES ? each[i].phase[p] : each[i].step;
        }
        *(p < HPS_PHASES ? &median->phase[p] : &median->step) = hps_bench_median(steps, values);
    }
    HPS_FREE(&values);
    return HPS_OK;
}

/* How many steps fill the seconds, as the slowest rank's last step goes. */
static int64_t steps_to_do(MPI_Comm world, const hps_bench_plan *plan, double last)
{
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &last, 1, MPI_DOUBLE, MPI_MAX, world));
    const double steps = last > 0 ? plan->seconds / last : plan->most;
    return steps < plan->least ? plan->least : steps > plan->most ? plan->most : (int64_t)steps;
}

/* Rank-local trouble of independent copies reaches the others here. */
static hps_status one_step(MPI_Comm world, hps_bench_case *c, hps_bench_seconds *seconds)
{
    HPS_MPI(MPI_Barrier(world));
    const hps_status status = hps_bench_case_step(c, seconds);
    return hps_agree(world, status);
}

static hps_status timed(MPI_Comm world, hps_bench_case *c, int64_t steps, hps_bench_seconds *median)
{
    hps_bench_seconds *each = NULL;
    hps_status status = hps_agree(world, HPS_ALLOC(&each, steps, "times of steps"));
    double spoke = hps_elapsed();

    for (int64_t i = 0; status == HPS_OK && i < steps; i++) {
        status = one_step(world, c, &each[i]);
        if (hps_elapsed() - spoke >= PROGRESS_SECONDS) {
            spoke = hps_elapsed();
            hps_log("bench", "step %lld of %lld", (long long)i + 1, (long long)steps);
        }
    }
    if (status == HPS_OK) {
        status = hps_agree(world, hps_bench_medians(steps, each, median));
    }
    HPS_FREE(&each);
    return status;
}

hps_status hps_bench_run(MPI_Comm world, hps_bench_case *c, const hps_bench_plan *plan, hps_bench_seconds *median,
                         int64_t *steps)
{
    hps_bench_seconds last = {.step = 0};

    for (int i = 0; i < plan->warm; i++) {
        HPS_TRY(one_step(world, c, &last));
    }
    *steps = steps_to_do(world, plan, last.step);
    return timed(world, c, *steps, median);
}
