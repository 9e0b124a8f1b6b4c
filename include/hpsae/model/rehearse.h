/*
 * A training run's memory before it runs: everything that a rank would allocate is created as train creates it, on a grid
 * that is only planned, with large arrays as addresses alone.
 */
#ifndef HPSAE_MODEL_REHEARSE_H
#define HPSAE_MODEL_REHEARSE_H

#include "hpsae/config/config.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/model/cost.h"
#include "hpsae/store/store.h"

/* Bytes, as train states them: parameters and moments, all else, and what the start takes beyond. */
typedef struct {
    int64_t state, buffers, starting;
    int64_t device; /* of all three, the most that lies on the rank's device at a time; 0 without one */
} hps_memory_plan;

/*
 * Local, without MPI.  Of the rank that holds most of a grid of R groups of P ranks with so many threads.  The
 * configuration is resolved; `info` says what the activations are, `gradients` that there are gradients beside them.
 * Kernels with a device are counted without it (hps_kernels_planned).  Errors: those of the creation (HPS_ECONFIG, HPS_ENOMEM).
 */
hps_status hps_train_rehearse(const hps_config *config, const hps_kernels *kernels, const hps_store_info *info,
                              bool gradients, int R, int P, int threads, hps_memory_plan *plan);

/* Of what a rank's memory is asked while n, B and the grid vary.  All borrowed. */
typedef struct {
    const hps_config *config; /* resolved */
    const hps_kernels *kernels;
    const hps_store_info *data;
    bool gradients;
    int64_t resident; /* bytes of a rank before it allocates */
} hps_rank_question;

/*
 * Local.  What the libraries take once a run is under way, as seen with Open MPI 4.1 and its MPI-IO: what was resident
 * before, a mailbox for each rank of the node, and, from three model ranks on, the buffers through which a few of them
 * write for all.
 */
int64_t hps_rank_libraries(int64_t resident, const hps_cost_case *size);

/* Local.  hps_train_rehearse with the size's n, B and grid. */
hps_status hps_rank_memory(const hps_rank_question *question, const hps_cost_case *size, hps_memory_plan *plan);

/* Local.  All of a rank, libraries included, or of kernels with a device what lies on that; -1 where the grid cannot be made.
 * question: hps_rank_question *; this is a hps_grid_space.rank_bytes. */
int64_t hps_rank_bytes(void *question, const hps_cost_case *size);

#endif
