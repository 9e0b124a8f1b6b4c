/*
 * A store's statistics, mean row and mean of |x|^2, the same bits however the rows were dealt out.
 *
 * Rows are summed in blocks of 256 in row order, blocks by a fixed binary tree over their numbers: what 2^h blocks from a
 * multiple of 2^h on sum to is a node of that tree.  A slab is such a range of rows, whatever h; its sum is found on one
 * rank, and the slabs' sums are joined by the same tree.  Sums are in double; the tree keeps their rounding small.
 */
#ifndef HPSAE_STORE_STATISTICS_H
#define HPSAE_STORE_STATISTICS_H

#include "hpsae/base/status.h"
#include "hpsae/base/words.h"

#include <mpi.h>
#include <stdint.h>

enum { HPS_STATISTICS_BLOCK = 256 };

typedef struct {
    int64_t rows, d;
    hps_dtype dtype;
    int64_t slab_rows; /* 256 times a power of two */
    int64_t slabs;     /* of the whole store */
    int rank, size;    /* slab s belongs to rank s mod size */
    int levels;
    double *slab_sums;               /* [slabs of this rank, 2 d]: sums of x, then of x^2 */
    double *tree;                    /* [levels, 2 d]: the node of each level that waits for its sibling */
    double *leaf;                    /* [2 d] */
    float *row;                      /* [d] */
    int64_t slab, leaf_rows, blocks; /* where summing stands within the slab */
} hps_statistics;

/* Local.  For a store of rows [rows, d] in slabs of slab_rows.  Error: HPS_ENOMEM.  Release with hps_statistics_free. */
hps_status hps_statistics_create(MPI_Comm comm, int64_t rows, int64_t d, hps_dtype dtype, int64_t slab_rows,
                                 hps_statistics *statistics);
void hps_statistics_free(hps_statistics *statistics);

/* Local.  Bytes that hps_statistics_create allocates on the rank that needs most. */
int64_t hps_statistics_bytes(int64_t rows, int64_t d, int64_t slab_rows, int size);

/* Local.  Begins a slab of this rank; then all its rows are added in order, in pieces of any number of rows. */
void hps_statistics_begin(hps_statistics *statistics, int64_t slab);
void hps_statistics_add(hps_statistics *statistics, int64_t rows, const void *words);
void hps_statistics_end(hps_statistics *statistics);

/* Collective over comm.  When all slabs were added: mean [d] and mean of |x|^2, valid on rank 0. */
void hps_statistics_finish(MPI_Comm comm, hps_statistics *statistics, double *mean, double *mean_sq_norm);

#endif
