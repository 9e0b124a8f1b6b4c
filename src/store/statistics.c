#include "statistics.h"

#include "hpsae/base/memory.h"

#include <stdbool.h>
#include <string.h>

static int levels_for(int64_t blocks)
{
    int levels = 1;

    while ((int64_t)1 << (levels - 1) < blocks) {
        levels++;
    }
    return levels + 1;
}

static int64_t ceiling(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

int64_t hps_statistics_bytes(int64_t rows, int64_t d, int64_t slab_rows, int size)
{
    const int64_t slabs = ceiling(rows, slab_rows);

    return (ceiling(slabs, size) + levels_for(ceiling(rows, HPS_STATISTICS_BLOCK)) + 1) * 2 * d *
               (int64_t)sizeof(double) +
           d * (int64_t)sizeof(float);
}

hps_status hps_statistics_create(MPI_Comm comm, int64_t rows, int64_t d, hps_dtype dtype, int64_t slab_rows,
                                 hps_statistics *statistics)
{
    hps_statistics *s = statistics;

    *s = (hps_statistics){.rows = rows, .d = d, .dtype = dtype, .slab_rows = slab_rows};
    HPS_MPI(MPI_Comm_rank(comm, &s->rank));
    HPS_MPI(MPI_Comm_size(comm, &s->size));
    s->slabs = ceiling(rows, slab_rows);
    s->levels = levels_for(ceiling(rows, HPS_STATISTICS_BLOCK));
    HPS_TRY(HPS_ALLOC(&s->slab_sums, ceiling(s->slabs, s->size) * 2 * d, "the slabs' statistics"));
    HPS_TRY(HPS_ALLOC(&s->tree, s->levels * 2 * d, "statistics"));
    HPS_TRY(HPS_ALLOC(&s->leaf, 2 * d, "statistics"));
    return HPS_ALLOC(&s->row, d, "statistics");
}

void hps_statistics_free(hps_statistics *statistics)
{
    HPS_FREE(&statistics->slab_sums);
    HPS_FREE(&statistics->tree);
    HPS_FREE(&statistics->leaf);
    HPS_FREE(&statistics->row);
}

void hps_statistics_begin(hps_statistics *s, int64_t slab)
{
    s->slab = slab;
    s->blocks = 0;
    s->leaf_rows = 0;
    memset(s->leaf, 0, (size_t)s->d * 2 * sizeof(double));
}

/* right becomes left + right. */
static void join(int64_t width, const double *left, double *right)
{
    for (int64_t j = 0; j < width; j++) {
        right[j] = left[j] + right[j];
    }
}

/* The leaf goes up the tree as far as siblings wait; it is then empty. */
static void carry(hps_statistics *s)
{
    const int64_t width = 2 * s->d;
    int level = 0;

    for (; s->blocks >> level & 1; level++) {
        join(width, s->tree + level * width, s->leaf);
    }
    memcpy(s->tree + level * width, s->leaf, (size_t)width * sizeof(double));
    memset(s->leaf, 0, (size_t)width * sizeof(double));
    s->blocks++;
    s->leaf_rows = 0;
}

/* What waits in the tree, joined from the smallest node up, into sum. */
static void fold(const hps_statistics *s, int64_t nodes, double *sum)
{
    const int64_t width = 2 * s->d;
    bool first = true;

    for (int level = 0; nodes >> level != 0; level++) {
        if (nodes >> level & 1) {
            if (first) {
                memcpy(sum, s->tree + level * width, (size_t)width * sizeof(double));
            } else {
                join(width, s->tree + level * width, sum);
            }
            first = false;
        }
    }
}

void hps_statistics_add(hps_statistics *s, int64_t rows, const void *words)
{
    const size_t row_bytes = (size_t)s->d * hps_dtype_size(s->dtype);
    double *sum = s->leaf, *square = s->leaf + s->d;

    for (int64_t r = 0; r < rows; r++) {
        hps_words_to_float(s->dtype, s->d, (const char *)words + (size_t)r * row_bytes, s->row);
        for (int64_t c = 0; c < s->d; c++) {
            const double x = (double)s->row[c];
            sum[c] += x;
            square[c] += x * x;
        }
        if (++s->leaf_rows == HPS_STATISTICS_BLOCK) {
            carry(s);
        }
    }
}

void hps_statistics_end(hps_statistics *s)
{
    if (s->leaf_rows > 0) {
        carry(s);
    }
    fold(s, s->blocks, s->slab_sums + s->slab / s->size * 2 * s->d);
}

/* Rank 0 takes the slabs in order, whole ones by the tree; only the last may be shorter, and is joined first. */
static void gather(MPI_Comm comm, hps_statistics *s)
{
    const int64_t width = 2 * s->d, whole_blocks = s->slab_rows / HPS_STATISTICS_BLOCK;
    const MPI_Count bytes = (MPI_Count)width * (MPI_Count)sizeof(double);

    s->blocks = 0;
    for (int64_t slab = 0; slab < s->slabs; slab++) {
        const int owner = (int)(slab % s->size);
        double *sums = s->slab_sums + slab / s->size * width;
        if (s->rank == owner && owner != 0) {
            HPS_MPI(MPI_Send(sums, (int)bytes, MPI_BYTE, 0, 0, comm));
        }
        if (s->rank == 0) {
            if (owner == 0) {
                memcpy(s->leaf, sums, (size_t)bytes);
            } else {
                HPS_MPI(MPI_Recv(s->leaf, (int)bytes, MPI_BYTE, owner, 0, comm, MPI_STATUS_IGNORE));
            }
            if (slab < s->slabs - 1 || ceiling(s->rows - slab * s->slab_rows, HPS_STATISTICS_BLOCK) == whole_blocks) {
                carry(s);
            }
        }
    }
}

void hps_statistics_finish(MPI_Comm comm, hps_statistics *s, double *mean, double *mean_sq_norm)
{
    const int64_t width = 2 * s->d;
    double total = 0;

    gather(comm, s);
    if (s->rank != 0) {
        return;
    }
    /* What stands in the leaf is the sum of a last, shorter slab, or zero. */
    for (int level = 0; s->blocks >> level != 0; level++) {
        if (s->blocks >> level & 1) {
            join(width, s->tree + level * width, s->leaf);
        }
    }
    for (int64_t c = 0; c < s->d; c++) {
        mean[c] = s->leaf[c] / (double)s->rows;
        total += s->leaf[s->d + c];
    }
    *mean_sq_norm = total / (double)s->rows;
}
