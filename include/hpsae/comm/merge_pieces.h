/*
 * The global top k of a batch that comes in pieces: one piece's candidate lists travel while the next is being encoded.
 *
 * A piece's tokens are dealt to the ranks.  Each rank gets all ranks' lists of its tokens, merges them with its threads, and
 * spreads the outcome: two rounds of messages, whatever the number of ranks, of together twice the lists a rank.  An
 * allreduce moves as much, but merges on one thread and, when it is not to block, by a tree that moves and merges all lists
 * at every level.
 *
 * A rank's list may be shorter than what is wanted of all: `share` of its candidates, where the k best of all ranks are
 * sought.  As long as a rank's last one is not among the k best, the rank held back nothing that could be.  Where one is, the
 * token is marked, the same on every rank: its list may lack candidates that the rank did not send.
 */
#ifndef HPSAE_COMM_MERGE_PIECES_H
#define HPSAE_COMM_MERGE_PIECES_H

#include "hpsae/base/candidate.h"
#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/* One piece on its way. */
typedef struct {
    int64_t B;                                /* tokens */
    hps_candidate *top;                       /* [B, share], later [B, k] */
    int *sent, *from, *arrived, *to, *merged; /* [ranks] bytes and where they begin, of both rounds */
    MPI_Request request;
} hps_merge_piece;

typedef struct {
    MPI_Comm comm;
    int ranks, rank, threads;
    int64_t k, share;
    hps_candidate *room; /* where the ranks' lists arrive; borrowed */
    int64_t pieces;      /* so far */
    hps_merge_piece piece[2];
    int *sizes; /* what the pieces' arrays are cut from; owned */
} hps_merge_pieces;

/* Local.  For `ranks` ranks.  HPS_ENOMEM.  Release with hps_merge_pieces_destroy. */
hps_status hps_merge_pieces_create(int ranks, int threads, hps_merge_pieces *m);
void hps_merge_pieces_destroy(hps_merge_pieces *m);

/* Local.  Candidates of room that pieces of at most B tokens need on any rank. */
static inline int64_t hps_merge_room(int ranks, int64_t B, int64_t share)
{
    return ranks * ((B + ranks - 1) / ranks) * share;
}

/*
 * Local.  Begins a batch whose k best are sought among lists of share <= k candidates; comm has the ranks of create; room as
 * hps_merge_room says.
 */
void hps_merge_pieces_begin(hps_merge_pieces *m, MPI_Comm comm, int64_t k, int64_t share, hps_candidate *room);

/*
 * Collective over comm.  Sends the lists of B more tokens, each sorted, on their way, and the piece before on its second
 * round.  top [B, k]: the lists stand in front, [B, share]; it is not to be touched until hps_merge_pieces_finish, after
 * which it holds the k best of each token.
 */
void hps_merge_pieces_add(hps_merge_pieces *m, int64_t B, hps_candidate *top);

/* Collective over comm.  All lists that were added are merged, on every rank; those in doubt are marked. */
void hps_merge_pieces_finish(hps_merge_pieces *m);

/*
 * Local.  Whether a list of share candidates that ends with `last` may go on with one of positive value that belongs among
 * the k best, top [k] being the best of all such lists.  A list that ends with HPS_NO_CANDIDATE is complete.
 */
static inline bool hps_merge_held_back(hps_candidate last, int64_t k, const hps_candidate *top)
{
    return last.value > 0 && !hps_before(top[k - 1], last);
}

/* Local.  Whether a merged list is marked; takes the mark off.  Lists of share = k never are. */
static inline bool hps_merge_take_mark(hps_candidate *top)
{
    const bool marked = top->latent < 0;

    top->latent = marked ? ~top->latent : top->latent;
    return marked;
}

#endif
