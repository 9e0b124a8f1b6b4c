/*
 * `hpsae sweep`: many trainings of one configuration that differ in some keys (hpsae/config/sweep.h), by groups of ranks
 * inside one allocation, or one at a time by the tasks of a job array.
 *
 * Output: sweep.json (which points there are and how far each is), points/NAME/ (a run as `train` leaves it, eval.json, what
 * was said meanwhile in log.txt, and point.json, written last), results.h5 and results.csv (a row a point that ended).  These
 * three follow from the points' directories alone, and are made anew beside the old ones whenever a point ends.
 */
#ifndef HPSAE_STUDY_SWEEP_H
#define HPSAE_STUDY_SWEEP_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t point; /* only this one, from 0, by all ranks; below 0: all */
    bool dry_run;  /* says which points there are, with how many ranks and how long; writes nothing */
    int argc;      /* the command line, for run.json */
    char *const *argv;
    const char *threads_from; /* who decided how many threads a rank takes, in words */
} hps_sweep_options;

/*
 * Collective over world.  Trains and evaluates what is not complete.  A point that fails is recorded with its reason and the
 * others go on; those that failed are tried again by the next call, unless the training diverged, which it would again.
 *
 * Returns HPS_OK when all points (the one asked for) are complete; HPS_STOPPED when something asked for an end (as in
 * hps_train; the file `stop` is looked for in output, or the point's directory); the largest status of the points that
 * failed, in words that count them.  Before anything runs: HPS_ECONFIG, HPS_EIO, HPS_EFORMAT, HPS_ENOMEM, HPS_EARG.
 */
hps_status hps_study_sweep(MPI_Comm world, const hps_config *config, const hps_sweep_options *options);

#endif
