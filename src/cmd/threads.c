#include "threads.h"

#include "hpsae/base/status.h"

#include <omp.h>
#include <sched.h>
#include <stdlib.h>

/* The processors that any rank on this host may use, shared out among its ranks; at most those of this rank. */
static int fair_share(MPI_Comm world)
{
    MPI_Comm host;
    cpu_set_t mine, all;
    int ranks;

    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof(mine), &mine) != 0) {
        CPU_SET(0, &mine);
    }
    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host));
    HPS_MPI(MPI_Comm_size(host, &ranks));
    HPS_MPI(MPI_Allreduce(&mine, &all, sizeof(all), MPI_BYTE, MPI_BOR, host));
    HPS_MPI(MPI_Comm_free(&host));

    const int share = CPU_COUNT(&all) / ranks, own = CPU_COUNT(&mine);
    return share < 1 ? 1 : share < own ? share : own;
}

int hps_threads_choose(MPI_Comm world, hps_config *config)
{
    const int share = fair_share(world);
    int threads = getenv("OMP_NUM_THREADS") != NULL ? omp_get_max_threads() : share;

    if (config != NULL && config->grid.threads != HPS_AUTO_INT) {
        threads = (int)config->grid.threads;
    }
    if (config != NULL) {
        config->grid.threads = threads;
    }
    omp_set_num_threads(threads);
    return threads;
}
