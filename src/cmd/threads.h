/*
 * How many OpenMP threads a rank takes.
 */
#ifndef HPSAE_CMD_THREADS_H
#define HPSAE_CMD_THREADS_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  Resolves grid.threads, where it is auto, and gives it to OpenMP.  auto: OMP_NUM_THREADS where
 * that is set, else the processors that this rank may use, shared with the ranks of its host that may use some of the same;
 * at least 1.  config may be NULL (then auto).  warns: says so when the ranks' binding is amiss.  *from: who decided, in
 * words ("OMP_NUM_THREADS"); static.  Error: HPS_ENOMEM.
 */
hps_status hps_threads_choose(MPI_Comm world, hps_config *config, bool warns, const char **from);

#endif
