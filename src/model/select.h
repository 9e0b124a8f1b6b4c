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
    hps_candidate *list; /* [capacity] the hits by token */
    hps_lists lists;
    float cut; /* of the last batch; 0 before the first */

    /* Of the selection by gradient alone. */
    int64_t width;         /* candidates by value that are scored first */
    int64_t group;         /* tokens that are searched further together */
    float *g_norm;         /* [B] at least |g| */
    float *rest;           /* [B] at least the score of every candidate that was not scored */
    float *score;          /* [B] of the k-th best */
    int32_t *over;         /* [B] tokens to be searched further */
    float *y_over;         /* [group, lde] */
    float *g_over;         /* [group, lde] */
    float *norm_over;      /* [group] */
    hps_scored *scored;    /* [capacity] */
    hps_candidate *picked; /* [B, k] */
    hps_merge merge;       /* of width candidates */
};

/* Local.  How many candidates by value are scored first: 4 k. */
static inline int64_t hps_gradient_width(int64_t n, int64_t k)
{
    return 4 * k < n ? 4 * k : n;
}

/* Local.  Buffers of f->capacity candidates.  HPS_ENOMEM.  Release with hps_searcher_destroy. */
hps_status hps_searcher_create(const hps_forward *f, bool gradient, hps_searcher **searcher);
void hps_searcher_destroy(hps_searcher **searcher);

/*
 * Collective over the model ranks.  All pre-activations of B rows y [B, lde] that reach searcher->floor: their number over
 * all ranks.  This rank's are in searcher->hit, when all together fit the capacity.
 */
int64_t hps_search(hps_forward *f, int64_t B, const float *y, const float *y_norm);

/* Collective.  The last search's hits that reach `least`, of B tokens, of all ranks: f->slots' first and slot. */
void hps_search_gather(hps_forward *f, int64_t B, float least);

/* Collective.  One file each; f->y holds x - b. */
void hps_select_topk(hps_forward *f, int64_t B, const hps_pick *pick);
hps_status hps_select_batch(hps_forward *f, int64_t B, const hps_pick *pick);
hps_status hps_select_threshold(hps_forward *f, int64_t B, const hps_pick *pick);
void hps_select_gradient(hps_forward *f, int64_t B, const hps_pick *pick);

#endif
