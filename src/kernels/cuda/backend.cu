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

/* ---- the workspace --------------------------------------------------------------------------------------------------- */

static int64_t round_up(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit * unit;
}

static void workspace_destroy(hps_workspace **workspace)
{
    hps_workspace *ws = *workspace;

    if (ws == NULL) {
        return;
    }
    void *const block[] = {ws->q_y, ws->q_enc, ws->a, ws->b, ws->norm, ws->lost, ws->sample, ws->threshold, ws->count,
                           ws->list, ws->failed, ws->pair, ws->sums, ws->top, ws->scratch, ws->key[0], ws->key[1],
                           ws->value[0], ws->value[1], ws->token, ws->temporary};
    for (size_t i = 0; i < sizeof(block) / sizeof(block[0]); i++) {
        cudaFree(block[i]);
    }
    cudaFreeHost(ws->seen);
    HPS_FREE(workspace);
}

/* Zeroed memory of the device. */
template <typename T> static hps_status room(T **array, int64_t count, const char *what)
{
    const size_t bytes = (size_t)(count > 0 ? count : 1) * sizeof(T);
    size_t left = 0, all = 0;

    if (cudaMalloc(array, bytes) != cudaSuccess) {
        cudaGetLastError();
        *array = NULL;
        cudaMemGetInfo(&left, &all);
        return hps_fail(HPS_ENOMEM, "%s: no memory for %.1f MiB: the GPU has %.0f of its %.0f MiB left; use more GPUs, or a "
                                    "smaller model or batch",
                        what, (double)bytes / 1048576, (double)left / 1048576, (double)all / 1048576);
    }
    CUDA(cudaMemset(*array, 0, bytes));
    return HPS_OK;
}

static hps_status make_screen(hps_workspace *ws)
{
    const int64_t t = ws->tokens;

    HPS_TRY(room(&ws->q_y, t * ws->depth, "packed activations"));
    HPS_TRY(room(&ws->q_enc, ws->rows * ws->depth, "packed encoder rows"));
    HPS_TRY(room(&ws->a, t, "bounds of the screen"));
    HPS_TRY(room(&ws->b, t, "bounds of the screen"));
    HPS_TRY(room(&ws->norm, ws->rows, "bounds of the screen"));
    HPS_TRY(room(&ws->lost, ws->rows, "bounds of the screen"));
    HPS_TRY(room(&ws->sample, t * 16 * TILE_N, "sampled pre-activations"));
    HPS_TRY(room(&ws->threshold, t, "thresholds"));
    HPS_TRY(room(&ws->count, t, "candidates"));
    HPS_TRY(room(&ws->list, t * ws->capacity, "candidates"));
    HPS_TRY(room(&ws->failed, t + 1, "candidates"));
    return room(&ws->pair, ws->pairs, "candidates");
}

static hps_status make_workspace(hps_workspace *ws)
{
    const hps_workspace_size *s = &ws->size;
    int device = 0, major = 0, shared = 0;
    enum { HEAD = 4, MOST = 8192 };

    CUDA(cudaGetDevice(&device));
    CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    CUDA(cudaDeviceGetAttribute(&ws->processors, cudaDevAttrMultiProcessorCount, device));
    CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    if (s->k_max > MOST || s->k_max * 32 > shared) {
        return hps_fail(HPS_ECONFIG, "kernels.backend: cuda selects at most %d latents a token here, not %lld", 
                        shared / 32 < MOST ? shared / 32 : MOST, (long long)s->k_max);
    }
    ws->stages = cuda_screen_stages(shared);
    ws->screens = major >= 8 && ws->stages >= 2;
    ws->depth = round_up(s->d, DEPTH);
    ws->tokens = round_up(s->B, TILE_T);
    ws->rows = round_up(s->own, TILE_N);
    for (ws->capacity = 1024; ws->capacity < 4096 && ws->capacity < 8 * s->k_max; ws->capacity *= 2) {
    }
    ws->pairs = 4 * s->B * (s->k_max < 256 ? 256 : s->k_max);
    HPS_TRY(room(&ws->sums, HEAD + s->d, "sums"));
    HPS_TRY(room(&ws->top, s->B * s->k_max, "candidates"));
    HPS_TRY(room(&ws->scratch, 4 * (s->B + 1), "counts"));
    if (cudaHostAlloc((void **)&ws->seen, HEAD * sizeof(*ws->seen), cudaHostAllocDefault) != cudaSuccess) {
        cudaGetLastError();
        return hps_fail(HPS_ENOMEM, "the host has no memory that a GPU can reach");
    }
    return ws->screens ? make_screen(ws) : HPS_OK;
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
