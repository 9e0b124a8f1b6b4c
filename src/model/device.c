#include "hpsae/model/device.h"

#include "hpsae/base/memory.h"

static hps_status bind(MPI_Comm world, const hps_kernels *kernels)
{
    MPI_Comm node;
    int rank, ranks, all;

    HPS_MPI(MPI_Comm_size(MPI_COMM_WORLD, &all));
    HPS_MPI(MPI_Comm_size(world, &ranks));
    if (ranks != all) {
        return hps_fail(HPS_ECONFIG, "kernels.backend: cuda serves one training at a time, not groups of ranks side by "
                                     "side; start as many ranks as a training has, or choose auto");
    }

    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    HPS_MPI(MPI_Comm_rank(node, &rank));
    HPS_MPI(MPI_Comm_size(node, &ranks));
    HPS_MPI(MPI_Comm_free(&node));
    return kernels->bind(rank, ranks);
}

hps_status hps_device_take(MPI_Comm world, hps_backend backend, const hps_kernels **kernels)
{
    HPS_TRY(hps_agree(world, hps_kernels_choose(backend, kernels)));
    /* Whether to take a device depends on the configuration alone: auto never chooses one. */
    if (backend == HPS_BACKEND_CUDA && (*kernels)->bind != NULL) {
        HPS_TRY(hps_agree(world, bind(world, *kernels)));
    }
    hps_memory_use((*kernels)->memory);
    return HPS_OK;
}

int64_t hps_device_left(MPI_Comm world, const hps_kernels *kernels)
{
    int64_t left = kernels->memory_left != NULL ? kernels->memory_left() : 0;

    if (kernels->memory_left != NULL) { /* as on every rank */
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &left, 1, MPI_INT64_T, MPI_MIN, world));
    }
    return left;
}

hps_status hps_device_without(hps_backend backend, const hps_kernels **kernels)
{
    if (backend == HPS_BACKEND_CUDA) {
        return hps_fail(HPS_ECONFIG,
                        "kernels.backend: cuda serves training, evaluation and encoding of one dictionary, and "
                        "bench; choose auto here");
    }
    return hps_kernels_choose(backend, kernels);
}
