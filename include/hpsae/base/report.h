/*
 * What a run says to programs: run.json (what ran, where, how it ended) and metrics.jsonl (one object a logged step).
 */
#ifndef HPSAE_BASE_REPORT_H
#define HPSAE_BASE_REPORT_H

#include "hpsae/base/status.h"

#include <jansson.h>
#include <stdint.h>

/* Local.  A number for a report; null for NaN and infinity, which JSON does not have. */
json_t *hps_json_real(double value);

typedef struct hps_run hps_run;

/*
 * Collective over comm.  Makes `directory` with its parents, takes its lock (hpsae/base/run_lock.h: a second run in the same
 * directory is refused) and writes run.json there: the facts of the build, command
 * line, start time (UTC), ranks, threads, hosts with their ranks, Slurm's job if there is one, "status": "running".
 * comm must outlive the run.  Errors: HPS_EIO (the directory cannot be made or written to, or another run works there),
 * HPS_ENOMEM.  Release with hps_run_end.
 */
hps_status hps_run_begin(MPI_Comm comm, const char *directory, int argc, char *const *argv, hps_run **run);

/* Local.  Adds a key, or replaces its value; takes the value over.  Counts on rank 0 only.  Written by the next _save. */
void hps_run_note(hps_run *run, const char *key, json_t *value);

/* Collective over comm.  Before more is written: whether the lock is still this run's.  Error: HPS_EIO. */
hps_status hps_run_check(const hps_run *run);

/* Collective over comm.  Writes run.json anew, beside the old one, then renamed.  Error: HPS_EIO. */
hps_status hps_run_save(hps_run *run);

/*
 * Collective over comm.  Ends run.json with the time and "status": "complete" for HPS_OK, "stopped" for HPS_STOPPED, else
 * "failed: " and the words of the failure; gives the lock back; frees *run, if not NULL, and sets it to NULL.  `how` is the same on every
 * rank.  Returns `how`, with its message; a run.json that could not be written counts only when `how` was HPS_OK.
 */
hps_status hps_run_end(hps_run **run, hps_status how);

typedef struct hps_metrics hps_metrics;

/*
 * Local (rank 0).  Opens metrics.jsonl for appending.  With step >= 0, lines up to the first whose "step" is beyond
 * `step`, or that is torn, are kept, the rest is cut off: what a resumed run writes again.  With step < 0 the file starts
 * empty.  Error: HPS_EIO.  Release with hps_metrics_close.
 */
hps_status hps_metrics_open(const char *path, int64_t step, hps_metrics **metrics);

/* Local.  Appends one object as one line and flushes it; takes the object over.  Errors: HPS_EIO, HPS_ENOMEM. */
hps_status hps_metrics_line(hps_metrics *metrics, json_t *line);

/* Local.  Closes and frees *metrics, if not NULL, and sets it to NULL. */
void hps_metrics_close(hps_metrics **metrics);

#endif
