#include "hpsae/comm/lists.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <stdlib.h>
#include <string.h>

enum { RADIX_BITS = 8, BINS = 1 << RADIX_BITS };

/* Positive floats are ordered as their bits are. */
static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

float hps_lists_select(MPI_Comm comm, int64_t count, const float *value, int64_t rank)
{
    uint32_t known = 0;
    float cut;

    for (int shift = 32 - RADIX_BITS; shift >= 0; shift -= RADIX_BITS) {
        int64_t bin[BINS] = {0};
        int b = BINS - 1;
        for (int64_t i = 0; i < count; i++) {
            const uint32_t bits = bits_of(value[i]);
            if ((uint64_t)bits >> (shift + RADIX_BITS) == (uint64_t)known >> (shift + RADIX_BITS)) {
                bin[bits >> shift & (BINS - 1)]++;
            }
        }
        hps_sum_fixed(comm, bin, BINS);
        for (; b > 0 && bin[b] < rank; b--) {
            rank -= bin[b];
        }
        known |= (uint32_t)b << shift;
    }
    memcpy(&cut, &known, sizeof(cut));
    return cut;
}

static int in_order(const void *a, const void *b)
{
    const hps_candidate *x = a, *y = b;

    return hps_before(*x, *y) ? -1 : hps_before(*y, *x);
}

void hps_lists_sort(int64_t B, const int32_t *first, hps_candidate *all)
{
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t t = 0; t < B; t++) {
        qsort(all + first[t], (size_t)(first[t + 1] - first[t]), sizeof(*all), in_order);
    }
}

/* Deals the ranks' lists, one after the other in `from`, to the tokens. */
static void deal(int ranks, int64_t B, const int32_t *counts, const hps_candidate *from, int32_t *first,
                 hps_candidate *all)
{
    int64_t taken = 0;

    first[0] = 0;
    for (int64_t t = 0; t < B; t++) {
        first[t + 1] = first[t];
        for (int r = 0; r < ranks; r++) {
            first[t + 1] += counts[r * B + t];
        }
    }
    /* first[t] runs ahead to the token's end while its lists arrive, and is set back after. */
    for (int r = 0; r < ranks; r++) {
        for (int64_t t = 0; t < B; t++) {
            const int32_t some = counts[r * B + t];
            memcpy(all + first[t], from + taken, (size_t)some * sizeof(*all));
            first[t] += some;
            taken += some;
        }
    }
    for (int64_t t = B; t > 0; t--) {
        first[t] = first[t - 1];
    }
    first[0] = 0;
}

hps_status hps_lists_create(int ranks, int64_t B, int64_t capacity, hps_lists *lists)
{
    lists->ranks = ranks;
    lists->B = B;
    lists->capacity = capacity;
    HPS_TRY(HPS_ALLOC(&lists->counts, lists->ranks * B, "gathered lists"));
    HPS_TRY(HPS_ALLOC(&lists->arrived, capacity, "gathered lists"));
    HPS_TRY(HPS_ALLOC(&lists->bytes, lists->ranks, "gathered lists"));
    return HPS_ALLOC(&lists->offset, lists->ranks, "gathered lists");
}

void hps_lists_destroy(hps_lists *lists)
{
    HPS_FREE(&lists->counts);
    HPS_FREE(&lists->arrived);
    HPS_FREE(&lists->bytes);
    HPS_FREE(&lists->offset);
}

void hps_lists_gather(MPI_Comm comm, hps_lists *lists, int64_t B, const int32_t *count, const hps_candidate *list,
                      int32_t *first, hps_candidate *all)
{
    int64_t total = 0;
    int rank;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    HPS_MPI(MPI_Allgather(count, hps_count(B), MPI_INT32_T, lists->counts, hps_count(B), MPI_INT32_T, comm));
    for (int r = 0; r < lists->ranks; r++) {
        const int64_t before = total;
        for (int64_t t = 0; t < B; t++) {
            total += lists->counts[r * B + t];
        }
        lists->offset[r] = hps_count(before * (int64_t)sizeof(*list));
        lists->bytes[r] = hps_count((total - before) * (int64_t)sizeof(*list));
    }
    if (total > lists->capacity) {
        hps_mpi_fatal(MPI_ERR_COUNT, "hps_lists_gather", __FILE__, __LINE__);
    }
    HPS_MPI(MPI_Allgatherv(list, lists->bytes[rank], MPI_BYTE, lists->arrived, lists->bytes, lists->offset, MPI_BYTE,
                           comm));
    deal(lists->ranks, B, lists->counts, lists->arrived, first, all);
}
