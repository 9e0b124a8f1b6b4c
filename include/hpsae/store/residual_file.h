/*
 * A file of residuals being written: a store of float32 rows, row for row those of another store's file, by all ranks.
 *
 * Rows come in slabs of HPS_RESIDUAL_SLAB; slab s belongs to rank s mod size, which writes it as one contiguous block, by a
 * thread, while the next are made.  Tokens, labels and gradients of the other file stay usable: /tokens, /labels and
 * /gradients are external links to it.  The file is PATH.tmp until it is whole.
 */
#ifndef HPSAE_STORE_RESIDUAL_FILE_H
#define HPSAE_STORE_RESIDUAL_FILE_H

#include "hpsae/base/status.h"
#include "hpsae/store/store.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

enum { HPS_RESIDUAL_SLAB = 4096 }; /* rows: 256 times a power of two, as statistics want them */

/* What the file says of itself: its sizes, and whose residuals they are. */
typedef struct {
    int64_t rows, d;
    const char *hook;       /* as data.hook names it: under /activations, or with a leading slash a path */
    const char *model_name; /* "" where not known */
    bool shuffled;
    uint64_t whitening;      /* of the store that all this began with; 0: none */
    const char *beside;      /* the other store's file */
    uint64_t store;          /* hps_store_identity of the store that all this began with */
    int stage;               /* whose reconstruction was taken off last, from 1 */
    uint64_t config_hash;    /* of that stage */
    uint64_t checksum;       /* of its parameters */
    const char *fingerprint; /* of the whole chain before, and of this file's place among its like */
} hps_residual_about;

typedef enum { HPS_RESIDUAL_NONE, HPS_RESIDUAL_TORN, HPS_RESIDUAL_OTHER, HPS_RESIDUAL_WHOLE } hps_residual_state;

typedef struct hps_residual_file hps_residual_file;

/* Local.  What stands at path: nothing; a file that is unreadable, truncated or unfinished; another chain's; this one. */
hps_residual_state hps_residual_look(const char *path, const char *fingerprint);

/* Local.  Bytes of such a file, amply. */
int64_t hps_residual_bytes(int64_t rows, int64_t d);

/*
 * Collective over comm.  Whether `bytes` can be written near `path`; nothing is written.  Error: HPS_EIO, worded with the
 * room there is.
 */
hps_status hps_residual_room(MPI_Comm comm, const char *path, int64_t bytes);

/*
 * Collective over comm.  Lays the file out and takes the room for it.  Errors: HPS_EIO, HPS_ENOMEM; nothing is then left.
 * Ends with hps_residual_finish.
 */
hps_status hps_residual_create(MPI_Comm comm, const char *path, const hps_residual_about *about,
                               hps_residual_file **file);

/*
 * Local, on the rank to which the slab belongs, for its slabs in ascending order.  x [rows, ld]: all rows of the slab;
 * copied.  Error: HPS_EIO, of this slab or of an earlier one.
 */
hps_status hps_residual_write(hps_residual_file *file, int64_t slab, int64_t ld, const float *x);

/*
 * Collective over comm.  mine: how this rank came through.  When all did: statistics, the mark `complete`, the name; after
 * a failure the unfinished file is removed, and that failure is returned.  Frees *file and sets it to NULL.
 */
hps_status hps_residual_finish(hps_residual_file **file, hps_status mine);

#endif
