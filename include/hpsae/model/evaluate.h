/*
 * Reconstruction and sparsity of a dictionary on rows of a store (metrics.md, "Reconstruction and sparsity"), the same
 * bits on any number of ranks.
 */
#ifndef HPSAE_MODEL_EVALUATE_H
#define HPSAE_MODEL_EVALUATE_H

#include "hpsae/model/feed.h"
#include "hpsae/model/forward.h"

#include <stdint.h>

enum { HPS_CURVE_POINTS = 16 };

typedef struct {
    int64_t rows;
    double mse;        /* mean |x - xhat|^2, in the store's units (a data-set scale is undone) */
    double fvu, ev;    /* sum |x - xhat|^2 / sum |x - mu|^2, and 1 - fvu */
    double ev_dimmean; /* mean over dimensions that vary of 1 - SSE_j / SST_j */
    double l0;         /* mean number of positive values a token */
    int64_t alive;     /* latents that fired at least once */
    int points;        /* of the curve; 0 without */
    int64_t k[HPS_CURVE_POINTS];
    double ev_at_k[HPS_CURVE_POINTS]; /* ev keeping only the k[i] largest values: k[i] = 1, 2, 4, ..., model->k */
} hps_evaluation;

/*
 * Collective over the model ranks.  Evaluates the feed's first `rows` rows in batches of at most forward->B.  curve: the
 * ev_at_k curve too (about three times the decoding).  fired [n]: counts of tokens on which each latent fired.  Errors:
 * those of the feed, HPS_ENOMEM.
 */
hps_status hps_evaluate(hps_forward *forward, hps_feed *feed, int64_t rows, bool curve, int64_t *fired,
                        hps_evaluation *result);

#endif
