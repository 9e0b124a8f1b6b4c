#include "bench_parts.h"

#include "hpsae/base/build.h"
#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/model/device.h"
#include "hpsae/model/groups_choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seconds of a part when nothing is said; of them the limits take a share before the steps and as much after. */
static const double STEPS_SECONDS = 20, PART_SECONDS = 60, LIMITS_SHARE = 0.15;

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    const hps_bench_options *options;
    int rank, ranks, ranks_per_node;
    hps_bench_size size;
    hps_bench_limits limits;
    hps_calibration machine; /* with --plan */
    json_t *out;
} bench;

/* The store decides d; without one bench.dim does. */
static hps_status choose_size(bench *b)
{
    const hps_config *c = b->config;
    const bool store = c->data.store.count > 0;

    b->size = (hps_bench_size){.comm = b->world,
                               .config = c,
                               .n = c->model.latents,
                               .d = c->bench.dim,
                               .k = c->model.k,
                               .B = c->train.batch,
                               .groups = c->train.groups,
                               .from_store = store};
    HPS_TRY(hps_device_take(b->world, c->kernels.backend, &b->size.kernels));
    if (!store) {
        return HPS_OK;
    }
    hps_dataset dataset = {.store = NULL};
    const hps_status status = hps_dataset_open(b->world, c, NULL, false, &dataset);
    b->size.d = status == HPS_OK ? dataset.info->d : 0;
    hps_dataset_close(&dataset);
    return status;
}

/* train.groups: auto: as train would choose; a calibration, on which that choice is to rest, is made with one group. */
static hps_status choose_groups(bench *b)
{
    static char known[] = "bench";
    hps_config c = *b->config;
    const hps_store_info rows = {.d = b->size.d, .rows = INT32_MAX, .dtype = HPS_F32};
    const bool gradients = c.model.select == HPS_SELECT_GRADIENT;
    const hps_rank_question run = {&c, b->size.kernels, &rows, gradients, b->limits.libraries};
    hps_groups_choice choice;
    char words[HPS_CHOICE_WORDS];

    if (b->size.groups != HPS_AUTO_INT) {
        return HPS_OK;
    }
    if (b->options->calibrate != NULL) {
        b->size.groups = 1;
        return HPS_OK;
    }
    if (c.data.hook[0] == '\0') {
        c.data.hook = known; /* so that resolving the rest does not allocate one */
    }
    HPS_TRY(hps_agree(b->world, hps_config_resolve(&c, b->size.d, known)));
    HPS_TRY(hps_groups_ask(b->world, &run, &choice));
    b->size.groups = choice.point[choice.chosen].size.R;
    hps_log("bench", "train.groups auto, by %s: %s; chosen: %lld", choice.figures, hps_groups_words(&choice, words),
            (long long)b->size.groups);
    return HPS_OK;
}

static void count_ranks(bench *b)
{
    int64_t resident = hps_memory_resident();
    MPI_Comm node;

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &resident, 1, MPI_INT64_T, MPI_MAX, b->world));
    b->limits.libraries = resident > 0 ? resident : 0;
    HPS_MPI(MPI_Comm_rank(b->world, &b->rank));
    HPS_MPI(MPI_Comm_size(b->world, &b->ranks));
    HPS_MPI(MPI_Comm_split_type(b->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    HPS_MPI(MPI_Comm_size(node, &b->ranks_per_node));
    HPS_MPI(MPI_Comm_free(&node));
}

static const char *cpu_name(hps_fact facts[HPS_BUILD_FACTS])
{
    hps_build_facts(facts);
    for (int i = 0; i < HPS_BUILD_FACTS; i++) {
        if (strcmp(facts[i].name, "cpu") == 0) {
            return facts[i].text;
        }
    }
    return "unknown";
}

/* What ran where: the first keys of the report. */
static void describe(bench *b, const hps_bench_case *c)
{
    hps_fact facts[HPS_BUILD_FACTS];
    char host[256] = "";
    const char *cpu = cpu_name(facts);
    int64_t most = hps_memory_live(); /* of the rank that holds most */

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT64_T, MPI_MAX, b->world));
    gethostname(host, sizeof(host) - 1);
    b->out =
        json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:{s:i,s:i},s:{s:s,s:s}}", "format", "hpsae bench report 1", "version",
                  hps_build_describe(), "cpu", cpu, "host", host, "ranks", b->ranks, "ranks_per_node",
                  b->ranks_per_node, "threads", (int)c->config.grid.threads, "grid", "groups", c->grid.R, "model_ranks",
                  c->grid.P, "kernels", "backend", c->size.kernels->name, "isa", c->size.kernels->isa);
    json_object_set_new(b->out, "case",
                        json_pack("{s:I,s:I,s:I,s:I,s:s,s:s,s:s}", "latents", (json_int_t)c->size.n, "d",
                                  (json_int_t)c->size.d, "k", (json_int_t)c->size.k, "batch", (json_int_t)c->size.B,
                                  "select", hps_config_word("model.select", c->config.model.select), "objective",
                                  hps_config_word("train.objective", c->config.train.objective), "data",
                                  c->feed != NULL ? c->dataset.info->hook : "random"));
    hps_log("bench", "%lld latents, d %lld, k %lld, %lld tokens a step of %s; %d ranks of %d threads, kernels %s",
            (long long)c->size.n, (long long)c->size.d, (long long)c->size.k, (long long)c->size.B,
            c->feed != NULL ? c->dataset.info->hook : "random data", b->ranks, (int)c->config.grid.threads,
            c->size.kernels->name);
    hps_log("bench", "memory a rank: %.1f MiB", (double)most / 1048576);
}

static double seconds_of(const bench *b, double otherwise)
{
    return b->options->seconds > 0 ? b->options->seconds : otherwise;
}

/* Limits, steps, limits again: what disturbs the machine for a while does not disturb both. */
static hps_status measure_steps(bench *b, hps_bench_case *c)
{
    const double seconds = seconds_of(b, STEPS_SECONDS);

    hps_log("bench", "measuring for about %.0f s", seconds);
    HPS_TRY(hps_bench_limits_measure(b->world, c, LIMITS_SHARE * seconds, false, &b->limits));
    if (b->options->calibrate == NULL) {
        hps_bench_run_result run;
        double mean[HPS_PHASES];
        HPS_TRY(hps_bench_steps(b->world, c, (1 - 2 * LIMITS_SHARE) * seconds, &run));
        HPS_TRY(hps_bench_limits_measure(b->world, c, LIMITS_SHARE * seconds, true, &b->limits));
        hps_bench_limits_log(&b->limits, b->ranks);
        hps_bench_phases(b->world, c, &b->limits, &run, mean, b->out);
        if (b->options->plan) {
            const bool even = b->ranks % b->ranks_per_node == 0;
            hps_bench_expected(c, &b->machine, even ? b->ranks / b->ranks_per_node : 1, mean, b->out);
        }
    } else {
        hps_bench_limits_log(&b->limits, b->ranks);
    }
    json_object_set_new(b->out, "limits", hps_bench_limits_json(&b->limits));
    return HPS_OK;
}

static hps_status measure(bench *b, bool dry_run)
{
    hps_bench_case c;
    hps_status status = hps_agree(b->world, hps_bench_case_open(&b->size, &c));

    if (status == HPS_OK) {
        describe(b, &c);
        if (dry_run) {
            hps_log("bench", "dry run: everything fits; nothing was measured");
        } else {
            status = measure_steps(b, &c);
        }
    }
    hps_bench_case_close(&c);
    return status;
}

static hps_status measure_rest(bench *b)
{
    const hps_bench_options *o = b->options;
    const double seconds = seconds_of(b, PART_SECONDS);

    if (o->compare) {
        HPS_TRY(hps_bench_compare(b->world, &b->size, seconds, b->out));
    }
    if (o->copies) {
        HPS_TRY(hps_bench_copies(b->world, &b->size, seconds, b->out));
    }
    if (o->calibrate != NULL) {
        HPS_TRY(hps_bench_calibrate(b->world, &b->size, &b->limits, seconds, o->calibrate, b->out));
    }
    return HPS_OK;
}

/* Rank 0 writes the file and the line on stdout. */
static hps_status publish(const bench *b)
{
    hps_status status = HPS_OK;

    if (b->options->output != NULL) {
        char *text = json_dumps(b->out, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
        status = text == NULL ? hps_fail(HPS_ENOMEM, "no memory for %s", b->options->output)
                              : hps_file_replace(b->options->output, text, strlen(text));
        free(text);
    }
    if (status == HPS_OK && b->options->json) {
        json_dumpf(b->out, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
        printf("\n");
    }
    return status;
}

/* Whether a file could be written there, found out before anything is measured. */
static hps_status check_target(const char *path)
{
    char folder[HPS_PATH_MAX] = ".";
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;

    if (path == NULL) {
        return HPS_OK;
    }
    if (slash != NULL) {
        snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    return access(folder, W_OK) == 0
               ? HPS_OK
               : hps_fail(HPS_EIO, "%s: cannot be written: %s: %s", path, folder, strerror(errno));
}

static hps_status check_targets(const bench *b)
{
    HPS_TRY(check_target(b->options->output));
    return check_target(b->options->calibrate);
}

static hps_status read_machine(bench *b)
{
    return b->options->plan ? hps_agree(b->world, hps_calibration_for(b->config, true, &b->machine)) : HPS_OK;
}

hps_status hps_study_bench(MPI_Comm world, const hps_config *config, const hps_bench_options *options, bool dry_run)
{
    bench b = {.world = world, .config = config, .options = options};

    count_ranks(&b);
    hps_status status = hps_share_status(world, b.rank == 0 ? check_targets(&b) : HPS_OK);
    if (status == HPS_OK) {
        status = read_machine(&b);
    }
    if (status == HPS_OK) {
        status = choose_size(&b);
    }
    if (status == HPS_OK) {
        status = choose_groups(&b);
    }
    if (status == HPS_OK) {
        status = measure(&b, dry_run);
    }
    if (status == HPS_OK && !dry_run) {
        status = measure_rest(&b);
    }
    if (status == HPS_OK && !dry_run) {
        status = hps_share_status(world, b.rank == 0 ? publish(&b) : HPS_OK);
    }
    json_decref(b.out);
    hps_calibration_release(&b.machine);
    return status;
}
