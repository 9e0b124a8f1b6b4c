#include "hpsae/comm/merge_pieces.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"
#include "hpsae/comm/sums.h"

#include <string.h>

enum { ARRAYS = 5 };

hps_status hps_merge_pieces_create(int ranks, int threads, hps_merge_pieces *m)
{
    *m = (hps_merge_pieces){.ranks = ranks, .threads = threads};
    HPS_TRY(HPS_ALLOC(&m->sizes, (int64_t)2 * ARRAYS * ranks, "sizes of messages"));
    for (int i = 0; i < 2; i++) {
        int *at = m->sizes + (int64_t)i * ARRAYS * ranks;
        m->piece[i] = (hps_merge_piece){.sent = at,
                                        .from = at + ranks,
                                        .arrived = at + 2 * ranks,
                                        .to = at + 3 * ranks,
                                        .merged = at + 4 * ranks,
                                        .request = MPI_REQUEST_NULL};
    }
    return HPS_OK;
}

void hps_merge_pieces_destroy(hps_merge_pieces *m)
{
    HPS_FREE(&m->sizes);
}

void hps_merge_pieces_begin(hps_merge_pieces *m, MPI_Comm comm, int64_t k, int64_t share, hps_candidate *room)
{
    HPS_MPI(MPI_Comm_rank(comm, &m->rank));
    m->comm = comm;
    m->k = k;
    m->share = share;
    m->room = room;
    m->pieces = 0;
}

/* First round: each rank's tokens go to it, its own lists too, since the merged ones will stand in their place. */
static void send(const hps_merge_pieces *m, hps_merge_piece *p)
{
    const int64_t list = m->share * (int64_t)sizeof(hps_candidate);
    const int64_t mine = p->B * (m->rank + 1) / m->ranks - p->B * m->rank / m->ranks;

    for (int q = 0; q < m->ranks; q++) {
        const int64_t begin = p->B * q / m->ranks, end = p->B * (q + 1) / m->ranks;
        p->from[q] = hps_count(begin * list);
        p->sent[q] = hps_count((end - begin) * list);
        p->to[q] = hps_count(q * mine * list);
        p->arrived[q] = hps_count(mine * list);
    }
    HPS_MPI(
        MPI_Ialltoallv(p->top, p->sent, p->from, MPI_BYTE, m->room, p->arrived, p->to, MPI_BYTE, m->comm, &p->request));
}

/* The k best of a token whose lists stand `apart` from one another in the room. */
static void merge_token(const hps_merge_pieces *m, const hps_candidate *list, int64_t apart, hps_candidate *top)
{
    bool held_back = false;

    memcpy(top, list, (size_t)m->share * sizeof(*top));
    for (int64_t s = m->share; s < m->k; s++) {
        top[s] = HPS_NO_CANDIDATE;
    }
    for (int q = 1; q < m->ranks; q++) {
        hps_merge_lists(m->share, list + q * apart, m->k, top);
    }
    for (int q = 0; m->share < m->k && q < m->ranks; q++) {
        held_back |= hps_merge_held_back(list[q * apart + m->share - 1], m->k, top);
    }
    if (held_back) {
        top->latent = ~top->latent;
    }
}

/* Second round: what was merged goes to all. */
static void spread(const hps_merge_pieces *m, hps_merge_piece *p)
{
    const int64_t begin = p->B * m->rank / m->ranks, mine = p->B * (m->rank + 1) / m->ranks - begin;
    const int64_t list = m->k * (int64_t)sizeof(hps_candidate);
    hps_candidate *top = p->top + begin * m->k;

    /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): begun by send */
    HPS_MPI(MPI_Wait(&p->request, MPI_STATUS_IGNORE));
#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (int64_t t = 0; t < mine; t++) {
        merge_token(m, m->room + t * m->share, mine * m->share, top + t * m->k);
    }
    for (int q = 0; q < m->ranks; q++) {
        const int64_t first = p->B * q / m->ranks, end = p->B * (q + 1) / m->ranks;
        p->from[q] = hps_count(first * list);
        p->merged[q] = hps_count((end - first) * list);
    }
    HPS_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, p->top, p->merged, p->from, MPI_BYTE, m->comm, &p->request));
}

void hps_merge_pieces_add(hps_merge_pieces *m, int64_t B, hps_candidate *top)
{
    hps_merge_piece *now = &m->piece[m->pieces % 2], *before = &m->piece[1 - m->pieces % 2];

    /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): the one but last, begun by spread */
    HPS_MPI(MPI_Wait(&now->request, MPI_STATUS_IGNORE));
    if (m->pieces > 0) {
        spread(m, before);
    }
    now->B = B;
    now->top = top;
    send(m, now);
    m->pieces++;
}

void hps_merge_pieces_finish(hps_merge_pieces *m)
{
    if (m->pieces > 0) {
        spread(m, &m->piece[1 - m->pieces % 2]);
    }
    for (int i = 0; i < 2; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): begun by spread */
        HPS_MPI(MPI_Wait(&m->piece[i].request, MPI_STATUS_IGNORE));
    }
    m->pieces = 0;
}
