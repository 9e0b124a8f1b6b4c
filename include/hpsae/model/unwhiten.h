/*
 * A dictionary of whitened activations as one of the activations themselves.
 */
#ifndef HPSAE_MODEL_UNWHITEN_H
#define HPSAE_MODEL_UNWHITEN_H

#include "hpsae/model/model.h"
#include "hpsae/store/whitening.h"

/*
 * Collective over grid->model.  Folds x' = W (x - mu) and back into the model's values, in double, rounded once: with s its
 * scale, encoder rows e become W e, decoder rows w become W^-1 w, b becomes W^-1 b + s mu; b_enc and a threshold stay.  Then
 * <W e, s x - (W^-1 b + s mu)> = <e, s x' - b>: the same latents with the same values, and the reconstruction is that of x'
 * taken back.  Decoder rows lose their norm of 1, as a refit's do.  model->whitening becomes 0.  The same bits on any number
 * of ranks.  Errors: HPS_EARG (norm token, which no matrix undoes), HPS_ENOMEM.
 */
hps_status hps_model_unwhiten(const hps_grid *grid, int threads, const hps_whitening *whitening, hps_model *model);

#endif
