/*
 * Residuals in files: OUTPUT/residuals-J/ holds the input of stage J, a store of float32 rows with one file for each file
 * of the store that the ensemble is trained on, row for row.  While they are made, the directory is residuals-J.tmp.
 */
#ifndef HPSAE_ENSEMBLE_RESIDUALS_H
#define HPSAE_ENSEMBLE_RESIDUALS_H

#include "training.h"

#include "hpsae/base/file.h"

/* Local.  The directory with the input of stage j, from 1 (the second stage); for messages and for data.store. */
hps_status hps_residuals_directory(const hps_ensemble_training *t, int j, char path[HPS_PATH_MAX]);

/*
 * Collective over t->world.  Makes the input of stage j, from 1, unless it stands there whole: from the nearest residuals
 * before it that do, or the store, through the stages in between, which are complete.  Files that are torn are written anew.
 * Errors: HPS_ECONFIG when residuals of another chain stand there; HPS_STOPPED, HPS_EIO, and those of reading models.
 */
hps_status hps_residuals_make(hps_ensemble_training *t, int j);

/* Collective over t->world.  Removes the inputs of stages before the last complete one, unless ensemble.keep says all. */
hps_status hps_residuals_drop(hps_ensemble_training *t);

/*
 * Collective over t->world.  Whether the residuals that stand belong to this chain, and whether there is room for those that
 * the stages first .. last need; tells how much.  Errors: HPS_ECONFIG, HPS_EIO.
 */
hps_status hps_residuals_check(hps_ensemble_training *t, int first, int last);

/*
 * Collective over t->world.  Writes the residuals of `source`, whose rows are the input of stage `from`, after the stages
 * from .. to - 1: files named by `name` for each of the store's.  For hps_residuals_make.
 */
typedef hps_status hps_residual_name(const hps_ensemble_training *t, int j, int64_t file, char path[HPS_PATH_MAX],
                                     char fingerprint[128]);
hps_status hps_residuals_write(hps_ensemble_training *t, hps_store *source, int from, int to, hps_residual_name *name);

#endif
