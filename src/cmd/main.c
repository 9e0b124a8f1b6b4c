/*
 * hpsae: starts MPI, finds the command, and turns its status into words and an exit status.
 */
#include "blas_core.h"
#include "cmd_plan.h"
#include "command.h"
#include "command_line.h"
#include "threads.h"

#include "hpsae/base/build.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const hps_command hps_commands[] = {
    {"synth", hps_cmd_synth, true, "write activations from a planted dictionary"},
    {"shuffle", hps_cmd_shuffle, true, "permute activations into a store with its statistics"},
    {"train", hps_cmd_train, true, "train a dictionary, going on where an earlier run stopped"},
    {"sweep", hps_cmd_sweep, true, "train and evaluate many points, by groups of ranks"},
    {"plan", NULL, true, "say what a training will take, before it is submitted (without MPI)"},
    {"eval", hps_cmd_eval, true, "measure a dictionary on held-out activations"},
    {"encode", hps_cmd_encode, true, "write the sparse codes of activations as a CSR matrix"},
    {"compare", hps_cmd_compare, true, "measure how alike dictionaries are, by blocks of their Gram matrices"},
    {"pca", hps_cmd_pca, true, "take the principal components of activations, and the ev of their codes"},
    {"refit", hps_cmd_refit, true, "fit a dictionary's decoder by least squares, its codes held fixed"},
    {"export", hps_cmd_export, true, "write a dictionary as a folder of SAELens or sparsify"},
    {"import", hps_cmd_import, true, "read such a folder as a model"},
    {"bench", hps_cmd_bench, true, "measure this machine's limits, and how much of them a training step reaches"},
    {"info", hps_cmd_info, false, "tell what a file is, or what this program is and runs on"},
    {NULL, NULL, false, NULL},
};

/* The command line before getopt permutes it. */
static char **copy_pointers(int argc, char *const *argv)
{
    char **copy = calloc((size_t)argc + 1, sizeof(*copy));

    for (int i = 0; copy != NULL && i < argc; i++) {
        copy[i] = argv[i];
    }
    return copy;
}

/* Commands whose speed is the job's; the others make do with any binding. */
static bool computes(const char *command)
{
    static const char *const those[] = {"train", "sweep", "eval", "encode", "bench", "compare", "pca", "refit"};
    bool found = false;

    for (size_t i = 0; i < sizeof(those) / sizeof(those[0]); i++) {
        found = found || strcmp(command, those[i]) == 0;
    }
    return found;
}

static hps_status run_command(const hps_command_line *line, hps_context *context)
{
    hps_status status = HPS_OK;

    if (line->command->configured) {
        status = hps_config_read(context->world, context->command, line->path, line->count, line->overrides,
                                 &context->config);
    }
    if (status == HPS_OK) {
        status =
            hps_threads_choose(context->world, context->config, computes(context->command), &context->threads_from);
    }
    if (status == HPS_OK) {
        status = line->command->run(context);
    }
    hps_config_destroy(&context->config);
    return status;
}

static hps_status start(int argc, char **argv, hps_context *context)
{
    hps_command_line line = {.command = NULL};

    hps_status status = hps_agree(context->world, hps_command_line_parse(argc, argv, &line));
    hps_log_start(context->rank == 0, line.json && line.bench.output == NULL);
    if (status == HPS_OK && line.question != HPS_ASKS_NOTHING) {
        if (context->rank == 0) {
            hps_command_line_answer(&line);
        }
    } else if (status == HPS_OK) {
        context->command = line.command->name;
        context->path = line.path;
        context->dry_run = line.dry_run;
        context->point = line.point;
        context->json = line.json;
        context->stage = line.stage;
        context->bench = line.bench;
        context->bench.json = line.json && line.bench.output == NULL;
        status = run_command(&line, context);
    }
    HPS_FREE(&line.overrides);
    return status;
}

/* Every array must have been given back; looked at where a release would not. */
static hps_status check_memory(hps_status status)
{
    if (status == HPS_OK && hps_build_checks() && hps_memory_arrays() != 0) {
        return hps_fail(HPS_EINTERNAL, "%lld arrays were never freed", (long long)hps_memory_arrays());
    }
    return status;
}

int main(int argc, char **argv)
{
    hps_context context = {.world = MPI_COMM_WORLD, .argc = argc};
    int provided;

    if (argc > 1 && strcmp(argv[1], "plan") == 0) {
        return hps_cmd_plan(argc, argv);
    }
    hps_blas_core_choose(argv);
    HPS_MPI(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided));
    HPS_MPI(MPI_Comm_rank(context.world, &context.rank));
    HPS_MPI(MPI_Comm_size(context.world, &context.size));
    context.argv = copy_pointers(argc, argv);

    hps_status status = start(argc, argv, &context);
    status = hps_agree(context.world, check_memory(status));
    if (status != HPS_OK && status != HPS_STOPPED && context.rank == 0) {
        fprintf(stderr, "hpsae: error: %s\n", hps_status_message());
    }
    free(context.argv);
    fflush(stdout);
    MPI_Finalize();
    return hps_status_exit(status);
}
