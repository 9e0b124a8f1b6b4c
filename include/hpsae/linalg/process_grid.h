/*
 * A two-dimensional grid of ranks, over which matrices are dealt in blocks: a BLACS context on a communicator of one's own.
 */
#ifndef HPSAE_LINALG_PROCESS_GRID_H
#define HPSAE_LINALG_PROCESS_GRID_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

typedef struct {
    MPI_Comm comm;       /* a duplicate, in which rank p Q + q stands at row p, column q; owned */
    int handle, context; /* of BLACS; owned */
    int P, Q;            /* rows and columns */
    int p, q;            /* where this rank stands */
} hps_process_grid;

/*
 * Collective over comm.  A grid of `rows` x `columns`; 0 stands for what fits the other, both 0 for the most nearly square
 * one of all ranks, no more rows than columns.  Error: HPS_ECONFIG when rows * columns is not the number of ranks.
 * Release with hps_process_grid_destroy (collective; nothing for a grid that is all zero).
 */
hps_status hps_process_grid_create(MPI_Comm comm, int64_t rows, int64_t columns, hps_process_grid *grid);
void hps_process_grid_destroy(hps_process_grid *grid);

#endif
