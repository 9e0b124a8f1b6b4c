/*
 * What training starts from (math.md 4; Gao et al. 2024, A): statistics of a sample of the training stream, and the
 * initial parameters.  The same bits on any number of ranks.
 */
#ifndef HPSAE_MODEL_INITIALISE_H
#define HPSAE_MODEL_INITIALISE_H

#include "hpsae/model/feed.h"
#include "hpsae/model/forward.h"

#include <stdint.h>

typedef struct {
    int64_t rows, d;
    double mean_sq_norm; /* E|x|^2 of the sample, as the feed scales it */
    double V;            /* E|x - mean|^2 */
    float *median;       /* [d] geometric median (Weiszfeld); owned */
} hps_sample;

/*
 * Collective over grid->model.  Statistics of the first `rows` positions of the feed.  with_median: the geometric
 * median too, by at most 100 steps of Weiszfeld's iteration, until one moves it by less than 1e-6 sqrt(V).
 * Errors: those of the feed, HPS_ENOMEM; HPS_EFORMAT if all rows are the same.  Release with hps_sample_destroy (local).
 */
hps_status hps_sample_take(const hps_grid *grid, hps_feed *feed, int64_t rows, int64_t d, bool with_median,
                           hps_sample *sample);
void hps_sample_destroy(hps_sample *sample);

/*
 * Collective over grid->model.  Initial values: decoder rows uniform on the unit sphere (hps_random_normal at index
 * latent * d + column, divided by the row's norm), b the sample's median, encoder rows `scale` times the decoder's (0: such
 * that mean |xhat - b| = mean |x - b| on the sample), b_enc 0.  Errors: those of the feed.
 */
hps_status hps_model_initialise(hps_forward *forward, hps_feed *feed, const hps_sample *sample, uint64_t seed,
                                double scale);

#endif
