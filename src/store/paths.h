/*
 * Files and directories of a configuration, spread out to files.
 */
#ifndef HPSAE_STORE_PATHS_H
#define HPSAE_STORE_PATHS_H

#include "hpsae/base/status.h"

#include <stdint.h>

typedef struct {
    char **items; /* owned */
    int64_t count;
} hps_paths;

/*
 * Local.  Each path that is a directory is replaced by those of its files that end in one of the suffixes (a list that
 * ends with NULL), in the order of their bytes.  Errors: HPS_EIO (not readable, no such file), HPS_EFORMAT (a directory
 * without such files), HPS_ECONFIG (no path at all), HPS_ENOMEM.  Release with hps_paths_free, also after an error.
 */
hps_status hps_paths_expand(int64_t count, char *const *given, const char *const *suffixes, hps_paths *paths);
void hps_paths_free(hps_paths *paths);

#endif
