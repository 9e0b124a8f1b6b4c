/*
 * Small files and directories: what is written appears whole or not at all.
 */
#ifndef HPSAE_BASE_FILE_H
#define HPSAE_BASE_FILE_H

#include "hpsae/base/status.h"

#include <stddef.h>

enum { HPS_PATH_MAX = 4096 };

/* Local.  DIRECTORY/NAME into path.  Error: HPS_EARG when it is longer than HPS_PATH_MAX - 1. */
hps_status hps_path_join(const char *directory, const char *name, char path[HPS_PATH_MAX]);

/*
 * Local.  Writes length bytes to PATH.tmp, syncs, renames it to PATH; a failure removes the .tmp and leaves the old file
 * as it was.  Error: HPS_EIO with the path and the system's reason.
 */
hps_status hps_file_replace(const char *path, const char *bytes, size_t length);

/*
 * Local.  Makes a directory with its parents; one that exists is fine.  Checks that it can be written to.  Error:
 * HPS_EIO with the part that could not be made and the reason.
 */
hps_status hps_directory_make(const char *path);

#endif
