/*
 * Training an ensemble: several dictionaries on one store, each a run of its own (model/train.h) in a directory of its own
 * within `output` (Gadgil, Lin, Lee, arXiv:2505.16077; math.md 5).
 *
 * Bagging: members that differ in the seed of their weights alone.  Boosting: stages, of which each is trained on what
 * those before it leave.  The weight seed of member j is a function of (train.seed, j); member 1 is the plain dictionary.
 */
#ifndef HPSAE_ENSEMBLE_TRAIN_H
#define HPSAE_ENSEMBLE_TRAIN_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

typedef struct {
    bool dry_run; /* checks everything that can be checked before a step, and writes nothing */
    int stage;    /* boosting: only this one, from 1; 0: all */
    int argc;     /* the command line, for run.json */
    char *const *argv;
    const char *threads_from; /* where the number of threads comes from, in words */
} hps_ensemble_options;

/*
 * Collective over world.  Trains what is not yet trained of an ensemble, and goes on where an earlier run was ended; the
 * same bits on any number of ranks, side by side or one after another, with residuals in files or live.
 *
 * Returns HPS_OK when all members (the stage asked for) are complete; HPS_STOPPED as hps_train.  Errors: those of hps_train;
 * HPS_ECONFIG, HPS_EFORMAT for an output of another ensemble, another store, a stage whose predecessors are not complete,
 * residuals of another chain; HPS_EIO when there is no room for the residuals, before the first step.
 */
hps_status hps_ensemble_train(MPI_Comm world, const hps_config *config, const hps_ensemble_options *options);

#endif
