/*
 * A training run's memory before it runs: everything that a rank would allocate is created as train creates it, on a grid
 * that is only planned, with large arrays as addresses alone.
 */
#ifndef HPSAE_MODEL_REHEARSE_H
#define HPSAE_MODEL_REHEARSE_H

#include "hpsae/config/config.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/store/store.h"

/* Bytes, as train states them: parameters and moments, all else, and what the start takes beyond. */
typedef struct {
    int64_t state, buffers, starting;
} hps_memory_plan;

/*
 * Local, without MPI.  Of the rank that holds most of a grid of R groups of P ranks with so many threads.  The
 * configuration is resolved; `info` says what the activations are, `gradients` that there are gradients beside them.
 * Errors: those of the creation (HPS_ECONFIG, HPS_ENOMEM).
 */
hps_status hps_train_rehearse(const hps_config *config, const hps_kernels *kernels, const hps_store_info *info,
                              bool gradients, int R, int P, int threads, hps_memory_plan *plan);

#endif
