/*
 * The global top k of a batch that comes in pieces: one piece's candidate lists travel while the next is being encoded.
 *
 * A piece's tokens are dealt to the ranks.  Each rank gets all ranks' lists of its tokens, merges them with its threads, and
 * spreads the outcome: two rounds of messages, whatever the number of ranks, of together twice the lists a rank.  An
 * allreduce moves as much, but merges on one thread and, when it is not to block, by a tree that moves and merges all lists
 * at every level.  The outcome is that of hps_merge_all.
 */
#ifndef HPSAE_COMM_MERGE_PIECES_H
#define HPSAE_COMM_MERGE_PIECES_H

#include "hpsae/base/candidate.h"
#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

/* One piece on its way. */
typedef struct {
    int64_t B; /* tokens */
    hps_candidate *top;
    int *sent, *from, *arrived, *to, *merged; /* [ranks] bytes and where they begin, of both rounds */
    MPI_Request request;
} hps_merge_piece;

typedef struct {
    MPI_Comm comm;
    int ranks, rank, threads;
    int64_t k;
    hps_candidate *room; /* where the other ranks' lists arrive; borrowed */
    int64_t pieces;      /* so far */
    hps_merge_piece piece[2];
    int *sizes; /* what the pieces' arrays are cut from; owned */
} hps_merge_pieces;

/* Local.  For `ranks` ranks.  HPS_ENOMEM.  Release with hps_merge_pieces_destroy. */
hps_status hps_merge_pieces_create(int ranks, int threads, hps_merge_pieces *m);
void hps_merge_pieces_destroy(hps_merge_pieces *m);

/* Local.  Candidates of room that pieces of at most B tokens need on any rank. */
static inline int64_t hps_merge_room(int ranks, int64_t B, int64_t k)
{
    return (ranks - 1) * ((B + ranks - 1) / ranks) * k;
}

/* Local.  Begins a batch of lists of k candidates; comm has the ranks of create; room as hps_merge_room says. */
void hps_merge_pieces_begin(hps_merge_pieces *m, MPI_Comm comm, int64_t k, hps_candidate *room);

/*
 * Collective over comm.  Sends the lists of B more tokens, top [B, k], each sorted, on their way, and the piece before on
 * its second round.  top is not to be touched until hps_merge_pieces_finish.
 */
void hps_merge_pieces_add(hps_merge_pieces *m, int64_t B, hps_candidate *top);

/* Collective over comm.  All lists that were added are merged, on every rank. */
void hps_merge_pieces_finish(hps_merge_pieces *m);

#endif
