/*
 * One run at a time in a directory: its file `lock` names the process that works there, and that process keeps the file's
 * time fresh by a thread, so that others can tell a run that lives from one that was killed.  No locks of the file system
 * are used: on a parallel one they may be missing, or hold for one node alone.
 */
#ifndef HPSAE_BASE_RUN_LOCK_H
#define HPSAE_BASE_RUN_LOCK_H

#include "hpsae/base/status.h"

typedef struct hps_run_lock hps_run_lock;

/* Seconds between two touches of the file, and without one until its process, on a host that cannot be asked, is dead. */
typedef struct {
    double beat, patience;
} hps_run_lock_times;
extern const hps_run_lock_times hps_run_lock_usual; /* 5 and 60 */

/*
 * Local; one process of a run.  Takes the lock of a directory that exists.  One that is there is taken over when
 *   - its process is gone: known at once where it ran under this kernel (boot id, process namespace, start time);
 *   - its Slurm job is this one before it was requeued, or has ended, as squeue says;
 *   - its file is not touched for `patience`; for two beats, where it looks older than that by the clock.
 * A file that is touched is held.  So where neither kernel nor squeue knows, it takes a beat or two to be refused; while
 * squeue says that the holder's job is ending, it is waited for, `patience` and a beat at most.  Error: HPS_EIO (held: one
 * line names job, process, host and since when; or the file cannot be written), HPS_ENOMEM.  Release with
 * hps_run_lock_release.
 */
hps_status hps_run_lock_take(const char *directory, const hps_run_lock_times *times, hps_run_lock **lock);

/*
 * Local.  Whether nobody has taken the lock over, while this process was cut off from the file system or suspended.  Error:
 * HPS_EIO; then nothing more may be written to the directory.  A lock that was removed by hand is still ours.
 */
hps_status hps_run_lock_check(const hps_run_lock *lock);

/* Local.  Removes the file, if it is still ours; frees *lock, if not NULL, and sets it to NULL. */
void hps_run_lock_release(hps_run_lock **lock);

#endif
