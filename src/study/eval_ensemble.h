/*
 * `hpsae eval` of an ensemble.
 */
#ifndef HPSAE_STUDY_EVAL_ENSEMBLE_H
#define HPSAE_STUDY_EVAL_ENSEMBLE_H

#include "hpsae/config/config.h"
#include "hpsae/model/dataset.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  As hps_study_eval, of the ensemble directory `path`.  Keys of the object: metrics.md's names mse
 * fvu ev ev_dimmean l0 (all members' values together) dead alive_eval density (of all members' latents); ev_at_k, by
 * members and not by slots: lists members (1 .. J), k (those members' together), l0 and ev, the first j members being an
 * ensemble of their own; of bagging also members_ev and members_mse (means over the members alone), spread (mean over
 * members of |x_j - xbar|^2) and identity = members_mse - spread, which is mse (math.md 5); member, a list of objects
 * (directory latents k selection l0 dead step tokens checksum, of bagging ev mse); model, hook, ensemble (bagging,
 * boosting), members, latents, k, rows, checksum (of all members' values); left_out, names of figures that are of one
 * dictionary and not measured.  Errors: as there, and those of hps_ensemble_load.
 */
hps_status hps_eval_ensemble(MPI_Comm world, const hps_config *config, const char *path, bool json, bool dry_run);

/* Local.  The rows to evaluate.  Error: HPS_ECONFIG when there are none.  Shared with the evaluation of one model. */
hps_status hps_eval_rows(const hps_config *config, const hps_dataset *data, int64_t *first, int64_t *rows);

#endif
