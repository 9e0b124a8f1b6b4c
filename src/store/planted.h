/*
 * A planted dictionary: features with known directions, frequencies and dependences, and rows drawn from it.
 *
 * Feature i is active in a row with probability p_i proportional to (i + 1)^-zipf, at most 1/2, scaled so that `active`
 * features are active on average.  Some features are children: active only when their parent is, with at most half of
 * its probability.  Some stand in pairs: the rarer one is active with probability 0.8 (or what its own frequency allows)
 * when the other is, and the more rarely without it.  Neither changes any p_i.  An active feature has magnitude
 * 0.5 + Exponential(mean 0.5).  Directions are uniform on the sphere; all rows are shifted by one random offset of length
 * sqrt(active) / 2.  Every number is a function of (seed, purpose, index).
 */
#ifndef HPSAE_STORE_PLANTED_H
#define HPSAE_STORE_PLANTED_H

#include "hpsae/base/status.h"

#include <stdint.h>

enum { HPS_PLANTED_BANDS = 32 };

typedef struct {
    int64_t n, d;
    uint64_t seed;
    double noise;
    float *dictionary; /* [n, d]; unit rows */
    double *offset;    /* [d] */
    double *frequency; /* [n] */
    int32_t *parent;   /* [n] or -1 */
    int32_t *partner;  /* [n] or -1 */
    double *alone;     /* [n] probability when no partner is active; 0 for children */
    double *with;      /* [n] probability when the parent, or the more frequent partner, is active */
    int32_t *first_child,
        *children; /* [n + 1]; those of feature i are children[first_child[i] ... first_child[i + 1]] */
    double bound[HPS_PLANTED_BANDS]; /* largest `alone` among features 2^band - 1 to 2^(band + 1) - 2 */
} hps_planted;

typedef struct {
    int64_t n, d;
    double active, zipf, correlated, hierarchy, noise;
    uint64_t seed;
} hps_planted_sizes;

/* Local.  Errors: HPS_ECONFIG (synth.active above what frequencies allow), HPS_ENOMEM.  Free also after an error. */
hps_status hps_planted_create(const hps_planted_sizes *sizes, hps_planted *planted);
void hps_planted_free(hps_planted *planted);

/* What one thread needs to draw rows. */
typedef struct {
    int64_t *drawn;  /* [n] 1 + the row in which a feature was last active */
    int32_t *active; /* [n] features active in the row */
    double *x;       /* [d] */
} hps_planted_scratch;

hps_status hps_planted_scratch_create(const hps_planted *planted, hps_planted_scratch *scratch);
void hps_planted_scratch_free(hps_planted_scratch *scratch);

/* Local.  Draws row number `row` into x [d]; returns the number of active features, named in scratch->active. */
int64_t hps_planted_row(const hps_planted *planted, int64_t row, hps_planted_scratch *scratch, float *x);

#endif
