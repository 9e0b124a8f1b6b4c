/*
 * What a file of codes says of the dictionary, or the ensemble, whose codes it holds.
 */
#ifndef HPSAE_STUDY_CODES_ABOUT_H
#define HPSAE_STUDY_CODES_ABOUT_H

#include "codes_file.h"

#include "hpsae/ensemble/ensemble.h"

/* Collective over comm, the model's ranks.  All but rows and hook, of a dictionary; strings are the model's. */
hps_codes_about hps_codes_about_model(MPI_Comm comm, const hps_model *model);

/*
 * Local.  The same of an ensemble; thresholds [members] is filled in, and named where all members select by one.
 * Borrows both.
 */
hps_codes_about hps_codes_about_ensemble(const hps_ensemble *ensemble, double *thresholds);

#endif
