/*
 * The forward pass of one member of an ensemble, by the selection of its model in use.
 */
#ifndef HPSAE_ENSEMBLE_MEMBER_H
#define HPSAE_ENSEMBLE_MEMBER_H

#include "hpsae/model/forward.h"

#include <stdint.h>

/* Collective over grid->model.  As hps_forward_create, for batches of up to B tokens. */
hps_status hps_member_forward_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model, int64_t B,
                                     int threads, hps_forward **forward);

/*
 * Collective over grid->model.  The slots and the residual R of B tokens x [B, lde], which stays.  Errors, on every rank:
 * those of hps_forward_select.
 */
hps_status hps_member_forward_run(hps_forward *forward, int64_t B, const float *x);

#endif
