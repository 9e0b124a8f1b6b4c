/*
 * What a sweep says of itself.
 */
#ifndef HPSAE_CMD_INFO_SWEEP_H
#define HPSAE_CMD_INFO_SWEEP_H

#include "hpsae/base/status.h"

#include <jansson.h>
#include <stdbool.h>

/* Local.  Whether a path is a sweep.json, or a directory with one; that file into path_of, if it is. */
bool hps_info_is_sweep(const char *path, char *path_of, size_t size);

/*
 * Local.  What sweep.json tells: how many points there are, how many are how far, and of those that failed why; all: every
 * point with what it sets.  HPS_EFORMAT.
 */
hps_status hps_info_sweep(const char *path, bool all, json_t *about);

#endif
