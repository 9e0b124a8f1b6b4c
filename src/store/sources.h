/*
 * Several files with activations as one table: rows numbered through in the order of the files.
 */
#ifndef HPSAE_STORE_SOURCES_H
#define HPSAE_STORE_SOURCES_H

#include "source.h"

#include <mpi.h>

typedef struct {
    hps_source *items; /* [count]; owned */
    int64_t count;
    int64_t *first; /* [count + 1] number of each file's first row, then of all rows; owned */
    int64_t rows, d;
    bool same_dtype;
} hps_sources;

/*
 * Collective over comm.  Spreads out directories to their files with one of the suffixes (as hps_paths_expand), opens
 * every file on every rank, and checks that all have the same d, and that all ranks saw the same.  Errors: those of
 * hps_source_open, HPS_EFORMAT for files that disagree, HPS_EINTERNAL when ranks see different files; the same on all
 * ranks; nothing is then left open.  Release with hps_sources_close (local).
 */
hps_status hps_sources_open(MPI_Comm comm, int64_t count, char *const *paths, const char *const *suffixes,
                            hps_choice choice, hps_sources *sources);
void hps_sources_close(hps_sources *sources);

/* Local.  The file in which a row stands; 0 <= row < rows. */
int64_t hps_sources_find(const hps_sources *sources, int64_t row);

#endif
