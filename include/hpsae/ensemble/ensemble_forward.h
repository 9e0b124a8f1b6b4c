/*
 * The forward pass of an ensemble on a batch: every member's slots and residual, and those of the whole.
 */
#ifndef HPSAE_ENSEMBLE_ENSEMBLE_FORWARD_H
#define HPSAE_ENSEMBLE_ENSEMBLE_FORWARD_H

#include "hpsae/ensemble/chain.h"
#include "hpsae/ensemble/ensemble.h"

typedef struct {
    const hps_ensemble *ensemble; /* borrowed */
    int64_t B, lde, ldd;          /* most tokens of a batch; leading dimensions of x and R */
    float *x;                     /* [B, lde] callers put the inputs here, scaled as the first member's model says */
    hps_forward **forward;        /* [members] their slots, and residuals g_j - (input of j), after a pass */
    float *R;                     /* [B, ldd] xhat - x of the ensemble, this rank's columns */
    hps_chain *chain;             /* of boosting, which owns the forward passes; else NULL */
} hps_ensemble_forward;

/*
 * Collective over the grid.  For batches of up to B tokens; borrows ensemble and kernels.  Each member selects as in use
 * (hps_pick_in_use).  Errors, agreed: HPS_ENOMEM, HPS_ECONFIG.  Release with hps_ensemble_forward_destroy (local).
 */
hps_status hps_ensemble_forward_create(const hps_ensemble *ensemble, const hps_kernels *kernels, int64_t B, int threads,
                                       hps_ensemble_forward **forward);
void hps_ensemble_forward_destroy(hps_ensemble_forward **forward);

/*
 * Collective over the grid.  The pass over B tokens in f->x: the same bits on any number of ranks.  Boosting leaves in f->x
 * what the last stage could not explain; bagging leaves x.  Errors, on every rank: HPS_EARG, when a threshold lets
 * more through than there is room for (fill f->x with fewer tokens); HPS_ENUMERIC (hps_forward_select).
 */
hps_status hps_ensemble_forward_run(hps_ensemble_forward *f, int64_t B);

/*
 * Local.  After a pass: the residual of the ensemble of the first `members` members alone, R [B, ldd].  Of bagging their
 * mean, summed in their order; of boosting that of the last of them.
 */
void hps_ensemble_forward_prefix(const hps_ensemble_forward *f, int64_t B, int members, float *R);

#endif
