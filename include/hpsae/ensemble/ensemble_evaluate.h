/*
 * Reconstruction and sparsity of an ensemble on rows of a store (metrics.md; math.md 5), the same bits on any number of
 * ranks.
 */
#ifndef HPSAE_ENSEMBLE_ENSEMBLE_EVALUATE_H
#define HPSAE_ENSEMBLE_ENSEMBLE_EVALUATE_H

#include "hpsae/ensemble/ensemble_forward.h"
#include "hpsae/model/feed.h"

#include <stdint.h>

/* Of member j, and of the ensemble of the members up to it. */
typedef struct {
    double l0;        /* mean number of its positive values a token */
    double ev, mse;   /* of the member alone; bagging only, else NaN */
    double prefix_ev; /* of the first j members: a bagging or a chain of its own */
} hps_member_evaluation;

typedef struct {
    int64_t rows;
    double mse;        /* mean |x - xhat|^2, in the store's units (a data-set scale is undone) */
    double fvu, ev;    /* sum |x - xhat|^2 / sum |x - mu|^2, and 1 - fvu */
    double ev_dimmean; /* mean over dimensions that vary of 1 - SSE_j / SST_j */
    double l0;         /* mean number of positive values a token, of all members together */
    int64_t alive;     /* latents, of all members', that fired at least once */
    double spread;     /* mean over tokens and members of |x_j - xbar|^2, in the store's units; bagging only, else NaN.
                          Gadgil et al., math.md 5: mse = mean over members of their mse - spread */
    hps_member_evaluation *member; /* [members]; owned */
} hps_ensemble_evaluation;

/*
 * Collective over the grid, of one data group.  Evaluates the feed's first `rows` rows, scaled as the first member's model
 * says, in batches of at most f->B.  fired [latents of all members]: counts of tokens on which each fired.  Errors: those of
 * the feed and of the forward pass, HPS_ENOMEM; agreed.  Release *result with hps_ensemble_evaluation_release (local),
 * whatever was returned.
 */
hps_status hps_ensemble_evaluate(hps_ensemble_forward *f, hps_feed *feed, int64_t rows, int64_t *fired,
                                 hps_ensemble_evaluation *result);
void hps_ensemble_evaluation_release(hps_ensemble_evaluation *result);

#endif
