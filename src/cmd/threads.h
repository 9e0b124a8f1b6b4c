/*
 * How many OpenMP threads a rank takes.
 */
#ifndef HPSAE_CMD_THREADS_H
#define HPSAE_CMD_THREADS_H

#include "hpsae/config/config.h"

#include <mpi.h>

/*
 * Collective over world.  Resolves grid.threads, where it is auto, and gives it to OpenMP.  auto: OMP_NUM_THREADS where
 * that is set, else this rank's fair share of the processors that the ranks on its host may use.  config may be NULL
 * (then auto).  Returns the number.
 */
int hps_threads_choose(MPI_Comm world, hps_config *config);

#endif
