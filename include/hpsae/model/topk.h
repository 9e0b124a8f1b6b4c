/*
 * The k largest pre-activations of each token over all model ranks, found without asking every rank for k of them.
 *
 * Latents are dealt to the ranks, so a rank has about k / P of a token's k best: each brings a few more than that, its
 * share.  Where a rank's whole share is among the k best, it may have held back others: such a token is encoded again by the
 * ranks that may, with k, so that the outcome is always exact.
 */
#ifndef HPSAE_MODEL_TOPK_H
#define HPSAE_MODEL_TOPK_H

#include "hpsae/base/status.h"
#include "hpsae/kernels/kernels.h"

#include <stdint.h>

/* How many candidates a rank brings, by what the batches before needed; the same on every model rank. */
typedef struct {
    int64_t k;        /* that the share is for; another one begins anew */
    int64_t share;    /* candidates a token and rank */
    int64_t calm;     /* batches in a row in which hardly a token was in doubt */
    int64_t doubtful; /* tokens of the last batch that were encoded again by some rank */
    int64_t again;    /* of them, those that this rank encoded again */
} hps_topk;

/* Own encoder rows, local numbers ascending; list NULL: all. */
typedef struct {
    int64_t count;
    const int32_t *list;
} hps_topk_rows;

/* What encoding again works in. */
typedef struct {
    int64_t capacity;    /* tokens at a time */
    hps_candidate *last; /* [B] the last candidate that this rank brought */
    int32_t *token;      /* [capacity] in doubt */
    float *y;            /* [capacity, lde] those that this rank encodes again */
    hps_candidate *top;  /* [capacity, k_max] */
} hps_topk_again;

/* Local.  For batches of B tokens of lde columns and at most k_max slots each.  HPS_ENOMEM.  Release with hps_topk_again_destroy. */
hps_status hps_topk_again_create(int64_t B, int64_t lde, int64_t k_max, hps_topk_again *again);
void hps_topk_again_destroy(hps_topk_again *again);

/*
 * Local.  The share that P ranks begin with: the mean k / P, three standard deviations of a fair deal and two more, since
 * the tail is longer to that side; at most k.  Then one token of a hundred or fewer is in doubt (of real activations with
 * k 64: 0.06 % on 2 ranks, 0.44 % on 8, as of a fair deal), and a rank encodes again a few of a batch: with a smaller share
 * it would be more than it saves.
 */
int64_t hps_topk_share(int64_t k, int P);

/* Local.  Candidates of room that slots->dz_fixed must have for a batch of B tokens with k slots each. */
int64_t hps_topk_room(int64_t B, int64_t k, int P);

#endif
