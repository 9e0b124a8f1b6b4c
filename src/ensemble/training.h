/*
 * The parts of an ensemble's training, between the files that set it up and those that train one kind of ensemble each.
 */
#ifndef HPSAE_ENSEMBLE_TRAINING_H
#define HPSAE_ENSEMBLE_TRAINING_H

#include "hpsae/base/report.h"
#include "hpsae/ensemble/ensemble_file.h"
#include "hpsae/ensemble/train.h"
#include "hpsae/model/dataset.h"
#include "hpsae/model/train.h"

typedef struct {
    MPI_Comm world;
    int rank, size;           /* in world */
    const hps_config *config; /* as read */
    hps_ensemble_options options;
    hps_dataset dataset; /* the store */
    hps_ensemble_file file;
    hps_config **member; /* [file.members] each one's own, resolved; owned */
    hps_train_job job;
    hps_run *run; /* run.json of the whole */
} hps_ensemble_training;

/*
 * Local.  The configuration of member j, from 0, of the ensemble, resolved for the store `info`: a run by itself, which
 * `hpsae train` would train alike.  Owned by the caller.  Errors: HPS_ENOMEM, HPS_EARG (path too long).
 */
hps_status hps_member_config(const hps_config *ensemble, int j, const char *directory, const hps_store_info *info,
                             hps_config **member);

/* Local.  Whether there are ranks for the groups asked for.  Error: HPS_ECONFIG. */
hps_status hps_bagging_check(const hps_ensemble_training *t);

/* Collective over t->world.  Trains the members that are not complete, and notes them in t->file. */
hps_status hps_bagging_train(hps_ensemble_training *t);

/*
 * Collective over t->world, before anything is written.  Whether the residuals that stand are of this chain, and whether
 * there is room for those to be written.  Errors: HPS_ECONFIG, HPS_EIO.
 */
hps_status hps_boosting_check(hps_ensemble_training *t);

/* Collective over t->world.  Trains the stages that are not complete, or the one asked for. */
hps_status hps_boosting_train(hps_ensemble_training *t);

/* Local.  Notes in t->file what came of member j. */
void hps_ensemble_note(hps_ensemble_training *t, int j, const hps_train_result *result);

/* Collective over t->world.  Rank 0 writes ensemble.json. */
hps_status hps_ensemble_save(const hps_ensemble_training *t);

#endif
