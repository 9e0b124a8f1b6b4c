/*
 * The selections of the forward pass, a file each, and what those that search by a floor work in.
 */
#ifndef HPSAE_MODEL_SELECT_H
#define HPSAE_MODEL_SELECT_H

#include "hpsae/model/forward.h"

/* A candidate with the score that it is ranked by. */
typedef struct {
    float score;
    hps_candidate candidate;
} hps_scored;

struct hps_searcher {
    int64_t capacity;
    int64_t hits;        /* of the last search, this rank's */
    hps_hit *hit;        /* [capacity] */
    float *value;        /* [capacity] */
    float *floor;        /* [B] */
    int32_t *count;      /* [B] this rank's hits a token */
    hps_candidate *list; /* [capacity] the hits by token; only with several ranks, as lists */
    hps_lists lists;
    float cut; /* of the last batch; 0 before the first */

    /* Of the selection by gradient alone. */
    int64_t group;      /* tokens that are searched together */
    float *g_norm;      /* [B] at least |g| */
    float *ratio;       /* [B] of the k-th value: what a value must reach to be among the k best scores */
    float *score;       /* [B] of the k-th best */
    hps_scored *picked; /* [B, k] by score */
};

/* Local.  Buffers of f->capacity candidates.  HPS_ENOMEM.  Release with hps_searcher_destroy. */
hps_status hps_searcher_create(const hps_forward *f, bool gradient, hps_searcher **searcher);
void hps_searcher_destroy(hps_searcher **searcher);

/*
 * Collective over comm.  All pre-activations of tokens [from, from + B) that reach searcher->floor [B] (k, ratio: as for the
 * kernels' encode_above): their number over all ranks.  This rank's are in searcher->hit, when all together fit the
 * capacity.
 */
int64_t hps_search(hps_forward *f, MPI_Comm comm, int64_t from, int64_t B, int64_t k, const float *ratio);

/* Collective.  The last search's hits that reach `least`, of B tokens, of all ranks: f->slots' first and slot. */
void hps_search_gather(hps_forward *f, int64_t B, float least, bool sorted);

/* Collective.  One file each; f->y holds x - b. */
void hps_select_topk(hps_forward *f, int64_t B, const hps_pick *pick);
hps_status hps_select_batch(hps_forward *f, int64_t B, const hps_pick *pick);
hps_status hps_select_threshold(hps_forward *f, int64_t B, const hps_pick *pick);
void hps_select_gradient(hps_forward *f, int64_t B, const hps_pick *pick);

#endif
