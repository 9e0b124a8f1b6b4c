/*
 * `hpsae refit`: the best decoder for the codes that a dictionary gives.
 */
#ifndef HPSAE_STUDY_REFIT_H
#define HPSAE_STUDY_REFIT_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  With the codes Z [T, n] of the rows refit.rows held fixed, the decoder that minimises
 * |X - b - Z W|^2 + ridge |W|^2: (Z'Z + ridge) W = Z'(X - b), solved in double by Cholesky over the ranks.  The normal
 * equations are the same bits on any number of ranks, their solution differs in its last ones.
 *
 * The result is a model of values alone, refit.output: encoder, biases and selection as they were, so the same codes; rows
 * of the decoder as solved, of any norm.  (Norms taken into the encoder would rank other latents first, and give each
 * latent a threshold of its own.)  A latent that does not fire on those rows keeps its row.  A model that selects by
 * gradient, for which rows must have norm 1, becomes one that selects by value.
 *
 * ev before and after is measured on the held-out rows, or without any on the rows that were fitted, and said in the log;
 * json: prints one object to stdout: model, output, latents, fit_rows, silent, ridge (as added), rows, ev_before, ev,
 * checksum.  dry_run: only opens and checks.  Errors: HPS_ECONFIG (grid.memory too small, no rows), HPS_ENUMERIC when Z'Z +
 * ridge is not positive definite, HPS_EIO, HPS_EFORMAT, HPS_ENOMEM, worded for the user.
 */
hps_status hps_study_refit(MPI_Comm world, const hps_config *config, bool json, bool dry_run);

#endif
