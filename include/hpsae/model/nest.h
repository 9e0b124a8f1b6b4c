/*
 * The objectives as one weighted nested reconstruction (math: "one objective for all"): an order of a token's slots,
 * and levels, each a number of first slots or of first latents with a weight.
 *
 * plain          one level, all k slots
 * multi_topk     k and factor k slots, weights 1 and `weight` (Gao et al. 2024, 5.3), scaled to sum to 1
 * hierarchical   j slots for every j of a list, equal weights (Balagansky et al. 2025)
 * matryoshka     the slots among the first m latents for every m of a list, equal weights (Bussmann et al. 2025)
 *
 * A level that reaches beyond a token's slots ends at its last one; an empty one is the bias alone.
 */
#ifndef HPSAE_MODEL_NEST_H
#define HPSAE_MODEL_NEST_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"
#include "hpsae/kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    hps_objective objective;
    int64_t n, k_max;         /* the largest k of any step */
    int64_t factor;           /* multi_topk */
    double weight;            /* multi_topk */
    hps_ints list;            /* hierarchical: levels (empty: all), matryoshka: fixed prefixes; borrowed */
    int64_t random, smallest; /* matryoshka: so many drawn prefixes, at least so long */
    uint64_t seed;
} hps_nest_options;

typedef struct {
    hps_nest_options options;
    bool by_latent;      /* slots in order of latents, levels are sizes in latents; else by score, in slots */
    int64_t levels;      /* of this step; 1: nothing is nested, the whole reconstruction counts */
    int64_t most;        /* levels that any step may have */
    int64_t *size;       /* [most] ascending */
    float *weight;       /* [most] */
    int64_t slots;       /* slots a token that this step's selection is to deliver, on average with a batch's */
    int64_t main;        /* first slots of a token that are the reconstruction at k; below 0: all */
    hps_nesting nesting; /* of the batch */
} hps_nest;

/* Local.  For batches of B tokens and up to `slots` slots.  HPS_ENOMEM.  Release with hps_nest_destroy. */
hps_status hps_nest_create(const hps_nest_options *options, int64_t B, int64_t slots, hps_nest *nest);
void hps_nest_destroy(hps_nest *nest);

/* Local.  The default prefixes of a Matryoshka dictionary: n/32, then n/16, n/8, n/4 more, and n (Bussmann et al. 2025). */
enum { HPS_PREFIXES_DEFAULT = 5 };
void hps_nest_default_prefixes(int64_t n, int64_t prefix[HPS_PREFIXES_DEFAULT]);

/* Local.  Levels, sizes and weights of a step with k; drawn ones depend on (seed, step) alone. */
void hps_nest_begin(hps_nest *nest, int64_t step, int64_t k);

/* Local.  For levels > 1: puts the slots of B tokens into their order and fills nest->nesting. */
void hps_nest_fill(hps_nest *nest, int64_t B, int threads, hps_slots *slots);

#endif
