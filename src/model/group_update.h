/*
 * The update kernels over several data groups: gradients are made for some latents at a time, summed over the groups in
 * their order, and applied from the sum, while the gradients of the next latents are made.
 */
#ifndef HPSAE_MODEL_GROUP_UPDATE_H
#define HPSAE_MODEL_GROUP_UPDATE_H

#include "hpsae/comm/grid.h"
#include "hpsae/comm/groups.h"
#include "hpsae/kernels/kernels.h"

/* Local.  Buffers for a rank's share of a dictionary.  HPS_ENOMEM.  Release with hps_group_sums_destroy. */
hps_status hps_group_update_create(const hps_grid *grid, const hps_shard *shard, int64_t lde, int64_t ldd,
                                   hps_group_sums **sums);

/* Collective over grid->groups.  As kernels->update_decoder and update_encoder; parallel and bias_gradient are sums over all
 * groups. */
void hps_group_update_decoder(hps_group_sums *sums, const hps_kernels *kernels, hps_workspace *ws, const hps_update *u,
                              int64_t n, int64_t w, int64_t ldd, const float *parallel, const hps_state *W_dec,
                              int64_t *square, int64_t *norm);
void hps_group_update_encoder(hps_group_sums *sums, const hps_kernels *kernels, hps_workspace *ws, const hps_update *u,
                              const hps_encoder *enc, int64_t ldy, const float *y, const float *bias_gradient,
                              const hps_state *W_enc, const hps_state *b_enc, int64_t *square, int64_t *column,
                              float *row_norm);

#endif
