/*
 * Contenders that take turns: backends, or one job and independent copies.  Each turn starts from the same parameters and
 * takes the same steps, so that all end at one checksum.
 */
#include "bench_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const double PROGRESS_SECONDS = 5;
enum { WARM = 2, TIMED = 3, TURNS_MAX = 15, CONTENDERS = HPS_KERNELS_MAX };

typedef struct {
    const char *name, *isa;
    hps_bench_size size;
    bool left_out;
    bool differs;            /* by its groups: its bits are compared with its own alone */
    double expected;         /* seconds of a turn, by a small batch or by the last turn */
    double times[TURNS_MAX]; /* median of each turn, the slowest rank's */
    int turns;
    double median;
    uint64_t checksum;
} contender;

static bool same_on_all(MPI_Comm world, uint64_t value)
{
    uint64_t both[2] = {value, ~value};

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, both, 2, MPI_UINT64_T, MPI_MIN, world));
    return both[0] == ~both[1];
}

static hps_status check_sum(MPI_Comm world, contender *x, uint64_t sum, const contender *first)
{
    const contender *other = x->differs ? x : first;
    const uint64_t wanted = other->turns > 0 ? other->checksum : sum;

    if (!same_on_all(world, sum) || sum != wanted) {
        return hps_fail(HPS_EINTERNAL,
                        "%s (%s) ends at checksum %016" PRIx64 ", %s (%s) at %016" PRIx64
                        ": the bits of a step should not depend on it; report this with the output of hpsae info",
                        x->name, x->isa, sum, other->name, other->isa, wanted);
    }
    x->checksum = sum;
    return HPS_OK;
}

/* WARM and TIMED steps of a fresh case. */
static hps_status steps_of(MPI_Comm world, hps_bench_case *c, double *seconds, uint64_t *checksum)
{
    const hps_bench_plan plan = {.warm = WARM, .least = TIMED, .most = TIMED};
    hps_bench_seconds median;
    int64_t steps;

    HPS_TRY(hps_bench_run(world, c, &plan, &median, &steps));
    *seconds = median.step;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, world));
    *checksum = hps_model_checksum(c->grid.model, c->model).values;
    return HPS_OK;
}

static hps_status take_turn(MPI_Comm world, contender *x, const contender *first)
{
    const double begin = hps_elapsed();
    hps_bench_case c;
    uint64_t checksum = 0;
    double seconds = 0;

    hps_status status = hps_agree(world, hps_bench_case_open(&x->size, &c));
    if (status == HPS_OK) {
        status = steps_of(world, &c, &seconds, &checksum);
    }
    hps_bench_case_close(&c);
    HPS_TRY(status);
    HPS_TRY(check_sum(world, x, checksum, first));
    x->times[x->turns++] = seconds;
    x->expected = hps_elapsed() - begin;
    HPS_MPI(MPI_Bcast(&x->expected, 1, MPI_DOUBLE, 0, world));
    return HPS_OK;
}

/* Seconds that a turn may take, by a step on a small batch: what grows with the batch is scaled, the rest is as it is. */
static hps_status expect(MPI_Comm world, contender *x)
{
    hps_bench_size probe = x->size;
    hps_bench_case c;
    hps_bench_seconds s = {.step = 0};

    probe.B = x->size.B / 64 > 16 ? x->size.B / 64 : x->size.B < 16 ? x->size.B : 16;
    probe.B -= probe.B % probe.groups;
    probe.B = probe.B > 0 ? probe.B : probe.groups;
    hps_status status = hps_agree(world, hps_bench_case_open(&probe, &c));
    if (status == HPS_OK) {
        status = hps_agree(world, hps_bench_case_step(&c, &s));
    }
    hps_bench_case_close(&c);
    HPS_TRY(status);
    const double more = (double)x->size.B / (double)probe.B,
                 grows = s.phase[HPS_PHASE_ENCODE] + s.phase[HPS_PHASE_DECODE];
    x->expected = (WARM + TIMED) * (s.step + (more - 1) * grows);
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &x->expected, 1, MPI_DOUBLE, MPI_MAX, world));
    return HPS_OK;
}

/* Backends whose turn alone would take the time of all are left out, and named. */
static hps_status choose(MPI_Comm world, int count, contender *x, double seconds)
{
    int left = count;

    for (int i = 0; i < count; i++) {
        HPS_TRY(expect(world, &x[i]));
        if (x[i].expected > seconds && left > 1) {
            x[i].left_out = true;
            left--;
            hps_log("bench",
                    "%s (%s) is left out: about %.0f s for %d steps; --seconds %.0f or smaller sizes include it",
                    x[i].name, x[i].isa, x[i].expected, WARM + TIMED, ceil(2 * x[i].expected));
        }
    }
    return HPS_OK;
}

static contender *first_of(int count, contender *x)
{
    int i = 0;

    while (i + 1 < count && x[i].left_out) {
        i++;
    }
    return &x[i];
}

/* Turn about until the seconds are used up; everyone has one turn at least. */
static hps_status alternate(MPI_Comm world, int count, contender *x, double seconds)
{
    const contender *first = first_of(count, x);
    const double begin = hps_elapsed();
    double round = 0, spent = 0, spoke = begin;

    for (int turn = 0; turn < TURNS_MAX && (turn == 0 || spent + round <= seconds); turn++) {
        round = 0;
        for (int i = 0; i < count; i++) {
            if (!x[i].left_out) {
                HPS_TRY(take_turn(world, &x[i], first));
                round += x[i].expected;
            }
            if (hps_elapsed() - spoke >= PROGRESS_SECONDS && !x[i].left_out) {
                spoke = hps_elapsed();
                hps_log("bench", "turn %d, %s (%s): %.3f ms a step", turn + 1, x[i].name, x[i].isa,
                        1e3 * x[i].times[turn]);
            }
        }
        spent = hps_elapsed() - begin;
        HPS_MPI(MPI_Bcast(&spent, 1, MPI_DOUBLE, 0, world));
    }
    for (int i = 0; i < count; i++) {
        x[i].median = hps_bench_median(x[i].turns, x[i].times);
    }
    return HPS_OK;
}

static json_t *contender_json(const contender *x, const contender *first)
{
    char hex[17];

    if (x->left_out) {
        return json_pack("{s:s,s:s,s:b,s:o}", "name", x->name, "isa", x->isa, "left_out", 1, "expected_seconds",
                         hps_json_real(x->expected));
    }
    snprintf(hex, sizeof(hex), "%016" PRIx64, x->checksum);
    return json_pack("{s:s,s:s,s:b,s:o,s:i,s:o,s:o,s:s}", "name", x->name, "isa", x->isa, "left_out", 0, "step_seconds",
                     hps_json_real(x->median), "turns", x->turns, "tokens_per_s",
                     hps_json_real((double)x->size.B / x->median), "times_as_fast",
                     hps_json_real(first->median / x->median), "checksum", hex);
}

/* The backends of this CPU; HPS_EARG when not all ranks have the same. */
static hps_status backends(MPI_Comm world, const hps_bench_size *size, contender x[CONTENDERS], int *count)
{
    const hps_kernels *all[HPS_KERNELS_MAX];

    *count = hps_kernels_all(all);
    if (!same_on_all(world, (uint64_t)*count)) {
        return hps_fail(HPS_EARG,
                        "the ranks run on CPUs of different kinds, whose backends cannot take turns: compare on "
                        "nodes of one kind");
    }
    for (int i = 0; i < *count; i++) {
        x[i] = (contender){.name = all[i]->name, .isa = all[i]->isa, .size = *size};
        x[i].size.kernels = all[i];
    }
    return HPS_OK;
}

hps_status hps_bench_compare(MPI_Comm world, const hps_bench_size *size, double seconds, json_t *out)
{
    contender x[CONTENDERS];
    int count;

    HPS_TRY(backends(world, size, x, &count));
    HPS_TRY(choose(world, count, x, seconds));
    HPS_TRY(alternate(world, count, x, seconds));
    const contender *first = first_of(count, x);
    json_t *list = json_array();
    hps_log("bench", "backends, medians of %d turns, each %d steps after %d; all end at checksum %016" PRIx64,
            first->turns, TIMED, WARM, first->checksum);
    for (int i = 0; i < count; i++) {
        if (!x[i].left_out) {
            hps_log("bench", "  %-10s %-10s %10.3f ms %10.0f tokens/s %8.2f times %s (%s)", x[i].name, x[i].isa,
                    1e3 * x[i].median, (double)size->B / x[i].median, first->median / x[i].median, first->name,
                    first->isa);
        }
        json_array_append_new(list, contender_json(&x[i], first));
    }
    json_object_set_new(out, "compare", list);
    return HPS_OK;
}

hps_status hps_bench_copies(MPI_Comm world, const hps_bench_size *size, double seconds, json_t *out)
{
    contender x[2] = {{.name = "together", .isa = size->kernels->isa, .size = *size},
                      {.name = "copies", .isa = size->kernels->isa, .size = *size}};
    int ranks;

    MPI_Comm_size(world, &ranks);
    x[1].size.comm = MPI_COMM_SELF;
    x[1].size.groups = 1;
    x[1].differs = size->groups > 1;
    HPS_TRY(alternate(world, 2, x, seconds));
    const double together = (double)size->B / x[0].median, copies = ranks * (double)size->B / x[1].median;
    hps_log("bench", "%d ranks together: %.0f tokens/s; %d independent copies of the whole problem: %.0f tokens/s",
            ranks, together, ranks, copies);
    hps_log("bench",
            "  together they reach %.1f %% of the copies; they end at checksums %016" PRIx64 " and %016" PRIx64,
            100 * together / copies, x[0].checksum, x[1].checksum);
    json_object_set_new(out, "copies",
                        json_pack("{s:o,s:o,s:o,s:o}", "together", contender_json(&x[0], &x[0]), "copies",
                                  contender_json(&x[1], &x[0]), "copies_tokens_per_s", hps_json_real(copies),
                                  "efficiency", hps_json_real(together / copies)));
    return HPS_OK;
}
