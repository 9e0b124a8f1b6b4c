/*
 * A candidate for a token's top k: a pre-activation and its latent, in the total order of the selection (math: ties go
 * to the lower latent number), under which the k best of any set are one set, however it was split and merged.
 */
#ifndef HPSAE_BASE_CANDIDATE_H
#define HPSAE_BASE_CANDIDATE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    float value;    /* pre-activation, not NaN */
    int32_t latent; /* global number */
} hps_candidate;

/* What fills a list that has fewer candidates than places: after every real candidate. */
#define HPS_NO_CANDIDATE ((hps_candidate){-INFINITY, INT32_MAX})

/* Local.  Whether a comes before b: larger value first, then lower latent. */
static inline bool hps_before(hps_candidate a, hps_candidate b)
{
    return a.value > b.value || (a.value == b.value && a.latent < b.latent);
}

#endif
