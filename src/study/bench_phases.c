/* The step's phases beside the limits that govern them. */
#include "bench_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"

#include <math.h>
#include <stdio.h>

enum { WARM = 3, LEAST = 5, MOST = 500 };

/* What a phase does on this rank, each in the unit of a limit; 0: none of it.  `touched` is what its arrays are long,
 * each use counted: what intensity is taken over. */
typedef struct {
    double of[HPS_LIMITS], touched;
} work;

/* What a rank brings of a phase: the median, and the seconds that the limit would allow. */
typedef struct {
    double seconds, allowed;
    int limit; /* that allows them; HPS_LIMITS: none governs */
} share;

static const char *const limit_words[HPS_LIMITS + 1] = {"screen",    "float32", "memory", "latency",
                                                        "allreduce", "merge",   "read",   "none"};
static const char *const unit_words[HPS_LIMITS + 1] = {"flop", "flop", "byte", "message",
                                                       "byte", "pair", "byte", "none"};

/* Operations of a slot and column: decode and dz, and of a nested objective the sweep back (4, or 2 and 6). */
static double decode_flops(const hps_cost_case *s)
{
    return s->nested ? 8 : 4;
}

/* Design count: encode 2 n d B; decode and dz 4 k d B; gradients 4 k d B; Adam three arrays read and written. */
static work work_of(const hps_bench_case *c, const hps_cost_case *s, hps_phase phase)
{
    const hps_shard *shard = &c->model->shard;
    const double B = (double)s->B / s->R, k = (double)s->k, d = (double)s->d, w = (double)shard->w;
    const double own = (double)shard->own, parameters = (double)s->n * w + own * d, real = sizeof(float);
    const double slots = c->report.l0 > 0 ? c->report.l0 * B : k * B, mine = own / (double)s->n * slots;
    work x = {{0}, 0};

    switch (phase) {
    case HPS_PHASE_IO:
        x.of[HPS_LIMIT_READ] = c->feed != NULL ? B * d * s->word_bytes / s->P : 0;
        x.of[HPS_LIMIT_MEMORY] = c->feed != NULL ? 0 : 2 * B * d * real;
        x.touched = 2 * B * d * real;
        break;
    case HPS_PHASE_ENCODE:
        x.of[HPS_LIMIT_SCREEN] = 2 * own * d * B;
        x.touched = (own + B) * d * real;
        break;
    case HPS_PHASE_SELECT:
        x.of[HPS_LIMIT_MERGE] = s->P > 1 ? B * k : 0;
        x.of[HPS_LIMIT_MEMORY] = 2 * B * d * real;
        x.touched = 2 * B * d * real + 2 * B * k * 8;
        break;
    case HPS_PHASE_DECODE:
        x.of[HPS_LIMIT_FLOAT] = decode_flops(s) * slots * w;
        x.touched = (slots + 2 * B) * w * real;
        break;
    case HPS_PHASE_AUX:
        if (c->report.dead > 0 && s->aux_k > 0) {
            const double found = fmin((double)s->aux_k, (double)c->report.dead);
            x.of[HPS_LIMIT_SCREEN] = 2 * (double)c->report.dead / s->P * d * B;
            x.of[HPS_LIMIT_FLOAT] = 4 * found * B * w;
            x.touched = (found + 2) * B * w * real;
        }
        break;
    case HPS_PHASE_UPDATE:
        x.of[HPS_LIMIT_FLOAT] = (s->clip ? 2 : 1) * ((s->nested ? 6 : 2) * slots * w + 2 * mine * d);
        x.of[HPS_LIMIT_MEMORY] = 6 * parameters * real + (s->average ? 3 * parameters * real : 0);
        x.touched = x.of[HPS_LIMIT_MEMORY] + (slots * w + mine * d) * real;
        break;
    default:
        x.of[HPS_LIMIT_ALLREDUCE] = s->P > 1 ? 8 * (slots + (double)s->n + d + 1) : 0;
        x.of[HPS_LIMIT_ALLREDUCE] += s->R > 1 ? parameters * real : 0;
        x.touched = 8 * (slots + (double)s->n + d + 1);
    }
    return x;
}

/* The limit that takes longest. */
static share share_of(const work *x, const hps_bench_limits *limits, double seconds)
{
    share s = {seconds, 0, HPS_LIMITS};

    for (int l = 0; l < HPS_LIMITS; l++) {
        const double allowed = x->of[l] > 0 ? x->of[l] / limits->of[l].mine : 0;
        if (allowed > s.allowed) {
            s.allowed = allowed;
            s.limit = l;
        }
    }
    return s;
}

/* A row of the table: the slowest rank's share and work, and the mean of the ranks' seconds. */
typedef struct {
    share slowest;
    int rank;
    double mean, done, touched, flops;
    double limit_rate;
} row;

static row row_of(MPI_Comm world, const work *x, const hps_bench_limits *limits, const share *mine)
{
    struct {
        double value;
        int rank;
    } here = {mine->seconds, 0}, most;
    row r = {.slowest = *mine, .touched = x->touched, .flops = x->of[HPS_LIMIT_SCREEN] + x->of[HPS_LIMIT_FLOAT]};
    int size;

    MPI_Comm_rank(world, &here.rank);
    MPI_Comm_size(world, &size);
    HPS_MPI(MPI_Allreduce(&here, &most, 1, MPI_DOUBLE_INT, MPI_MAXLOC, world));
    HPS_MPI(MPI_Allreduce(&mine->seconds, &r.mean, 1, MPI_DOUBLE, MPI_SUM, world));
    r.mean /= size;
    r.done = mine->limit < HPS_LIMITS ? x->of[mine->limit] : 0;
    r.limit_rate = mine->limit < HPS_LIMITS ? limits->of[mine->limit].mine : 0;
    HPS_MPI(MPI_Bcast(&r, sizeof(r), MPI_BYTE, most.rank, world));
    r.rank = most.rank;
    return r;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static json_t *row_json(const char *name, const row *r, double step)
{
    const bool governed = r->slowest.limit < HPS_LIMITS;
    const double rate = ratio(r->done, r->slowest.seconds);

    return json_pack("{s:s,s:o,s:o,s:i,s:o,s:o,s:o,s:o,s:s,s:s,s:o,s:o,s:o,s:o}", "name", name, "seconds",
                     hps_json_real(r->slowest.seconds), "mean_seconds", hps_json_real(r->mean), "slowest_rank", r->rank,
                     "share", hps_json_real(ratio(r->mean, step)), "flops", hps_json_real(r->flops), "bytes_touched",
                     hps_json_real(r->touched), "work", hps_json_real(r->done), "unit", unit_words[r->slowest.limit],
                     "limit", limit_words[r->slowest.limit], "rate", governed ? hps_json_real(rate) : json_null(),
                     "limit_rate", governed ? hps_json_real(r->limit_rate) : json_null(), "limit_seconds",
                     hps_json_real(r->slowest.allowed), "reached",
                     governed ? hps_json_real(ratio(r->slowest.allowed, r->slowest.seconds)) : json_null());
}

static void row_log(const char *name, const row *r, double step)
{
    const double rate = ratio(r->done, r->slowest.seconds);
    char reached[64] = "";

    if (r->slowest.limit < HPS_LIMITS && r->slowest.seconds > 0) {
        snprintf(reached, sizeof(reached), "%10.4g G%s/s  %-9s %5.1f %%", rate * 1e-9, unit_words[r->slowest.limit],
                 limit_words[r->slowest.limit], 100 * r->slowest.allowed / r->slowest.seconds);
    }
    hps_log("bench", "  %-14s %9.3f ms %5.1f %%  rank %-4d %s", name, 1e3 * r->slowest.seconds,
            100 * ratio(r->mean, step), r->rank, reached);
}

/* What the phases leave of the step, and how the whole stands. */
static json_t *step_json(const row *step, double messages, int64_t steps, int64_t B)
{
    return json_pack("{s:o,s:o,s:i,s:I,s:o,s:o,s:o,s:o}", "seconds", hps_json_real(step->slowest.seconds),
                     "mean_seconds", hps_json_real(step->mean), "slowest_rank", step->rank, "steps", (json_int_t)steps,
                     "tokens_per_s", hps_json_real(ratio((double)B, step->slowest.seconds)), "limit_seconds",
                     hps_json_real(step->slowest.allowed), "reached",
                     hps_json_real(ratio(step->slowest.allowed, step->slowest.seconds)), "communication_share",
                     hps_json_real(ratio(messages, step->mean)));
}

static void step_log(const row *step, double messages, int64_t steps, int64_t B)
{
    hps_log("bench", "  %-14s %9.3f ms          rank %-4d %.0f tokens/s, median of %lld steps", "step",
            1e3 * step->slowest.seconds, step->rank, ratio((double)B, step->slowest.seconds), (long long)steps);
    hps_log("bench", "  the phases' limits allow %.3f ms: %.1f %% of them reached; communication %.1f %% of the step",
            1e3 * step->slowest.allowed, 100 * ratio(step->slowest.allowed, step->slowest.seconds),
            100 * ratio(messages, step->mean));
}

void hps_bench_phases(MPI_Comm world, const hps_bench_case *c, const hps_bench_limits *limits,
                      const hps_bench_run_result *run, double mean[HPS_PHASES], json_t *out)
{
    const hps_bench_seconds *median = &run->median;
    const int64_t steps = run->steps;
    const hps_cost_case size = hps_bench_case_cost(c);
    share whole = {median->step, 0, HPS_LIMITS};
    row rows[HPS_PHASES];
    json_t *phases = json_array();

    for (int p = 0; p < HPS_PHASES; p++) {
        const work x = work_of(c, &size, (hps_phase)p);
        const share mine = share_of(&x, limits, median->phase[p]);
        whole.allowed += mine.allowed;
        rows[p] = row_of(world, &x, limits, &mine);
        mean[p] = rows[p].mean;
    }
    const row step = row_of(world, &(work){{0}, 0}, limits, &whole);
    const double messages = size.P * size.R > 1 ? rows[HPS_PHASE_SELECT].mean + rows[HPS_PHASE_COMM].mean : 0;
    hps_log("bench", "  %-14s %12s %7s  %-9s %s", "phase", "slowest rank", "share", "", "rate, limit, share of it");
    for (int p = 0; p < HPS_PHASES; p++) {
        row_log(hps_phase_name((hps_phase)p), &rows[p], step.mean);
        json_array_append_new(phases, row_json(hps_phase_name((hps_phase)p), &rows[p], step.mean));
    }
    step_log(&step, messages, steps, c->size.B);
    json_object_set_new(out, "phases", phases);
    json_object_set_new(out, "step", step_json(&step, messages, steps, c->size.B));
}

hps_status hps_bench_steps(MPI_Comm world, hps_bench_case *c, double seconds, hps_bench_run_result *run)
{
    const hps_bench_plan plan = {WARM, LEAST, MOST, seconds};

    return hps_bench_run(world, c, &plan, &run->median, &run->steps);
}
