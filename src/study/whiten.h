/*
 * The whitened copy of a store that `hpsae pca` writes beside its figures.
 */
#ifndef HPSAE_STUDY_WHITEN_H
#define HPSAE_STUDY_WHITEN_H

#include "hpsae/comm/grid.h"
#include "hpsae/config/config.h"
#include "hpsae/model/dataset.h"

#include <stdbool.h>

typedef struct {
    const hps_grid *grid;
    const hps_config *config; /* pca.whiten, pca.shrink, pca.batch */
    const hps_dataset *dataset;
    int64_t first, rows; /* that are fitted */
    char fingerprint[256];
    bool done; /* the copy stands already */
} hps_whiten;

/*
 * Collective over grid->model.  Looks before work starts at what stands at pca.whiten.  Errors: HPS_ECONFIG: another file
 * there; a store that is whitened already; HPS_EIO.
 */
hps_status hps_whiten_prepare(hps_whiten *whiten);

/* Local.  Bytes that a rank holds in hps_whiten_run, about. */
int64_t hps_whiten_bytes(const hps_whiten *whiten);

/*
 * Collective over grid->model.  mean [d]: of the fitted rows, the same bits on every rank.  Their covariance C, with eps =
 * pca.shrink times the mean of its diagonal (toward the multiple of I that Ledoit and Wolf 2004 shrink to), gives the map,
 * then the copy is written.  The sum over the rows is taken for each pair of columns in the order of the rows, in double, so
 * that map and copy are the same bits on any number of ranks and threads.  Errors: those of hps_feed_batch and hps_whitened_write;
 * HPS_ECONFIG when C + eps I is singular.
 */
hps_status hps_whiten_run(const hps_whiten *whiten, const double *mean);

#endif
