/*
 * Reconstruction and sparsity of a dictionary on rows of a store (metrics.md, "Reconstruction and sparsity"), the same
 * bits on any number of ranks.
 */
#ifndef HPSAE_MODEL_EVALUATE_H
#define HPSAE_MODEL_EVALUATE_H

#include "hpsae/model/feed.h"
#include "hpsae/model/forward.h"

#include <stdint.h>

enum { HPS_CURVE_POINTS = 34 }; /* the powers of two below 2^31, the model's k, the end of the curve */

typedef struct {
    int64_t rows; /* the feed's first so many */
    hps_pick pick;
    int64_t curve;       /* ev_at_k goes up to so many latents a token (at most forward's k_max); 0: no curve */
    hps_feed *gradients; /* the gradients of the same rows, as stored; NULL: no first-order figures */
    double gradient_rms; /* of HPS_PICK_GRADIENT, with f->g made from `gradients`: what they are divided by */
    double variance;     /* first_order_variance as an earlier call on these rows found it; 0: to be found */
} hps_evaluate_options;

typedef struct {
    int64_t rows;
    double mse;        /* mean |x - xhat|^2, in the store's units (a data-set scale is undone) */
    double fvu, ev;    /* sum |x - xhat|^2 / sum |x - mu|^2, and 1 - fvu */
    double ev_dimmean; /* mean over dimensions that vary of 1 - SSE_j / SST_j */
    double l0;         /* mean number of positive values a token */
    int64_t alive;     /* latents that fired at least once */
    int points;        /* of the curve; 0 without */
    int64_t k[HPS_CURVE_POINTS];
    double ev_at_k[HPS_CURVE_POINTS]; /* ev by the k[i] largest values alone; k = 1, 2, 4, ... and the model's */
    int prefixes;                     /* the model's; 0 for one that is not nested */
    int64_t prefix[HPS_PREFIXES_MAX];
    double prefix_ev[HPS_PREFIXES_MAX]; /* ev by the selected latents below prefix[i] alone */
    bool has_gradients;                 /* the rest, in the store's units: g as stored, R = xhat - x */
    double first_order;                 /* mean <g, R>: what replacing x by xhat adds to the loss, to first order */
    double first_order_abs;             /* mean |<g, R>| */
    double first_order_r2;              /* 1 - sum <g, R>^2 / sum <g, x - mu>^2 */
    double first_order_variance;        /* mean <g, x - mu>^2 */
} hps_evaluation;

/*
 * Collective over all ranks of the grid; each data group takes its share of the rows, and several cannot take gradients.
 * Evaluates rows of the feed in batches of at most forward->B, by the selection
 * options->pick; a per-token selection by value is made once, as wide as the curve, its first pick.k slots are the main
 * figures; the curve of a threshold selection keeps the first k[i] of the slots that a token has.  fired [n]: counts
 * of tokens on which each latent fired, or NULL.  Errors: those of the feeds and of the selection, HPS_ENOMEM.
 */
hps_status hps_evaluate(hps_forward *forward, hps_feed *feed, const hps_evaluate_options *options, int64_t *fired,
                        hps_evaluation *result);

#endif
