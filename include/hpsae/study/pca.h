/*
 * `hpsae pca`: principal components of activations, and how far their codes go.
 */
#ifndef HPSAE_STUDY_PCA_H
#define HPSAE_STUDY_PCA_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  Mean and covariance of the rows pca.fit of data.store (each token normalised where data.scale says
 * so), in double; their eigenvectors; ev on the rows pca.rows of the codes by the k first of them, centred on that mean:
 * the best linear code of rank k where both are the same rows.  Says so in the log, writes pca.output and pca.json; json:
 * prints the object of the latter on one line to stdout: hook, d, fit and fit_rows, rows (how many), variance (mean
 * |x - mu|^2 of them), ev_at_k (lists k and ev: 1, 2, 4, ..., d, and model.k where the configuration has it).
 *
 * pca.output: an HDF5 file with attributes format "hpsae-pca", format_version 1, hook, model_name, fit_rows, first_row,
 * scale ("none" or "token"); datasets, in double, mean [d], eigenvalues [d] (variances along the components, descending),
 * components [d, d] (a row each, the number of largest size positive), ev [d] (ev[k - 1] by the k first).
 *
 * The numbers depend on the number of ranks in their last bits.
 *
 * pca.whiten: first writes a whitened copy of the whole store there (hpsae/store/whitening.h), by the mean and covariance of
 * the rows pca.fit; one that stands there already from the same rows stays.  The same bytes on any number of ranks.
 *
 * dry_run: only opens and checks.  Errors: HPS_ECONFIG,
 * HPS_EIO, HPS_EFORMAT, HPS_ENOMEM, worded for the user.
 */
hps_status hps_study_pca(MPI_Comm world, const hps_config *config, bool json, bool dry_run);

#endif
