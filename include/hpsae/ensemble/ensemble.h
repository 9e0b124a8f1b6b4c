/*
 * An ensemble: several dictionaries that are used as one, xhat = sum_j alpha_j g_j (Gadgil, Lin, Lee, arXiv:2505.16077;
 * math.md 5).  Bagging: all members see x, alpha_j = 1 / J.  Boosting: member j sees what its predecessors left, alpha_j =
 * 1.  It is a dictionary of all members' latents, numbered consecutively over the members; each keeps its own selection.
 */
#ifndef HPSAE_ENSEMBLE_ENSEMBLE_H
#define HPSAE_ENSEMBLE_ENSEMBLE_H

#include "hpsae/comm/grid.h"
#include "hpsae/ensemble/ensemble_file.h"
#include "hpsae/model/model.h"

#include <stdint.h>

typedef struct {
    const hps_grid *grid;   /* borrowed */
    hps_ensemble_file file; /* method, members, d, what is said of each member */
    hps_model **model;      /* [members]; owned */
    int64_t *offset;        /* [members + 1] latent i of member j is offset[j] + i; the last is their number */
    uint64_t *own;          /* [members] checksum of the values in use: the averages where a member has them */
    uint64_t checksum;      /* of the method and those, in their order */
} hps_ensemble;

/*
 * Collective over grid->model.  Loads all members of an ensemble directory, each as hps_model_load does.  Errors, agreed:
 * HPS_ECONFIG when the directory is no ensemble, or a member is not trained to its end; HPS_EFORMAT when a member is not
 * that which ensemble.json names, or members do not fit together (d; of bagging the scaling of inputs; stages after the
 * first of boosting scale nothing); and those of hps_ensemble_read and hps_model_load.  Release with hps_ensemble_destroy.
 */
hps_status hps_ensemble_load(const hps_grid *grid, const char *directory, hps_ensemble **ensemble);
void hps_ensemble_destroy(hps_ensemble **ensemble);

/* Collective over comm.  Whether a path is an ensemble's directory.  Errors: those of hps_ensemble_read. */
hps_status hps_ensemble_is(MPI_Comm comm, const char *path, bool *ensemble);

/* Local.  "bagging" "boosting". */
const char *hps_ensemble_name(const hps_ensemble *ensemble);

/* Local.  alpha_j, the same for all members. */
double hps_ensemble_coefficient(const hps_ensemble *ensemble);

/* Local.  The sum of the members' k. */
int64_t hps_ensemble_k(const hps_ensemble *ensemble);

#endif
