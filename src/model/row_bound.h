/*
 * A bound on the decoder's row norms, from which fixed-point scales follow: trained rows have norm 1, imported ones any.
 */
#ifndef HPSAE_MODEL_ROW_BOUND_H
#define HPSAE_MODEL_ROW_BOUND_H

#include "hpsae/model/model.h"

/* Collective over grid->model.  At least the largest |w_i|: sqrt(d) times the largest element, the same on any layout. */
double hps_decoder_row_bound(const hps_grid *grid, const hps_model *model);

#endif
