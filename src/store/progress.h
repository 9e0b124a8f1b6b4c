/*
 * Progress of a pass over data: a line every few seconds with share, rate and the time that is left.
 */
#ifndef HPSAE_STORE_PROGRESS_H
#define HPSAE_STORE_PROGRESS_H

#include <stdint.h>

typedef struct {
    const char *module, *verb; /* borrowed */
    int64_t bytes, done;       /* of this rank */
    int ranks;                 /* that work alike */
    double began, said;
} hps_progress;

/* Local.  Begins a pass in which each of `ranks` ranks moves about `bytes`. */
void hps_progress_begin(const char *module, const char *verb, int64_t bytes, int ranks, hps_progress *progress);

/* Local.  Counts bytes; speaks (through the log, so on rank 0) when five seconds have passed since it last did. */
void hps_progress_add(hps_progress *progress, int64_t bytes);

#endif
