/*
 * Shrinkage of a dictionary's values (Gao et al. 2024, 5.1): how much larger they would be if they were fitted anew.
 */
#ifndef HPSAE_MODEL_SHRINKAGE_H
#define HPSAE_MODEL_SHRINKAGE_H

#include "hpsae/model/feed.h"
#include "hpsae/model/forward.h"

#include <stdint.h>

enum { HPS_SHRINKAGE_SLOTS = 512 }; /* tokens with more are left out: their systems cost the cube of it */

typedef struct {
    int64_t rows;     /* measured */
    int64_t left_out; /* of those asked for: too many slots, or without an end of the iteration */
    double shrinkage; /* mean over active slots of refined / original - 1; NaN where there is no slot */
} hps_shrinkage;

/*
 * Collective over the model ranks.  On the feed's first `rows` rows: support and decoder stay, the values of a token become
 * those z >= 0 that minimise |x - b - sum z w|^2.  The Gram matrices and right sides are summed over the ranks' columns
 * in fixed point, so that every layout solves the same systems, each on one rank.  Errors: those of the feed and the
 * selection, HPS_ENOMEM.
 */
hps_status hps_shrinkage_measure(hps_forward *forward, hps_feed *feed, const hps_pick *pick, int64_t rows,
                                 hps_shrinkage *result);

#endif
