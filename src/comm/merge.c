#include "hpsae/comm/merge.h"

#include "hpsae/comm/sums.h"

#include <string.h>

/*
 * The first k together are x of a and y of b, x + y = k: a[x] is among them when it comes before what x others would push
 * out.  Written from the last one on, they fit into b in place, since what is left of b always ends at or before the place
 * to write.
 */
void hps_merge_lists(int64_t m, const hps_candidate *a, int64_t k, hps_candidate *b)
{
    int64_t x = 0;

    while (x < m && hps_before(a[x], b[k - 1 - x])) {
        x++;
    }
    int64_t y = k - x;
    for (int64_t s = k - 1; x > 0; s--) {
        b[s] = y > 0 && hps_before(a[x - 1], b[y - 1]) ? b[--y] : a[--x];
    }
}

static void merge_op(void *in, void *inout, int *count, MPI_Datatype *type)
{
    const hps_candidate *a = in;
    hps_candidate *b = inout;
    int bytes;

    MPI_Type_size(*type, &bytes);
    const int64_t k = bytes / (int64_t)sizeof(hps_candidate);
    for (int64_t t = 0; t < *count; t++) {
        hps_merge_lists(k, a + t * k, k, b + t * k);
    }
}

void hps_merge_create(int64_t k, hps_merge *merge)
{
    merge->k = k;
    HPS_MPI(MPI_Type_contiguous(hps_count(k * (int64_t)sizeof(hps_candidate)), MPI_BYTE, &merge->list));
    HPS_MPI(MPI_Type_commit(&merge->list));
    HPS_MPI(MPI_Op_create(merge_op, 1, &merge->op));
}

void hps_merge_destroy(hps_merge *merge)
{
    if (merge->k > 0) {
        HPS_MPI(MPI_Op_free(&merge->op));
        HPS_MPI(MPI_Type_free(&merge->list));
        merge->k = 0;
    }
}

void hps_merge_all(MPI_Comm comm, const hps_merge *merge, int64_t B, hps_candidate *top)
{
    int ranks;

    HPS_MPI(MPI_Comm_size(comm, &ranks));
    if (ranks > 1) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, top, hps_count(B), merge->list, merge->op, comm));
    }
}
