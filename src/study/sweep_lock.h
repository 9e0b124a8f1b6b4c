/*
 * A file that one process at a time may hold locked; the lock goes with the process, however it ends.
 *
 * Not base/run_lock.h: that one refuses at once, needs no locks of the file system, and takes up to a minute to know a
 * holder on another host for dead.  This one is waited for, many times a minute, for the milliseconds in which a table is
 * written, and asked whether it is held without being taken.  Where a file system does not carry it between hosts, a table may
 * lack the row of a point until the next one ends; no run is at risk, for each takes its run lock besides.
 */
#ifndef HPSAE_STUDY_SWEEP_LOCK_H
#define HPSAE_STUDY_SWEEP_LOCK_H

#include "hpsae/base/status.h"

#include <stdbool.h>

typedef enum { HPS_LOCK_HELD, HPS_LOCK_BUSY, HPS_LOCK_NONE } hps_lock_state;

/*
 * Local.  Makes the file, if need be, and locks it (fcntl, which parallel file systems carry between nodes, where they know
 * locks at all); waits: for as long as another process holds it.  HPS_LOCK_NONE: the file system knows no locks, all goes on
 * without.  *file to be given to hps_lock_release.  Error: HPS_EIO (the file cannot be made).
 */
hps_status hps_lock_take(const char *path, bool waits, int *file, hps_lock_state *state);
void hps_lock_release(int *file);

/* Local.  Whether another process holds it. */
bool hps_lock_is_held(const char *path);

#endif
