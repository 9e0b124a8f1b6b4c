/*
 * Sums over ranks that do not depend on the layout.
 */
#ifndef HPSAE_COMM_SUMS_H
#define HPSAE_COMM_SUMS_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

/* Local.  A count for MPI, which takes an int; a larger one is our bug and ends the job. */
int hps_count(int64_t count);

/* Collective over comm.  Sums fixed-point numbers in place, in any order: integer addition is associative. */
void hps_sum_fixed(MPI_Comm comm, int64_t *values, int64_t count);

/* One sum of double partials: `count` of them here, at most `total` over all ranks.  The set of the partials over all
 * ranks must not depend on the layout (one a column, one a block of rows). */
typedef struct {
    const double *partial;
    int64_t count, total;
} hps_partials;

/*
 * Collective over comm.  sum[g] = the sum of group g's partials over all ranks, in 64-bit fixed point scaled by the
 * largest of them: the same bits on any layout, error below total * 2^-60 of the largest.  A group with a NaN or infinity
 * sums to infinity.  Along with it the `flags` values of flag[] become their maxima over the ranks.
 */
void hps_sum_partials(MPI_Comm comm, int groups, const hps_partials *group, double *sum, int flags, double *flag);

/*
 * Collective over comm.  For each j < width, sum[j] = sum over ranks and blocks of partial[b * width + j], b < blocks;
 * total bounds the number of blocks over all ranks.  As above; one scale for all j.
 */
hps_status hps_sum_rows(MPI_Comm comm, int64_t blocks, int64_t total, int64_t width, const double *partial,
                        double *sum);

#endif
