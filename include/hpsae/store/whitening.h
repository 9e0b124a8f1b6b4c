/*
 * Whitened activations: x' = W (x - mu) with W = (C + eps I)^(-1/2), symmetric ("ZCA": of all whitening maps the one whose
 * result is nearest to x, so that columns stay what they were; Kessy, Lewin, Strimmer 2018).  A store of them is a store as
 * any other that also holds the map, and is known by it.
 *
 * In the file: /whitening/mean [d], /whitening/W and /whitening/inverse [d, d], float64; root attributes `whitening` (the
 * map's identity, 16 hexadecimal digits), whitening_store (hps_store_identity of the store that it was made from),
 * whitening_first, whitening_rows (the rows that were fitted), whitening_shrink.
 */
#ifndef HPSAE_STORE_WHITENING_H
#define HPSAE_STORE_WHITENING_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t d;
    double *mean;    /* [d] mu */
    double *W;       /* [d, d], symmetric */
    double *inverse; /* [d, d] W^-1, symmetric */
} hps_whitening;

/* Local.  Zeros.  HPS_ENOMEM.  Release with hps_whitening_free, also after an error. */
hps_status hps_whitening_create(int64_t d, hps_whitening *whitening);
void hps_whitening_free(hps_whitening *whitening);

/* Local.  A hash of its numbers, never 0, which stands for no whitening. */
uint64_t hps_whitening_identity(const hps_whitening *whitening);

/* Local.  That of what is left of whitened activations when a dictionary's reconstruction is taken off: it has no mu. */
uint64_t hps_whitening_of_residuals(uint64_t identity);

/*
 * Local.  The whitening of a store: path is its file, or a directory of which the first file counts.  Errors: HPS_EIO,
 * HPS_ENOMEM; HPS_EFORMAT: it holds none, or a damaged one.  Release with hps_whitening_free.
 */
hps_status hps_whitening_read(char *path, hps_whitening *whitening, uint64_t *identity);

/* What a whitened copy is made from, and how. */
typedef struct {
    const hps_list *store;   /* files or directories; borrowed, as all here */
    const char *hook;        /* as for hps_store_open */
    const char *path;        /* of the copy, which pca.whiten names */
    const char *fingerprint; /* of all that the copy depends on */
    uint64_t identity;       /* of the store */
    int64_t first, rows;     /* that the map was fitted on */
    double shrink;
    int threads;
} hps_whitened_copy;

/*
 * Collective over comm.  Writes the copy: one file, float32, row for row the store's, with its tokens and labels; gradients
 * as g' = W^-1 g, since x = W^-1 x' + mu.  A row's numbers depend on that row and the map alone, so the file is the same
 * bytes on any number of ranks and threads.  It is PATH.tmp until it is whole.  Errors: HPS_EIO, HPS_ENOMEM; HPS_EFORMAT for a
 * row that is not finite, before or after; nothing is then left.
 */
hps_status hps_whitened_write(MPI_Comm comm, const hps_whitened_copy *copy, const hps_whitening *whitening);

/* Local.  Bytes that a rank holds in the call beside the map, about. */
int64_t hps_whitened_bytes(int64_t rows, int64_t d);

/*
 * Collective over comm.  *done: a copy of this fingerprint stands at path.  HPS_ECONFIG: something else does.
 */
hps_status hps_whitened_look(MPI_Comm comm, const char *path, const char *fingerprint, bool *done);

#endif
