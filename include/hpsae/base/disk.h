/*
 * Large files that appear whole or not at all: room for them is taken before the first collective write, so that a full
 * disk is one rank's error at the start, not some ranks' in the middle.
 */
#ifndef HPSAE_BASE_DISK_H
#define HPSAE_BASE_DISK_H

#include "hpsae/base/status.h"

#include <stdint.h>

/*
 * Local.  Makes sure of the room for the first `bytes` of a file, which is created, and made as long, if need be.  Where
 * the file system cannot reserve, the free space is compared.  Error: HPS_EIO "PATH: no room for 12.3 MiB: REASON".
 */
hps_status hps_disk_reserve(const char *path, int64_t bytes);

/*
 * Local.  Syncs a finished file, gives it its name, syncs the directory: after a crash the name means the whole file.
 * Error: HPS_EIO.
 */
hps_status hps_disk_commit(const char *temporary, const char *path);

#endif
