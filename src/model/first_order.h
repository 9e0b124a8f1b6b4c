/*
 * First-order effect of replacing x by xhat, <g, xhat - x>, with g the gradient of the language model's loss.
 */
#ifndef HPSAE_MODEL_FIRST_ORDER_H
#define HPSAE_MODEL_FIRST_ORDER_H

#include "hpsae/model/feed.h"
#include "hpsae/model/forward.h"

#include <stdint.h>

typedef struct {
    double row_bound;        /* on decoder rows */
    float *g;                /* [B, lde] gradients as stored, whole d, on every rank */
    int64_t *fixed;          /* [B] a batch's <g, R> */
    double *scale;           /* [B] their fixed point */
    double sum, abs, square; /* over tokens, of <g, R> */
} hps_first_order;

/* Collective over the model ranks.  For batches of up to f->B.  HPS_ENOMEM.  Release with hps_first_order_destroy. */
hps_status hps_first_order_create(const hps_forward *f, hps_first_order *o);
void hps_first_order_destroy(hps_first_order *o);

/* Collective over the model ranks.  The residuals f->R of B tokens, whose gradients are in o->g, join the sums. */
void hps_first_order_add(hps_first_order *o, const hps_forward *f, int64_t B);

/*
 * Collective over the model ranks.  *variance = mean over the feeds' first `rows` rows of <g, x - mean>^2, mean [d] that of
 * the same rows; x as the feed scales it.  Overwrites f->y and o->g.  Errors: those of the feeds.
 */
hps_status hps_first_order_variance(hps_first_order *o, hps_forward *f, hps_feed *feed, hps_feed *gradients,
                                    int64_t rows, const double *mean, double *variance);

#endif
