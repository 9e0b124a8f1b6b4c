#include "hpsae/comm/sums.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"

#include <limits.h>
#include <stdio.h>

enum { MOST = 32 }; /* groups and flags of one call */

int hps_count(int64_t count)
{
    if (count < 0 || count > INT_MAX) {
        hps_mpi_fatal(MPI_ERR_COUNT, "a message of more elements than MPI counts", __FILE__, __LINE__);
    }
    return (int)count;
}

void hps_sum_fixed(MPI_Comm comm, int64_t *values, int64_t count)
{
    enum { PIECE = 1 << 26 };

    for (int64_t i = 0; i < count; i += PIECE) {
        const int64_t piece = count - i < PIECE ? count - i : PIECE;
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, values + i, hps_count(piece), MPI_INT64_T, MPI_SUM, comm));
    }
}

/* The largest absolute value; infinity if there is a NaN. */
static double largest(int64_t count, const double *values)
{
    double most = 0;

    for (int64_t i = 0; i < count; i++) {
        const double size = fabs(values[i]);
        if (!(size <= most)) {
            most = isnan(size) ? HUGE_VAL : size;
        }
    }
    return most;
}

static double scale_for(double most, int64_t total)
{
    return hps_fixed_scale(most * (double)(total > 0 ? total : 1));
}

void hps_sum_partials(MPI_Comm comm, int groups, const hps_partials *group, double *sum, int flags, double *flag)
{
    double most[MOST];
    int64_t fixed[MOST] = {0};

    if (groups + flags > MOST) {
        hps_mpi_fatal(MPI_ERR_COUNT, "hps_sum_partials", __FILE__, __LINE__);
    }
    for (int g = 0; g < groups; g++) {
        most[g] = largest(group[g].count, group[g].partial);
    }
    for (int f = 0; f < flags; f++) {
        most[groups + f] = flag[f];
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, most, groups + flags, MPI_DOUBLE, MPI_MAX, comm));
    for (int f = 0; f < flags; f++) {
        flag[f] = most[groups + f];
    }
    for (int g = 0; g < groups; g++) {
        for (int64_t i = 0; isfinite(most[g]) && i < group[g].count; i++) {
            fixed[g] += hps_to_fixed(group[g].partial[i], scale_for(most[g], group[g].total));
        }
    }
    hps_sum_fixed(comm, fixed, groups);
    for (int g = 0; g < groups; g++) {
        sum[g] = isfinite(most[g]) ? hps_from_fixed(fixed[g], scale_for(most[g], group[g].total)) : HUGE_VAL;
    }
}

hps_status hps_sum_rows(MPI_Comm comm, int64_t blocks, int64_t total, int64_t width, const double *partial, double *sum)
{
    int64_t *fixed;
    double most = largest(blocks * width, partial);

    HPS_TRY(hps_agree(comm, HPS_ALLOC(&fixed, width, "sums over rows")));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_DOUBLE, MPI_MAX, comm));
    const double scale = scale_for(most, total);
    for (int64_t b = 0; isfinite(most) && b < blocks; b++) {
        for (int64_t j = 0; j < width; j++) {
            fixed[j] += hps_to_fixed(partial[b * width + j], scale);
        }
    }
    hps_sum_fixed(comm, fixed, width);
    for (int64_t j = 0; j < width; j++) {
        sum[j] = isfinite(most) ? hps_from_fixed(fixed[j], scale) : HUGE_VAL;
    }
    HPS_FREE(&fixed);
    return HPS_OK;
}
