/*
 * What main hands to a subcommand.  A subcommand is one file, cmd_<name>.c, with one entry, found in main's table.
 *
 * main has then: started MPI (funneled) and the log, parsed the command line, read and checked the configuration on all
 * ranks, resolved grid.threads and given it to OpenMP.  It prints what a command fails with, once, as
 * `hpsae: error: MESSAGE` on stderr, and turns the status into the exit status; a command never prints it, never exits.
 */
#ifndef HPSAE_CMD_COMMAND_H
#define HPSAE_CMD_COMMAND_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"
#include "hpsae/study/bench.h"

#include <mpi.h>
#include <stdbool.h>

typedef struct {
    MPI_Comm world;
    int rank, size;           /* of world */
    const char *command;      /* "train", ... */
    const char *path;         /* the file named on the command line; NULL where none was (info) */
    hps_config *config;       /* NULL for info; otherwise what `path` and the overrides say; owned by main */
    bool dry_run;             /* check everything, write nothing */
    bool json;                /* one JSON object on stdout, from rank 0; the log goes to stderr */
    int stage;                /* of train alone: which one of a boosted ensemble, from 1; 0: not said */
    int64_t point;            /* of sweep alone: only this one, from 0; -1: all */
    hps_bench_options bench;  /* of bench alone */
    const char *threads_from; /* who decided how many threads a rank takes, in words */
    int argc;                 /* the command line as it was given, for run.json */
    char **argv;
} hps_context;

/* Collective over context->world: every rank returns the same status. */
hps_status hps_cmd_synth(hps_context *context);
hps_status hps_cmd_shuffle(hps_context *context);
hps_status hps_cmd_train(hps_context *context);
hps_status hps_cmd_sweep(hps_context *context);
hps_status hps_cmd_eval(hps_context *context);
hps_status hps_cmd_encode(hps_context *context);
hps_status hps_cmd_compare(hps_context *context);
hps_status hps_cmd_pca(hps_context *context);
hps_status hps_cmd_refit(hps_context *context);
hps_status hps_cmd_export(hps_context *context);
hps_status hps_cmd_import(hps_context *context);
hps_status hps_cmd_bench(hps_context *context);
hps_status hps_cmd_info(hps_context *context);

#endif
