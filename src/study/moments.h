/*
 * Means and second moments of rows of a store, accumulated over a process grid.
 */
#ifndef HPSAE_STUDY_MOMENTS_H
#define HPSAE_STUDY_MOMENTS_H

#include "hpsae/linalg/cyclic.h"
#include "hpsae/model/feed.h"

typedef struct {
    const hps_grid *grid;         /* one data group */
    const hps_process_grid *over; /* the same ranks */
    hps_store *store;
    hps_feed_options rows;
    int threads;
} hps_moments_options;

/*
 * Collective over grid->model.  centre [d]: what rows are taken relative to; with `own` it is found first, and becomes the
 * rows' mean.  c, dealt like C (d x d), becomes sum (x - centre)(x - centre)', its lower triangle; offset [d] the mean of
 * x - centre (0 with `own`).  Sums over rows are ScaLAPACK's, in double.  Errors: those of hps_feed_batch, HPS_ENOMEM.
 */
hps_status hps_moments_take(const hps_moments_options *options, bool own, const hps_cyclic *C, double *c,
                            double *centre, double *offset);

/* Local.  Bytes that a rank holds in the call beside c, about. */
int64_t hps_moments_bytes(const hps_process_grid *over, int64_t d, int64_t batch, int64_t nb);

#endif
