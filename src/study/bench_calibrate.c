/* The cost model of `hpsae plan`, fitted to steps of many sizes. */
#include "bench_parts.h"

#include "hpsae/base/build.h"
#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARM = 2, LEAST = 3, MOST = 50, SHRINKS = 40, TURNS = 2 };

/* A variation of the largest case: its sizes divided, or a rule of its own. */
typedef enum { PLAIN, CLIP, AVERAGE, BATCH, NESTED, PREFIXES, DEAD, FEW_GROUPS, MOST_GROUPS } variation;
typedef struct {
    int n, d, k, B;
    variation rule;
} recipe;

static const recipe recipes[] = {
    {1, 1, 1, 1, PLAIN}, {4, 1, 1, 1, PLAIN},      {1, 4, 1, 1, PLAIN},       {1, 1, 4, 1, PLAIN},
    {1, 1, 1, 4, PLAIN}, {16, 1, 1, 1, PLAIN},     {2, 2, 2, 1, PLAIN},       {4, 1, 2, 2, PLAIN},
    {4, 4, 1, 1, PLAIN}, {2, 1, 1, 8, PLAIN},      {1, 4, 4, 2, PLAIN},       {8, 2, 1, 2, PLAIN},
    {2, 1, 8, 2, PLAIN}, {1, 2, 1, 16, PLAIN},     {4, 1, 1, 2, CLIP},        {4, 1, 1, 2, AVERAGE},
    {4, 2, 1, 2, BATCH}, {4, 2, 1, 2, NESTED},     {1, 2, 1, 4, NESTED},      {2, 2, 1, 4, PREFIXES},
    {4, 2, 2, 2, DEAD},  {2, 1, 1, 1, FEW_GROUPS}, {4, 2, 2, 2, MOST_GROUPS}, /* on one rank there are none */
};
enum { RECIPES = sizeof(recipes) / sizeof(recipes[0]), OF_GROUPS = 2 };

static int recipes_on(int ranks)
{
    return ranks > 1 ? RECIPES : RECIPES - OF_GROUPS;
}

/* Other numbers of data groups than the configuration's: the fewest that there may be, and one for each rank. */
static int64_t groups_of(const recipe *r, int64_t configured, int ranks)
{
    int64_t fewest = 2;

    while (fewest < ranks && ranks % fewest != 0) {
        fewest++;
    }
    fewest = configured > 1 ? 1 : fewest;
    return r->rule == FEW_GROUPS ? fewest : r->rule == MOST_GROUPS ? ranks : configured;
}

static int64_t part(int64_t whole, int of, int64_t least)
{
    return whole / of > least ? whole / of : least;
}

/* Sizes of a recipe; the configuration beside them is plain but for what the recipe adds. */
static void set_case(const recipe *r, const hps_bench_size *largest, hps_config *config, hps_bench_size *size)
{
    int ranks;

    MPI_Comm_size(largest->comm, &ranks);
    *size = *largest;
    size->config = config;
    size->from_store = false;
    size->n = part(largest->n, r->n, 32 * ranks);
    size->d = part(largest->d, r->d, 8);
    size->k = part(largest->k, r->k, 1);
    size->k = size->k < size->n / 4 ? size->k : size->n / 4;
    size->B = part(largest->B, r->B, 16);
    size->groups = groups_of(r, largest->groups, ranks);
    size->B = (size->B + size->groups - 1) / size->groups * size->groups;
    config->train.objective = r->rule == NESTED     ? HPS_OBJECTIVE_HIERARCHICAL
                              : r->rule == PREFIXES ? HPS_OBJECTIVE_MATRYOSHKA
                                                    : HPS_OBJECTIVE_PLAIN;
    config->train.hierarchical.levels.count = config->train.matryoshka.prefixes.count = 0;
    config->train.matryoshka.random = 0;
    config->model.select = r->rule == BATCH ? HPS_SELECT_BATCH_TOPK : HPS_SELECT_TOPK;
    config->train.k_start = HPS_AUTO_INT;
    config->train.k_steps = 0;
    config->train.clip = r->rule == CLIP ? 1 : 0;
    config->train.ema = r->rule == AVERAGE ? 0.99 : 0;
    config->train.aux.k = r->rule == DEAD ? part(size->n, 8, 1) < 256 ? part(size->n, 8, 1) : 256 : 0;
    config->train.aux.dead_tokens = r->rule == DEAD ? size->B : INT64_MAX / 2;
}

/* About what the cases take together, by the limits: half of them are reached at best. */
static double expected(const hps_bench_size *largest, const hps_bench_limits *limits)
{
    const double steps = TURNS * (WARM + LEAST) * RECIPES;
    const double n = (double)largest->n, d = (double)largest->d, k = (double)largest->k, B = (double)largest->B;
    const double step = 2 * n * d * B / limits->of[HPS_LIMIT_SCREEN].sum +
                        48 * n * d / limits->of[HPS_LIMIT_MEMORY].sum +
                        12 * k * d * B / limits->of[HPS_LIMIT_FLOAT].sum;

    return step * steps;
}

/* The largest case: as configured, made smaller until all fit into the seconds. */
static hps_bench_size fit_size(const hps_bench_size *configured, const hps_bench_limits *limits, double seconds)
{
    hps_bench_size size = *configured;

    for (int i = 0; i < SHRINKS && expected(&size, limits) > seconds; i++) {
        if (size.n > 4096 && size.n > 2 * size.B) {
            size.n /= 2;
        } else if (size.B > 256) {
            size.B /= 2;
        } else if (size.d > 256) {
            size.d /= 2;
        }
        size.k = size.k < size.n / 4 ? size.k : size.n / 4;
    }
    HPS_MPI(MPI_Bcast(&size.n, 1, MPI_INT64_T, 0, size.comm));
    HPS_MPI(MPI_Bcast(&size.d, 1, MPI_INT64_T, 0, size.comm));
    HPS_MPI(MPI_Bcast(&size.k, 1, MPI_INT64_T, 0, size.comm));
    HPS_MPI(MPI_Bcast(&size.B, 1, MPI_INT64_T, 0, size.comm));
    return size;
}

/* Steps of one case: the mean over the ranks of their medians. */
static hps_status measure(MPI_Comm world, const hps_bench_size *size, double seconds, hps_cost_measurement *to)
{
    const hps_bench_plan plan = {WARM, LEAST, MOST, seconds};
    hps_bench_seconds median = {.step = 0};
    hps_bench_case c;
    int64_t steps;
    int ranks;

    HPS_MPI(MPI_Comm_size(world, &ranks));
    hps_status status = hps_agree(world, hps_bench_case_open(size, &c));
    if (status == HPS_OK) {
        status = hps_bench_run(world, &c, &plan, &median, &steps);
    }
    if (status == HPS_OK) {
        to->size = hps_bench_case_cost(&c);
        HPS_MPI(MPI_Allreduce(median.phase, to->seconds, HPS_PHASES, MPI_DOUBLE, MPI_SUM, world));
        for (int p = 0; p < HPS_PHASES; p++) {
            to->seconds[p] /= ranks;
        }
        to->seconds[HPS_PHASE_IO] = 0; /* random rows were not read */
    }
    hps_bench_case_close(&c);
    return status;
}

static double sum_of(const double seconds[HPS_PHASES])
{
    double sum = 0;

    for (int p = 1; p < HPS_PHASES; p++) {
        sum += seconds[p];
    }
    return sum;
}

/* One turn over all cases: of each the quicker of its turns counts. */
static hps_status take_turn(MPI_Comm world, const hps_bench_size *largest, double seconds, bool first,
                            hps_calibration *c)
{
    hps_config config = *largest->config;
    const double begin = hps_elapsed();
    int ranks;

    HPS_MPI(MPI_Comm_size(world, &ranks));
    const int cases = recipes_on(ranks);
    for (int i = 0; i < cases; i++) {
        hps_bench_size size;
        hps_cost_measurement now;
        double left = (seconds - (hps_elapsed() - begin)) / (cases - i);
        HPS_MPI(MPI_Bcast(&left, 1, MPI_DOUBLE, 0, world));
        set_case(&recipes[i], largest, &config, &size);
        HPS_TRY(measure(world, &size, 0.6 * left, &now));
        if (first || sum_of(now.seconds) < sum_of(c->measured[i].seconds)) {
            c->measured[i] = now;
        }
        hps_log("bench", "case %d of %d: n %lld d %lld k %lld B %lld: %.3f ms a step", i + 1, cases, (long long)size.n,
                (long long)size.d, (long long)size.k, (long long)size.B, 1e3 * sum_of(now.seconds));
    }
    c->count = cases;
    return HPS_OK;
}

/* In turns, so that what disturbs the machine for a while does not count. */
static hps_status measure_all(MPI_Comm world, const hps_bench_size *largest, double seconds, hps_calibration *c)
{
    for (int turn = 0; turn < TURNS; turn++) {
        HPS_TRY(take_turn(world, largest, seconds / TURNS, turn == 0, c));
    }
    return HPS_OK;
}

static void set_text(char to[HPS_COST_TEXT], const char *text)
{
    snprintf(to, HPS_COST_TEXT, "%.*s", HPS_COST_TEXT - 1, text);
}

/* Who was measured. */
static void set_head(MPI_Comm world, const hps_bench_size *size, const hps_bench_limits *limits, hps_calibration *c)
{
    hps_fact facts[HPS_BUILD_FACTS];
    char host[256] = "";
    MPI_Comm node;

    hps_build_facts(facts);
    for (int i = 0; i < HPS_BUILD_FACTS; i++) {
        if (strcmp(facts[i].name, "cpu") == 0) {
            set_text(c->cpu, facts[i].text);
        }
    }
    gethostname(host, sizeof(host) - 1);
    set_text(c->host, host);
    set_text(c->backend, size->kernels->name);
    c->assumed = false;
    c->network_assumed = true;
    c->threads = (int)size->config->grid.threads;
    HPS_MPI(MPI_Comm_size(world, &c->ranks));
    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    HPS_MPI(MPI_Comm_size(node, &c->ranks_per_node));
    HPS_MPI(MPI_Comm_free(&node));
    c->libraries = limits->libraries;
    c->limits = (hps_cost_limits){.latency = 0};
    hps_bench_limits_cost(limits, c->threads, &c->limits);
}

static hps_status write_file(const char *path, const hps_calibration *c)
{
    json_t *root = hps_calibration_json(c);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
    const hps_status status =
        text == NULL ? hps_fail(HPS_ENOMEM, "no memory for %s", path) : hps_file_replace(path, text, strlen(text));

    free(text);
    json_decref(root);
    return status;
}

/* How far the fit is from what it was fitted to: the median and the largest relative error of a step. */
static void judge(const hps_calibration *c, const char *path, json_t *out)
{
    double error[RECIPES], seconds[HPS_PHASES], most = 0;

    for (int64_t m = 0; m < c->count; m++) {
        hps_cost_predict(c, &c->measured[m].size, seconds);
        error[m] = fabs(sum_of(seconds) / sum_of(c->measured[m].seconds) - 1);
        most = fmax(most, error[m]);
    }
    const double median = hps_bench_median(c->count, error);
    hps_log("bench", "wrote %s: %lld cases, the cost model misses the median one by %.1f %%, the worst by %.1f %%",
            path, (long long)c->count, 100 * median, 100 * most);
    json_object_set_new(out, "calibration",
                        json_pack("{s:s,s:I,s:o,s:o}", "file", path, "cases", (json_int_t)c->count, "median_error",
                                  hps_json_real(median), "largest_error", hps_json_real(most)));
}

hps_status hps_bench_calibrate(MPI_Comm world, const hps_bench_size *size, const hps_bench_limits *limits,
                               double seconds, const char *path, json_t *out)
{
    const hps_bench_size largest = fit_size(size, limits, seconds);
    hps_calibration c;
    int rank;

    hps_calibration_builtin(&c);
    HPS_MPI(MPI_Comm_rank(world, &rank));
    set_head(world, size, limits, &c);
    hps_status status = hps_agree(world, HPS_ALLOC(&c.measured, RECIPES, "measured cases"));
    c.count = 0;
    if (status == HPS_OK) {
        status = measure_all(world, &largest, seconds, &c);
    }
    if (status == HPS_OK) {
        status = hps_agree(world, hps_cost_fit(&c));
    }
    if (status == HPS_OK) {
        status = hps_share_status(world, rank == 0 ? write_file(path, &c) : HPS_OK);
    }
    if (status == HPS_OK) {
        judge(&c, path, out);
    }
    hps_calibration_release(&c);
    return status;
}
