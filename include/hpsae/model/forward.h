/*
 * The forward pass of a batch over the model ranks (math.md 1): centre, encode the rank's latents, merge the candidates,
 * decode the rank's columns.  What training and evaluation share, with its buffers.
 */
#ifndef HPSAE_MODEL_FORWARD_H
#define HPSAE_MODEL_FORWARD_H

#include "hpsae/comm/grid.h"
#include "hpsae/comm/merge.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/model/model.h"

#include <stdint.h>

typedef struct {
    const hps_grid *grid; /* borrowed, as are kernels and model */
    const hps_kernels *kernels;
    hps_model *model;
    hps_workspace *ws;
    hps_merge merge;
    int64_t B, k;
    int threads;
    int32_t *latent; /* [own] */
    hps_encoder encoder;
    float *y;                                             /* [B, lde] x - b; callers put x here */
    float *y_norm;                                        /* [B] at least |y| */
    float *z_sum;                                         /* [B] sum of the token's z */
    double *scale;                                        /* [B] fixed point of <R, w> */
    hps_slots slots;                                      /* by value, descending */
    float *R;                                             /* [B, ldd] xhat - x, this rank's columns */
    double seconds_encode, seconds_merge, seconds_decode; /* of the last pass */
} hps_forward;

/*
 * Collective over grid->model.  Buffers for batches of up to B tokens; k_max >= model->k is the widest selection that
 * the workspace will serve.  HPS_ENOMEM; HPS_ECONFIG if B * k_max is beyond what a message counts.  Release with
 * hps_forward_destroy (local).
 */
hps_status hps_forward_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model, int64_t B,
                              int64_t k_max, int threads, hps_forward **forward);
void hps_forward_destroy(hps_forward **forward);

/* Local.  Takes the bounds on encoder rows and biases anew; call after the model's values changed from outside. */
void hps_forward_refresh(hps_forward *f);

/* Collective over grid->model.  From x in f->y (B tokens): y = x - b, the k slots of each token. */
void hps_forward_select(hps_forward *f, int64_t B);

/* Local.  R from the slots, and with dz the slots' <R, w> over this rank's columns, in fixed point. */
void hps_forward_decode(hps_forward *f, int64_t B, bool dz);

/*
 * Local.  Keeps the candidates of positive value, z = p: top [B, k], sorted, becomes slots->slot in place, first and
 * z_sum [B] are set.
 */
void hps_slots_compact(int64_t B, int64_t k, hps_slots *slots, float *z_sum);

/* Local.  A bound on |xhat - x| of a token of norm y_norm whose values sum to z_sum; decoder rows have norm 1. */
static inline double hps_residual_bound(float y_norm, float z_sum)
{
    return 1.02 * ((double)y_norm + (double)z_sum);
}

#endif
