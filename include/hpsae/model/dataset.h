/*
 * A store as a configuration sees it: which of its rows train and which are held out.
 */
#ifndef HPSAE_MODEL_DATASET_H
#define HPSAE_MODEL_DATASET_H

#include "hpsae/config/config.h"
#include "hpsae/store/store.h"

#include <mpi.h>
#include <stdint.h>

typedef struct {
    hps_store *store;
    hps_store *gradients;       /* dL/dx of the same rows; NULL where not asked for, or the store has none */
    const hps_store_info *info; /* borrowed from the store */
    int64_t train, holdout;     /* the first `train` rows train, the last `holdout` rows never do */
} hps_dataset;

/*
 * Collective over comm.  Opens the store (paths: eval.store where `paths` has items, else data.store) and splits it by
 * data.holdout; with `gradients` also opens those that the store has.  Errors: those of hps_store_open and
 * hps_store_open_gradients; HPS_ECONFIG when no training row is left.  Close with
 * hps_dataset_close (local).
 */
hps_status hps_dataset_open(MPI_Comm comm, const hps_config *config, const hps_list *paths, bool gradients,
                            hps_dataset *dataset);
void hps_dataset_close(hps_dataset *dataset);

/* Local.  The rows of a part of the store: [*first, *first + *rows); none, or before the first, where the split has none. */
void hps_dataset_rows(const hps_dataset *dataset, hps_rows part, int64_t *first, int64_t *rows);

/* Local.  Whether a model of d columns, read from path, is for this store.  Error: HPS_ECONFIG. */
hps_status hps_dataset_fits(const hps_dataset *dataset, const char *path, int64_t d);

/*
 * Local.  Whether a model, read from path, that was trained on activations of this whitening (0: as they are) is for them.
 * HPS_ECONFIG when it was trained on whitened ones, and the store's are not or are whitened otherwise; a model that says
 * nothing of it (it may be imported) is used on a whitened store with a warning.
 */
hps_status hps_dataset_whitened(const hps_dataset *dataset, const char *path, uint64_t whitening);

#endif
