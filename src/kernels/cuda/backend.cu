/* The table, the device, its memory and the workspace. */
#include "common.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cuda_check(cudaError_t code, const char *call, const char *file, int line)
{
    if (code != cudaSuccess) {
        hps_fatal(cudaGetErrorString(code), call, file, line);
    }
}

/* ---- the device ------------------------------------------------------------------------------------------------------ */

/* Devices that the kernels can run on: memory that both sides reach, and pages that move when they are touched. */
static int usable_devices(void)
{
    int count = 0;

    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError(); /* no driver, no device: forgotten */
        return 0;
    }
    for (int i = 0; i < count; i++) {
        int pages = 0;
        if (cudaDeviceGetAttribute(&pages, cudaDevAttrConcurrentManagedAccess, i) != cudaSuccess || pages == 0) {
            cudaGetLastError();
            return i;
        }
    }
    return count;
}

extern "C" bool hps_cuda_is_there(void)
{
    static int devices = -1;

    devices = devices < 0 ? usable_devices() : devices;
    return devices > 0;
}

static int bound; /* the device of this process */

static hps_status bind_device(int rank, int ranks)
{
    const int devices = usable_devices();

    if (ranks > devices) {
        return hps_fail(HPS_ECONFIG, "kernels.backend: cuda runs one rank a GPU: a rank of this node sees %d, and %d ranks "
                                     "run there; start %d a node (mpirun --map-by ppr:%d:node), or let each rank see all GPUs of "
                                     "the node (Slurm: --gpus-per-node)",
                        devices, ranks, devices, devices);
    }
    cudaError_t code = cudaSetDevice(rank);
    code = code == cudaSuccess ? cudaFree(NULL) : code; /* which makes a context there */
    if (code != cudaSuccess) {
        cudaGetLastError();
        return hps_fail(HPS_EINTERNAL, "GPU %d of this node cannot be used: %s; nvidia-smi tells what else runs there", rank,
                        cudaGetErrorString(code));
    }
    bound = rank;
    return HPS_OK;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

/* What both sides touch in every step stays with the host, and the device reaches over; all else moves to the device. */
static void *take(size_t bytes, bool both_sides, size_t why_size, char *why)
{
    size_t left = 0, all = 0;
    void *block = NULL;

    CUDA(cudaSetDevice(bound)); /* a thread of its own begins with the first device */
    CUDA(cudaMemGetInfo(&left, &all));
    if (both_sides) {
        if (cudaHostAlloc(&block, bytes, cudaHostAllocPortable | cudaHostAllocMapped) != cudaSuccess) {
            cudaGetLastError();
            snprintf(why, why_size, "the host has no more memory that a GPU can reach");
            return NULL;
        }
        memset(block, 0, bytes);
        return block;
    }
    if (bytes > left || cudaMallocManaged(&block, bytes, cudaMemAttachGlobal) != cudaSuccess) {
        cudaGetLastError();
        snprintf(why, why_size, "GPU %d has %.0f of its %.0f MiB left; use more GPUs, or a smaller model or batch", bound,
                 (double)left / 1048576, (double)all / 1048576);
        return NULL;
    }
    enum { LARGE = 1 << 20 };
    if (bytes >= LARGE) { /* zeroed where it will be used */
#if CUDART_VERSION >= 13000
        const cudaMemLocation here = {cudaMemLocationTypeDevice, bound};
        CUDA(cudaMemAdvise(block, bytes, cudaMemAdviseSetPreferredLocation, here));
#else
        CUDA(cudaMemAdvise(block, bytes, cudaMemAdviseSetPreferredLocation, bound));
#endif
        CUDA(cudaMemset(block, 0, bytes));
        CUDA(cudaStreamSynchronize(0));
    } else {
        memset(block, 0, bytes);
    }
    return block;
}

static void give(void *block, bool both_sides)
{
    if (both_sides) {
        cudaFreeHost(block);
    } else {
        cudaFree(block);
    }
}

const hps_memory_source cuda_memory = {take, give};

static int64_t memory_left(void)
{
    size_t left = 0, all = 0;

    CUDA(cudaSetDevice(bound));
    CUDA(cudaMemGetInfo(&left, &all));
    return (int64_t)left;
}

/* ---- the workspace --------------------------------------------------------------------------------------------------- */

/* Where the workspace keeps an array of the layout. */
static void **place_of(hps_workspace *ws, int array)
{
    void *const place[] = {
#define X(name, member, what) &ws->member,
        HPS_CUDA_ARRAY_LIST(X)
#undef X
    };

    return (void **)place[array];
}

static void workspace_destroy(hps_workspace **workspace)
{
    hps_workspace *ws = *workspace;

    if (ws == NULL) {
        return;
    }
    for (int i = 0; i < HPS_CUDA_ARRAYS; i++) {
        cudaFree(*place_of(ws, i));
    }
    cudaFreeHost(ws->seen);
    HPS_FREE(workspace);
}

/* Zeroed memory of the device. */
static hps_status room(void **array, int64_t bytes, const char *what)
{
    size_t left = 0, all = 0;

    if (cudaMalloc(array, (size_t)bytes) != cudaSuccess) {
        cudaGetLastError();
        *array = NULL;
        cudaMemGetInfo(&left, &all);
        return hps_fail(HPS_ENOMEM, "%s: no memory for %.1f MiB: the GPU has %.0f of its %.0f MiB left; use more GPUs, or a "
                                    "smaller model or batch",
                        what, (double)bytes / 1048576, (double)left / 1048576, (double)all / 1048576);
    }
    CUDA(cudaMemset(*array, 0, (size_t)bytes));
    return HPS_OK;
}

static hps_status make_workspace(hps_workspace *ws)
{
    const hps_workspace_size *s = &ws->size;
    int device = 0, major = 0, shared = 0;

    CUDA(cudaGetDevice(&device));
    CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    CUDA(cudaDeviceGetAttribute(&ws->processors, cudaDevAttrMultiProcessorCount, device));
    CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    const int fit = shared / HPS_CUDA_SHARED_BYTES_A_SLOT, most = fit < HPS_CUDA_SLOTS_MOST ? fit : HPS_CUDA_SLOTS_MOST;
    if (s->k_max > most) {
        return hps_fail(HPS_ECONFIG, "kernels.backend: cuda selects at most %d latents a token here (model.k, train.aux.k), "
                                     "not %lld; lower them, or choose auto",
                        most, (long long)s->k_max);
    }
    ws->stages = cuda_screen_stages(shared);
    ws->screens = major >= 8 && ws->stages >= 2;
    const hps_cuda_layout layout = hps_cuda_layout_of(s, ws->screens);
    ws->depth = layout.depth;
    ws->capacity = (int)layout.capacity;
    ws->pairs = layout.pairs;
    for (int i = 0; i < HPS_CUDA_ARRAYS; i++) {
        if (layout.bytes[i] > 0) {
            HPS_TRY(room(place_of(ws, i), layout.bytes[i], hps_cuda_array_name((hps_cuda_array)i)));
        }
    }
    if (cudaHostAlloc((void **)&ws->seen, HPS_CUDA_HEAD * sizeof(*ws->seen), cudaHostAllocDefault) != cudaSuccess) {
        cudaGetLastError();
        return hps_fail(HPS_ENOMEM, "the host has no memory left that a GPU can reach; use fewer ranks a node");
    }
    return HPS_OK;
}

static hps_status workspace_create(const hps_workspace_size *size, hps_workspace **workspace)
{
    const hps_memory_source *until_now = hps_memory_use(NULL); /* its struct is the host's */
    hps_status status = HPS_ALLOC(workspace, 1, "kernel workspace");

    hps_memory_use(until_now);
    if (status == HPS_OK) {
        (*workspace)->size = *size;
        status = make_workspace(*workspace);
    }
    if (status != HPS_OK) {
        workspace_destroy(workspace);
    }
    return status;
}

extern "C" {
extern const hps_kernels hps_kernels_ref_portable;

/* Nothing chooses this backend by measuring: the limits of bench are the host's. */
static double host_peak(int64_t rounds)
{
    return hps_kernels_ref_portable.float_peak(rounds);
}

extern const hps_kernels hps_cuda_kernels;
const hps_kernels hps_cuda_kernels = {
    .name = "cuda",
    .isa = "cuda",
    .memory = &cuda_memory,
    .bind = bind_device,
    .memory_left = memory_left,
    .batch = &cuda_batch,
    .workspace_create = workspace_create,
    .workspace_destroy = workspace_destroy,
    .prepare = cuda_prepare,
    .encode = cuda_encode,
    .decode = cuda_decode,
    .encode_above = cuda_encode_above,
    .slot_dots = cuda_slot_dots,
    .nested = cuda_nested,
    .suffix_rows = cuda_suffix_rows,
    .nested_sums = cuda_nested_sums,
    .column_sums = cuda_column_sums,
    .update_decoder = cuda_update_decoder,
    .update_encoder = cuda_update_encoder,
    .gradients = cuda_gradients,
    .normalise = cuda_normalise,
    .screen_peak = host_peak,
    .screen_trial = host_peak,
    .float_peak = host_peak,
};
}
