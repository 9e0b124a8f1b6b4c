/*
 * How close the decoder's rows come to one another (composition; Bussmann et al. 2025).
 */
#ifndef HPSAE_MODEL_MAX_COS_H
#define HPSAE_MODEL_MAX_COS_H

#include "hpsae/kernels/kernels.h"
#include "hpsae/model/model.h"

/*
 * Collective over grid->model.  max_cos = the mean over decoder rows of the largest signed cosine with another row; NaN
 * for a single row; a row of zeros has cosine 0.  The rows, dealt by latent and scaled to norm 1, are a bias-free encoder
 * whose tokens are the rows themselves, in batches: exact, 2 n^2 d operations over all ranks, memory of a second
 * encoder.  Error: HPS_ENOMEM.
 */
hps_status hps_max_cos(const hps_grid *grid, const hps_kernels *kernels, const hps_model *model, int threads,
                       double *max_cos);

#endif
