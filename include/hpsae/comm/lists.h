/*
 * Candidates of which a rank has any number a token: cut at the globally largest ones, and gathered.
 */
#ifndef HPSAE_COMM_LISTS_H
#define HPSAE_COMM_LISTS_H

#include "hpsae/base/candidate.h"
#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

/*
 * Collective over comm.  The value of the `rank`-th largest (1 = the largest) of all ranks' values together, which are
 * finite and above 0; there are at least that many.  Four small messages: a radix selection over the bits.
 */
float hps_lists_select(MPI_Comm comm, int64_t count, const float *value, int64_t rank);

/* Local.  Puts each token's candidates all[first[t] ... first[t + 1] - 1] into the order of hps_before. */
void hps_lists_sort(int64_t B, const int32_t *first, hps_candidate *all);

/* What gathering works in. */
typedef struct {
    int ranks;
    int64_t B, capacity;
    int32_t *counts;        /* [ranks, B] */
    hps_candidate *arrived; /* [capacity] */
    int *bytes, *offset;    /* [ranks] */
} hps_lists;

/* Local.  For lists of so many ranks, up to B tokens and `capacity` candidates over all ranks.  HPS_ENOMEM.  Release with hps_lists_destroy. */
hps_status hps_lists_create(int ranks, int64_t B, int64_t capacity, hps_lists *lists);
void hps_lists_destroy(hps_lists *lists);

/*
 * Collective over comm.  Every rank's candidates of B tokens, to every rank.  In: count [B] candidates a token, list,
 * tightly by token; together they fit the capacity.  Out: first [B + 1], all [first[B]] by token, those of a lower rank
 * first.
 */
void hps_lists_gather(MPI_Comm comm, hps_lists *lists, int64_t B, const int32_t *count, const hps_candidate *list,
                      int32_t *first, hps_candidate *all);

#endif
