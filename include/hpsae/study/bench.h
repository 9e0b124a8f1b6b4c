/*
 * `hpsae bench`: what this machine can do, and how much of it a training step uses.
 */
#ifndef HPSAE_STUDY_BENCH_H
#define HPSAE_STUDY_BENCH_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

typedef struct {
    bool compare;          /* every backend that this CPU runs, in turn */
    bool copies;           /* all ranks as one job and as independent copies, in turn */
    const char *calibrate; /* file to write the calibration of `hpsae plan` to; NULL: none */
    bool plan;             /* what the cost model expects, beside the measured phases */
    double seconds;        /* about how long each part measures; 0: its own default */
    bool json;             /* print the figures as one object on stdout */
    const char *output;    /* file to write them to; NULL: none */
} hps_bench_options;

/*
 * Collective over world.  Measures the limits of the machine with all ranks and threads busy, then the phases of
 * training steps of the configured sizes, on rows of data.store or, without one, on random ones; says both in a table,
 * and what the options ask for.  The object: format version cpu host ranks ranks_per_node threads grid kernels case
 * limits phases step, and plan, compare, copies, calibration where asked for; null stands for what does not apply.  dry_run:
 * opens and checks everything, measures and writes nothing.  Errors, the same on every rank: HPS_ECONFIG, HPS_EIO,
 * HPS_EFORMAT, HPS_ENOMEM; HPS_EINTERNAL when two backends, or one rank and several, give different parameters.
 */
hps_status hps_study_bench(MPI_Comm world, const hps_config *config, const hps_bench_options *options, bool dry_run);

#endif
