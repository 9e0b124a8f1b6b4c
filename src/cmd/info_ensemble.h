/*
 * What an ensemble, and a file of residuals between its stages, says of itself.
 */
#ifndef HPSAE_CMD_INFO_ENSEMBLE_H
#define HPSAE_CMD_INFO_ENSEMBLE_H

#include "command.h"

#include "hpsae/ensemble/ensemble_file.h"

#include <jansson.h>

/* Local.  What ensemble.json of a directory told, as names and values: method, sizes, and of each member how far it is. */
void hps_info_ensemble(const char *directory, const hps_ensemble_file *file, json_t *about);

/*
 * Local, on rank 0.  If an activation store's file holds the residuals after a stage of boosting: kind "residuals", whether
 * it is complete, and of which stage, run and store; else nothing.
 */
void hps_info_residuals(const char *path, json_t *about);

/* Local, on rank 0.  Whether a file holds such residuals and was not written to its end. */
bool hps_info_unfinished_residuals(const char *path);

#endif
