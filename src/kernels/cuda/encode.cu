/* Selection: what the screen left, or every latent, in canonical float32; the k first in the total order. */
#include "common.cuh"

static const int THREADS = 256, FOURS = THREADS / 4;

static __device__ inline float pre_activation(int64_t d, const float *e, const float *y, float bias)
{
    return dot_by_four(d, e, y) + bias;
}

/* ---- after the screen: a block a token ----------------------------------------------------------------------------- */

/* Writes the k first of `count` (a power of two) sorted keys. */
static __device__ inline void write_top(int64_t k, int count, const u64 *key, hps_candidate *top)
{
    for (int64_t s = threadIdx.x; s < k; s += blockDim.x) {
        top[s] = s < count && key[s] != 0 ? candidate_of(key[s]) : candidate_of((u64)0x007fffffu << 32);
    }
}

/*
 * The token's list holds all latents whose upper bound reaches its threshold.  If the k-th largest lower bound does too, no
 * other latent can be among the k first: those of the list that can are computed.  Else the token is noted as failed.
 */
static __global__ void decide(const hps_encoder enc, int64_t ldy, const float *y, int64_t k, const hps_workspace w,
                              hps_candidate *top)
{
    extern __shared__ u64 key[]; /* [capacity] */
    float2 *kept = (float2 *)(key + w.capacity);
    __shared__ int left;
    const int64_t t = blockIdx.x;
    const int count = w.count[t];
    const float a = w.a[t], b = w.b[t];
    const float2 *list = w.list + t * w.capacity;
    int room = WARP;

    for (; room < count; room *= 2) {
    }
    bool fails = count < k || count > w.capacity || !isfinite(a) || !isfinite(b);
    if (!fails) {
        for (int i = threadIdx.x; i < room; i += blockDim.x) {
            const float2 c = i < count ? list[i] : make_float2(-INFINITY, 0);
            const int l = __float_as_int(c.y);
            const float bound = a * w.norm[l] + (b * w.lost[l] + (1e-6f * fabsf(enc.b_enc[l]) + 1e-30f));
            const float lower = c.x - bound;
            key[i] = i < count && !isnan(lower) ? key_of(lower, 0) : 0;
        }
        if (threadIdx.x == 0) {
            left = 0;
        }
        __syncthreads();
        sort_keys(room, key);
        const float least = key[k - 1] != 0 ? candidate_of(key[k - 1]).value : -INFINITY;
        fails = !(least >= w.threshold[t]) || key[k - 1] == 0;
        for (int i = threadIdx.x; !fails && i < count; i += blockDim.x) {
            const float2 c = list[i];
            const int l = __float_as_int(c.y);
            const float bound = a * w.norm[l] + (b * w.lost[l] + (1e-6f * fabsf(enc.b_enc[l]) + 1e-30f));
            if (!(c.x + bound < least)) {
                kept[atomicAdd(&left, 1)] = c;
            }
        }
        __syncthreads();
    }
    if (fails) {
        if (threadIdx.x == 0) {
            w.failed[1 + atomicAdd(w.failed, 1)] = (int)t;
        }
        return;
    }
    const int some = left;
    for (room = WARP; room < some; room *= 2) {
    }
    for (int i = threadIdx.x / 4; i < (room + FOURS - 1) / FOURS * FOURS; i += FOURS) {
        const int l = i < some ? __float_as_int(kept[i].y) : 0;
        const float p = pre_activation(enc.d, enc.W_enc + l * enc.lde, y + t * ldy, enc.b_enc[l]);
        if (threadIdx.x % 4 == 0 && i < room) {
            key[i] = i < some ? key_of(p, enc.latent[l]) : 0;
        }
    }
    __syncthreads();
    sort_keys(room, key);
    write_top(k, room, key, top + t * k);
}

/* ---- without it ---------------------------------------------------------------------------------------------------- */

/*
 * A block a token, or one of those that failed, or with gridDim.y > 1 a slice of its rows: canonically, `half` rows at a time
 * beside the best `half` so far.  A slice leaves its best in part [token, slice, half].
 */
static __global__ void encode_all(const hps_encoder enc, int64_t m, const int32_t *rows, int64_t ldy, const float *y,
                                  const int *failed, int64_t k, int half, hps_candidate *top, u64 *part)
{
    extern __shared__ u64 key[]; /* [2 half] */
    const int64_t t = failed != NULL ? failed[blockIdx.x] : blockIdx.x;
    const int64_t begin = m * blockIdx.y / gridDim.y, end = m * (blockIdx.y + 1) / gridDim.y;

    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        key[i] = 0;
    }
    for (int64_t first = begin; first < end; first += half) {
        __syncthreads();
        const u64 last = key[k - 1];
        bool any = false;
        for (int i = threadIdx.x / 4; i < (half + FOURS - 1) / FOURS * FOURS; i += FOURS) {
            const bool real = i < half && first + i < end;
            const int64_t l = real ? (rows != NULL ? rows[first + i] : first + i) : 0;
            const float p = pre_activation(enc.d, enc.W_enc + l * enc.lde, y + t * ldy, enc.b_enc[l]);
            const u64 here = real ? key_of(p, enc.latent[l]) : 0;
            if (threadIdx.x % 4 == 0 && i < half) {
                key[half + i] = here;
                any |= here > last;
            }
        }
        if (__syncthreads_or(any)) {
            sort_keys(2 * half, key);
        }
    }
    __syncthreads();
    if (part == NULL) {
        write_top(k, half, key, top + t * k);
    }
    for (int i = threadIdx.x; part != NULL && i < half; i += blockDim.x) {
        part[(blockIdx.x * (int64_t)gridDim.y + blockIdx.y) * half + i] = key[i];
    }
}

/* The best of a token's slices. */
static __global__ void join_slices(int slices, const int *failed, int64_t k, int half, const u64 *part, hps_candidate *top)
{
    extern __shared__ u64 key[]; /* [2 half] */

    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        key[i] = 0;
    }
    for (int s = 0; s < slices; s++) {
        __syncthreads();
        for (int i = threadIdx.x; i < half; i += blockDim.x) {
            key[half + i] = part[(blockIdx.x * (int64_t)slices + s) * half + i];
        }
        __syncthreads();
        if (key[half] > key[k - 1]) {
            sort_keys(2 * half, key);
        }
    }
    __syncthreads();
    write_top(k, half, key, top + (int64_t)failed[blockIdx.x] * k);
}

static int power_of_two(int64_t least, int64_t k)
{
    int64_t half = least;

    while (half < k) {
        half *= 2;
    }
    return (int)half;
}

static void all_rows(const hps_workspace *ws, const hps_encoder *enc, int64_t m, const int32_t *rows, int64_t tokens, int64_t ldy, const float *y,
                     const int *failed, int64_t k, hps_candidate *top)
{
    enum { SLICES = 64 };
    const int half = power_of_two(THREADS, k);
    const size_t bytes = 2 * (size_t)half * sizeof(u64);

    if (tokens == 0) {
        return;
    }
    CUDA(cudaFuncSetAttribute(encode_all, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    if (failed != NULL && tokens * SLICES * half <= ws->pairs) { /* few: nothing is listed there now */
        u64 *part = (u64 *)ws->pair;
        encode_all<<<dim3((unsigned)tokens, SLICES), THREADS, bytes>>>(*enc, m, rows, ldy, y, failed, k, half, top, part);
        LAUNCHED();
        CUDA(cudaFuncSetAttribute(join_slices, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
        join_slices<<<(unsigned)tokens, THREADS, bytes>>>(SLICES, failed, k, half, part, top);
    } else {
        encode_all<<<(unsigned)tokens, THREADS, bytes>>>(*enc, m, rows, ldy, y, failed, k, half, top, NULL);
    }
    LAUNCHED();
}

/* Below that a screen is not worth it. */
static bool is_screened(const hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t k)
{
    enum { FEW = 1024 };

    return ws->screens && enc->own >= FEW && k * 16 <= enc->own && 8 * k <= ws->capacity && B > 0;
}

void cuda_encode(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B, int64_t ldy,
                 const float *y, int64_t k, hps_candidate *top)
{
    if (rows != NULL || !is_screened(ws, enc, B, k)) {
        all_rows(ws, enc, rows != NULL ? count : enc->own, rows, B, ldy, y, NULL, k, top);
        finish();
        return;
    }
    cuda_pack_tokens(ws, enc->d, B, ldy, y);
    cuda_screen_lists(ws, enc, B, k);
    const size_t bytes = (size_t)ws->capacity * (sizeof(u64) + sizeof(float2));
    CUDA(cudaMemsetAsync(ws->failed, 0, sizeof(*ws->failed)));
    CUDA(cudaFuncSetAttribute(decide, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    decide<<<(unsigned)B, THREADS, bytes>>>(*enc, ldy, y, k, *ws, top);
    LAUNCHED();
    CUDA(cudaMemcpyAsync(ws->seen, ws->failed, sizeof(*ws->failed), cudaMemcpyDeviceToHost));
    CUDA(cudaStreamSynchronize(0));
    all_rows(ws, enc, enc->own, NULL, (int64_t)(unsigned)ws->seen[0], ldy, y, ws->failed + 1, k, top);
    finish();
}

/* ---- everything above a floor -------------------------------------------------------------------------------------- */

static __global__ void raise_floor(int64_t B, int64_t k, const hps_candidate *top, const float *ratio, float *floor)
{
    const int64_t t = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (t < B) {
        floor[t] = fmaxf(floor[t], ratio[t] * top[t * k + k - 1].value);
    }
}

/* Four lanes a pair: those of a list, or with pair NULL all B * own. */
static __global__ void test_pairs(const hps_encoder enc, int64_t pairs, const uint2 *pair, int64_t ldy, const float *y,
                                  const float *floor, u64 *found, int64_t capacity, hps_hit *hit)
{
    const int64_t each = gridDim.x * (int64_t)FOURS;

    for (int64_t i = blockIdx.x * (int64_t)FOURS + threadIdx.x / 4; i < (pairs + each - 1) / each * each; i += each) {
        const int64_t safe = i < pairs ? i : 0;
        const int64_t t = pair != NULL ? pair[safe].x : safe / enc.own, l = pair != NULL ? pair[safe].y : safe % enc.own;
        const float p = pre_activation(enc.d, enc.W_enc + l * enc.lde, y + t * ldy, enc.b_enc[l]);
        if (i < pairs && threadIdx.x % 4 == 0 && p >= floor[t]) {
            const u64 place = atomicAdd(found, 1ULL);
            if (place < (u64)capacity) {
                hit[place].token = (int32_t)t;
                hit[place].candidate.value = p;
                hit[place].candidate.latent = enc.latent[l];
            }
        }
    }
}

int64_t cuda_encode_above(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y, int64_t k,
                          const float *ratio, float *floor, int64_t capacity, hps_hit *hit)
{
    int64_t pairs = B * enc->own;
    bool listed = false;

    if (k > 0 && B > 0) {
        cuda_encode(ws, enc, 0, NULL, B, ldy, y, k, ws->top);
        raise_floor<<<blocks_of(B, THREADS), THREADS>>>(B, k, ws->top, ratio, floor);
        LAUNCHED();
    }
    if (is_screened(ws, enc, B, 1)) {
        cuda_pack_tokens(ws, enc->d, B, ldy, y);
        const int64_t some = cuda_screen_pairs(ws, enc, B, floor);
        listed = some <= ws->pairs;
        pairs = listed ? some : pairs;
    }
    CUDA(cudaMemsetAsync(ws->sums, 0, sizeof(*ws->sums)));
    if (pairs > 0) {
        test_pairs<<<(unsigned)(ws->processors * 8), THREADS>>>(*enc, pairs, listed ? ws->pair : NULL, ldy, y, floor,
                                                               ws->sums, capacity, hit);
        LAUNCHED();
    }
    CUDA(cudaMemcpyAsync(ws->seen, ws->sums, sizeof(*ws->seen), cudaMemcpyDeviceToHost));
    finish();
    return (int64_t)ws->seen[0];
}
