/*
 * A training run: from a configuration to a directory with checkpoints, metrics.jsonl, run.json and used.yaml, going on
 * where an earlier run of the same configuration stopped, on any number of ranks.
 */
#ifndef HPSAE_MODEL_TRAIN_H
#define HPSAE_MODEL_TRAIN_H

#include "hpsae/config/config.h"
#include "hpsae/model/step.h"

#include <mpi.h>
#include <stdbool.h>

/* How a run was started.  All borrowed. */
typedef struct {
    int argc; /* the command line, for run.json */
    char *const *argv;
    bool dry_run;             /* check everything, allocate everything, write nothing */
    const char *threads_from; /* where the number of threads comes from, in words */
} hps_train_start;

/*
 * Collective over world.  Trains as config says; fills in what is `auto` there (grid.threads was filled in before).
 *
 * Returns HPS_OK when all tokens are trained on; HPS_STOPPED after a checkpoint when SIGTERM, SIGUSR1, a file `stop` in the
 * output directory or train.max_minutes asked for an end.  Errors: HPS_ECONFIG, HPS_EIO, HPS_EFORMAT, HPS_ENOMEM;
 * HPS_ENUMERIC when the training diverged.
 */
hps_status hps_train(MPI_Comm world, hps_config *config, const hps_train_start *start);

/* Local.  What a configuration that is resolved says of the step (V as in hps_step_options; lists are borrowed), and which
 * roles its model has. */
hps_step_options hps_training_options(const hps_config *config, double V);
unsigned hps_training_roles(const hps_config *config);

#endif
