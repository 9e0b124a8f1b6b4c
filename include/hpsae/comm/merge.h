/*
 * The global top k: candidate lists of all model ranks merged by an MPI reduction.  The merge keeps the k first of two
 * sorted lists in the total order of base/candidate.h, so it is associative and commutative, and the outcome is the
 * sorted top k of the whole dictionary on any number of ranks.
 */
#ifndef HPSAE_COMM_MERGE_H
#define HPSAE_COMM_MERGE_H

#include "hpsae/base/candidate.h"
#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

/*
 * Local.  Of a, m <= k candidates, and b, k of them, both sorted, the first k together into b; a may not be part of b.
 */
void hps_merge_lists(int64_t m, const hps_candidate *a, int64_t k, hps_candidate *b);

typedef struct {
    MPI_Datatype list; /* k candidates */
    MPI_Op op;
    int64_t k;
} hps_merge;

/* Local.  For lists of k >= 1 candidates.  Release with hps_merge_destroy before MPI_Finalize. */
void hps_merge_create(int64_t k, hps_merge *merge);
void hps_merge_destroy(hps_merge *merge);

/* Collective over comm.  Merges the lists of B tokens, top [B, k], each sorted, in place on every rank. */
void hps_merge_all(MPI_Comm comm, const hps_merge *merge, int64_t B, hps_candidate *top);

#endif
