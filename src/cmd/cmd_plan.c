#include "cmd_plan.h"

#include "hpsae/base/build.h"
#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/study/plan.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_NODES = 256,
    OPTION_RANKS,
    OPTION_THREADS,
    OPTION_BENCH,
    OPTION_MEMORY,
    OPTION_DIM,
    OPTION_ROWS,
    OPTION_DTYPE,
    OPTION_DEAD,
    OPTION_LATENCY,
    OPTION_BANDWIDTH,
    OPTION_JSON,
    OPTION_SBATCH,
    OPTION_KEYS
};

static const struct argp_option options[] = {
    {"nodes", OPTION_NODES, "N", 0, "Nodes of the allocation (1)", 0},
    {"ranks-per-node", OPTION_RANKS, "M", 0, "Ranks on each (1)", 0},
    {"threads", OPTION_THREADS, "T", 0, "Threads of a rank (grid.threads, else as the bench file was measured)", 0},
    {"bench", OPTION_BENCH, "FILE", 0, "What 'hpsae bench' measured (train.calibration, else assumed figures)", 0},
    {"memory-per-node", OPTION_MEMORY, "GIB", 0, "Say whether it fits, and what would", 0},
    {"set", 's', "SECTION.KEY=VALUE", 0, "Override a key of the configuration (may be repeated)", 1},
    {"dim", OPTION_DIM, "D", 0, "Columns of the activations, where the store is not at hand", 2},
    {"rows", OPTION_ROWS, "N", 0, "With --dim: their number (as many as are trained on)", 2},
    {"dtype", OPTION_DTYPE, "WORD", 0, "With --dim: float16 (default), bfloat16, float32", 2},
    {"dead", OPTION_DEAD, "SHARE", 0, "Share of the latents that AuxK works on (0.05)", 3},
    {"network-latency", OPTION_LATENCY, "US", 0, "Microseconds of a message between nodes", 3},
    {"network-bandwidth", OPTION_BANDWIDTH, "GBS", 0, "GB/s out of a node", 3},
    {"json", OPTION_JSON, "FILE", 0, "Write the plan as JSON too", 4},
    {"sbatch", OPTION_SBATCH, NULL, 0, "Print a job script for Slurm in place of the plan", 4},
    {"help-config", OPTION_KEYS, NULL, 0, "Print every key of the configuration", 5},
    {"help", 'h', NULL, 0, "Print this help", 5},
    {NULL, '?', NULL, OPTION_ALIAS, NULL, 5},
    {NULL, 0, NULL, 0, NULL, 0},
};

typedef struct {
    hps_plan_request request;
    const char *path, *json, *last;
    const char **overrides; /* [count]; owned */
    int count;
    double latency, bandwidth; /* as given; 0: not */
    bool help, keys, sbatch;
    hps_status status;
} parsing;

static error_t take_number(parsing *p, const char *option, const char *text, double low, double high, double *value)
{
    char *end;

    errno = 0;
    *value = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !(*value >= low) || !(*value <= high)) {
        p->status = hps_fail(HPS_EARG, "%s %.40s: allowed: a number from %g to %g", option, text, low, high);
        return EINVAL;
    }
    return 0;
}

static error_t take_count(parsing *p, const char *option, const char *text, int64_t high, int64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || *value < 1 || *value > high) {
        p->status =
            hps_fail(HPS_EARG, "%s %.40s: allowed: a whole number from 1 to %lld", option, text, (long long)high);
        return EINVAL;
    }
    return 0;
}

static error_t take_int(parsing *p, const char *option, const char *text, int *value)
{
    int64_t count;
    const error_t error = take_count(p, option, text, 1 << 20, &count);

    *value = error == 0 ? (int)count : 0;
    return error;
}

static error_t take_dtype(parsing *p, const char *text)
{
    for (hps_dtype dtype = HPS_F16; dtype <= HPS_F32; dtype++) {
        if (strcmp(text, hps_dtype_name(dtype)) == 0) {
            p->request.dtype = dtype;
            return 0;
        }
    }
    p->status = hps_fail(HPS_EARG, "--dtype %.40s: allowed: float16 | bfloat16 | float32", text);
    return EINVAL;
}

static error_t take_path(parsing *p, const char *text)
{
    if (p->path == NULL) {
        p->path = text;
        return 0;
    }
    p->status = hps_fail(HPS_EARG, "%.200s: one file too many after %.200s; allowed: hpsae plan CONFIG.yaml [options]",
                         text, p->path);
    return EINVAL;
}

static error_t take(int key, char *text, struct argp_state *state)
{
    parsing *p = state->input;
    hps_plan_request *r = &p->request;
    double gib;
    error_t error;

    switch (key) {
    case OPTION_NODES:
        return take_int(p, "--nodes", text, &r->nodes);
    case OPTION_RANKS:
        return take_int(p, "--ranks-per-node", text, &r->ranks_per_node);
    case OPTION_THREADS:
        return take_int(p, "--threads", text, &r->threads);
    case OPTION_BENCH:
        r->bench = text;
        return 0;
    case OPTION_MEMORY:
        error = take_number(p, "--memory-per-node", text, 1e-3, 1e9, &gib);
        r->node_bytes = gib * 1073741824.0;
        return error;
    case 's':
        p->overrides[p->count++] = text;
        return 0;
    case OPTION_DIM:
        return take_count(p, "--dim", text, INT32_MAX - 1, &r->d);
    case OPTION_ROWS:
        return take_count(p, "--rows", text, INT64_MAX / 1024, &r->rows);
    case OPTION_DTYPE:
        return take_dtype(p, text);
    case OPTION_DEAD:
        return take_number(p, "--dead", text, 0, 1, &r->dead);
    case OPTION_LATENCY:
        return take_number(p, "--network-latency", text, 1e-3, 1e6, &p->latency);
    case OPTION_BANDWIDTH:
        return take_number(p, "--network-bandwidth", text, 1e-3, 1e6, &p->bandwidth);
    case OPTION_JSON:
        p->json = text;
        return 0;
    case OPTION_SBATCH:
        p->sbatch = true;
        return 0;
    case OPTION_KEYS:
        p->keys = true;
        return 0;
    case 'h':
    case '?':
        p->help = true;
        return 0;
    case ARGP_KEY_ARG:
        return take_path(p, text);
    case ARGP_KEY_ERROR:
        p->last = state->next > 0 ? state->argv[state->next - 1] : "";
        return ARGP_ERR_UNKNOWN;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    options,
    take,
    "CONFIG.yaml",
    "Say what a training run will take, before it is submitted; needs neither MPI nor, with --dim, the activations.",
    NULL,
    NULL,
    NULL};

static hps_status parse(int argc, char **argv, parsing *p)
{
    const error_t error = argp_parse(&parser, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT, NULL, p);

    if (p->status != HPS_OK) {
        return p->status;
    }
    if (error != 0) {
        return hps_fail(HPS_EARG,
                        "%.200s: unknown option, or its value is missing or not wanted; see 'hpsae plan --help'",
                        p->last);
    }
    if (p->path == NULL && !p->help && !p->keys) {
        return hps_fail(HPS_EARG, "no configuration; usage: hpsae plan CONFIG.yaml --nodes N --ranks-per-node M");
    }
    hps_calibration builtin;
    hps_calibration_builtin(&builtin);
    if (p->latency > 0 || p->bandwidth > 0) {
        p->request.network.latency = p->latency > 0 ? 1e-6 * p->latency : builtin.network.latency;
        p->request.network.bytes = p->bandwidth > 0 ? 1e9 * p->bandwidth : builtin.network.bytes;
    }
    return HPS_OK;
}

static hps_status write_json(const char *path, const hps_plan *plan)
{
    json_t *root = hps_plan_json(plan);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    const hps_status status =
        text != NULL ? hps_file_replace(path, text, strlen(text)) : hps_fail(HPS_ENOMEM, "no memory for %s", path);

    free(text);
    json_decref(root);
    return status;
}

static hps_status plan(parsing *p)
{
    hps_plan made;

    HPS_TRY(hps_config_read(MPI_COMM_NULL, "train", p->path, p->count, p->overrides, &p->request.config));
    HPS_TRY(hps_plan_make(&p->request, &made));
    const hps_plan_command command = {p->path, p->count, p->overrides};
    hps_status status = HPS_OK;
    if (p->sbatch) {
        status = hps_plan_sbatch(stdout, &p->request, &made, &command);
    } else {
        hps_plan_print(stdout, &p->request, &made);
    }
    if (status == HPS_OK && p->json != NULL) {
        status = write_json(p->json, &made);
    }
    hps_plan_release(&made);
    return status;
}

static hps_status run(int argc, char **argv, parsing *p)
{
    HPS_TRY(HPS_ALLOC(&p->overrides, argc, "command line"));
    HPS_TRY(parse(argc, argv, p));
    if (p->help) {
        argp_help(&parser, stdout, ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC, (char[]){"hpsae plan"});
        return HPS_OK;
    }
    if (p->keys) {
        hps_config_help(stdout, "train");
        return HPS_OK;
    }
    return plan(p);
}

int hps_cmd_plan(int argc, char **argv)
{
    parsing p = {.request = {.nodes = 1, .ranks_per_node = 1, .dtype = HPS_F16, .dead = 0.05}, .last = ""};
    hps_status status = run(argc - 1, argv + 1, &p);

    hps_config_destroy(&p.request.config);
    HPS_FREE(&p.overrides);
    if (status == HPS_OK && hps_build_checks() && hps_memory_arrays() != 0) {
        status = hps_fail(HPS_EINTERNAL, "%lld arrays were never freed", (long long)hps_memory_arrays());
    }
    if (status != HPS_OK) {
        fprintf(stderr, "hpsae: error: %s\n", hps_status_message());
    }
    fflush(stdout);
    return hps_status_exit(status);
}
