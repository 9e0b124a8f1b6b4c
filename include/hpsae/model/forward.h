/*
 * The forward pass of a batch over the model ranks (math.md 1): centre, encode the rank's latents, select over all ranks,
 * decode the rank's columns.  What training and evaluation share, with its buffers.
 */
#ifndef HPSAE_MODEL_FORWARD_H
#define HPSAE_MODEL_FORWARD_H

#include "hpsae/comm/grid.h"
#include "hpsae/comm/lists.h"
#include "hpsae/comm/merge_pieces.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/model/model.h"
#include "hpsae/model/topk.h"

#include <stdbool.h>
#include <stdint.h>

/* How the latents of a batch are chosen; only values above 0 are kept. */
typedef enum {
    HPS_PICK_TOPK,  /* the k largest p of each token (Gao et al. 2024, eq. 2) */
    HPS_PICK_BATCH, /* the k B largest p of the batch, ties to the lower token, then latent (Bussmann et al. 2024) */
    HPS_PICK_THRESHOLD, /* all p above the threshold: BatchTopK in use */
    HPS_PICK_GRADIENT   /* the k largest z (alpha + beta |<w_i, g>|) of each token (Olmo et al. 2024) */
} hps_pick_rule;

typedef struct {
    hps_pick_rule rule;
    int64_t k;
    double alpha, beta; /* of HPS_PICK_GRADIENT */
    double threshold;   /* of HPS_PICK_THRESHOLD, >= 0 */
    bool shared;        /* HPS_PICK_BATCH: the batch is that of all data groups, which call together */
} hps_pick;

/* Local.  How a model selects in use, without gradients (select gradient: by value) and without a batch (a threshold;
 * while that is not known, in the midst of training, the batch after all). */
hps_pick hps_pick_in_use(const hps_model *model);

typedef struct {
    int64_t B;      /* most tokens of a batch */
    int64_t k_max;  /* widest selection a token that the workspace serves */
    int64_t k;      /* the largest k of a pick; at most k_max */
    unsigned rules; /* those that will be used: 1 << HPS_PICK_TOPK | ... */
    bool shared;    /* a pick will be */
    int threads;
} hps_forward_options;

typedef struct hps_searcher hps_searcher; /* buffers of the rules that search by a floor; private to select*.c */

typedef struct {
    const hps_grid *grid; /* borrowed, as are kernels and model */
    const hps_kernels *kernels;
    hps_model *model;
    hps_workspace *ws;
    hps_merge_pieces pieces;
    hps_topk topk;        /* of HPS_PICK_TOPK */
    hps_topk_again again; /* with several ranks */
    int64_t B, k;
    int64_t capacity; /* slots that a batch may have */
    int threads;
    int64_t piece;   /* tokens whose candidates travel while the next are encoded (HPS_PICK_TOPK with several ranks) */
    int32_t *latent; /* [own] */
    hps_encoder encoder;
    float *y;        /* [B, lde] callers put x here */
    float *centred;  /* [B, lde] x - b: in place of x, or apart where the backend has a device */
    float *apart;    /* [B, lde] that place; else NULL */
    double *bound;   /* [B] on |R|, where the backend has a device; else NULL */
    float *g;        /* [B, lde] gradients over their RMS norm; callers put them here; only for HPS_PICK_GRADIENT */
    float *y_norm;   /* [B] at least |y| */
    float *z_sum;    /* [B] sum of the token's z */
    double *scale;   /* [B] fixed point of <R, w> */
    hps_slots slots; /* of the last selection, a token's by score, descending, ties by latent */
    hps_searcher *searcher;
    float *R;                                             /* [B, ldd] xhat - x, this rank's columns */
    double seconds_encode, seconds_merge, seconds_decode; /* of the last pass */
    void (*beside)(void *context); /* what a training step looks after between its phases; NULL: nothing */
    void *beside_context;
} hps_forward;

/*
 * Collective over grid->model.  HPS_ENOMEM; HPS_ECONFIG if B * k_max is beyond what a message counts.  Release with
 * hps_forward_destroy (local).
 */
hps_status hps_forward_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model,
                              const hps_forward_options *options, hps_forward **forward);
void hps_forward_destroy(hps_forward **forward);

/* Local.  Takes the bounds on encoder rows and biases anew; call after the model's values changed from outside. */
void hps_forward_refresh(hps_forward *f);

/*
 * Collective over grid->model, or for a shared pick over all data groups.  From x in f->y (B tokens): y = x - b and the slots of each token.  Errors, on every
 * rank: HPS_EARG when a threshold lets through more than f->capacity; HPS_ENUMERIC when so many pre-activations of a batch
 * are equal that no cut separates k B of them.
 */
hps_status hps_forward_select(hps_forward *f, int64_t B, const hps_pick *pick);

/* Local.  R from each token's first_slots first slots (below 0: all); with dz their <R, w>, in fixed point. */
void hps_forward_decode(hps_forward *f, int64_t B, int64_t first_slots, bool dz);

/*
 * Collective over grid->model.  Of y = x - b in f->y, B tokens: the positive ones of the k largest pre-activations of each
 * token among all ranks' rows, exactly, into slots (dz_fixed as hps_topk_room says) and z_sum [B].  Adds to f->seconds_encode.
 * topk begins as zeros.
 */
void hps_topk_select(hps_forward *f, const hps_topk_rows *rows, int64_t B, int64_t k, hps_topk *topk, hps_slots *slots,
                     float *z_sum);

/*
 * Local.  Keeps the candidates of positive value, z = p: top [B, k], sorted, of which the first `keep` a token count,
 * becomes slots->slot in place, first and z_sum [B] are set.
 */
void hps_slots_compact(int64_t B, int64_t k, int64_t keep, hps_slots *slots, float *z_sum);

/*
 * Local.  Called by a training step between its phases, at the same places on every rank, first when the batch's latents are
 * selected: for messages that are on their way meanwhile.
 */
static inline void hps_forward_beside(const hps_forward *f)
{
    if (f->beside != NULL) {
        f->beside(f->beside_context);
    }
}

/* Local.  A bound on |xhat - x| of a token of norm y_norm whose values sum to z_sum; decoder rows have norm 1. */
static inline double hps_residual_bound(float y_norm, float z_sum)
{
    return HPS_RESIDUAL_BOUND(y_norm, z_sum);
}

#endif
