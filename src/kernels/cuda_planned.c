/* The CUDA kernels as a rehearsal sees them: their memory, and nothing that computes. */
#include "hpsae/base/memory.h"
#include "hpsae/kernels/cuda_layout.h"

struct hps_workspace {
    char *array[HPS_CUDA_ARRAYS];
};

static void workspace_destroy(hps_workspace **workspace)
{
    if (*workspace == NULL) {
        return;
    }
    for (int i = 0; i < HPS_CUDA_ARRAYS; i++) {
        HPS_FREE(&(*workspace)->array[i]);
    }
    HPS_FREE(workspace);
}

/* A device that screens, and whose shared memory is no limit: which one it will be is not known. */
static hps_status workspace_create(const hps_workspace_size *size, hps_workspace **workspace)
{
    const hps_cuda_layout layout = hps_cuda_layout_of(size, true);

    *workspace = NULL;
    if (size->k_max > HPS_CUDA_SLOTS_MOST) {
        return hps_fail(HPS_ECONFIG,
                        "kernels.backend: cuda selects at most %d latents a token (model.k, train.aux.k), not %lld; "
                        "lower them, or choose auto",
                        HPS_CUDA_SLOTS_MOST, (long long)size->k_max);
    }
    HPS_TRY(HPS_ALLOC(workspace, 1, "kernel workspace"));
    hps_status status = HPS_OK;
    for (int i = 0; i < HPS_CUDA_ARRAYS && status == HPS_OK; i++) {
        status = HPS_ALLOC(&(*workspace)->array[i], layout.bytes[i], hps_cuda_array_name((hps_cuda_array)i));
    }
    if (status != HPS_OK) {
        workspace_destroy(workspace);
    }
    return status;
}

const hps_kernels *hps_kernels_planned(void)
{
    static const hps_batch_kernels batch = {.centre = NULL};
    static const hps_kernels planned = {.name = "cuda",
                                        .isa = "cuda",
                                        .batch = &batch,
                                        .workspace_create = workspace_create,
                                        .workspace_destroy = workspace_destroy};

    return &planned;
}
