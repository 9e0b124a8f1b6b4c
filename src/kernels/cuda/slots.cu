/* What a step does between the kernels, on the device: nothing of a batch's size goes to the host. */
#include "common.cuh"

static const int THREADS = 256;

/* One block: out[i] = sum of in[0 .. i - 1]; in may be out. */
static __global__ void __launch_bounds__(1024) scan(int64_t count, const int32_t *in, int32_t *out)
{
    __shared__ int32_t part[WARP];
    const int64_t each = (count + 1023) / 1024, begin = threadIdx.x * each;
    const int64_t end = begin + each < count ? begin + each : count;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int32_t mine = 0;

    for (int64_t i = begin; i < end; i++) {
        mine += in[i];
    }
    int32_t before = mine;
    for (int step = 1; step < WARP; step *= 2) {
        const int32_t other = __shfl_up_sync(~0u, before, step);
        before += lane >= step ? other : 0;
    }
    if (lane == WARP - 1) {
        part[warp] = before;
    }
    __syncthreads();
    before -= mine;
    for (int w = 0; w < warp; w++) {
        before += part[w];
    }
    for (int64_t i = begin; i < end; i++) {
        const int32_t here = in[i];
        out[i] = before;
        before += here;
    }
}

/* A warp has 32 tokens and takes 32 columns of them at a time; then lane t adds those of token t, in order. */
static __global__ void centre_rows(int64_t B, int64_t d, int64_t ld, const float *x, const float *b, float *y, float *y_norm)
{
    __shared__ float mine[WARP][WARP + 1];
    const int lane = threadIdx.x;
    const int64_t t0 = blockIdx.x * (int64_t)WARP;
    double square = 0;

    for (int64_t j0 = 0; j0 < d && t0 < B; j0 += WARP) {
        const int64_t j = j0 + lane;
        const float centre = j < d ? b[j] : 0;
        float v[WARP];
        #pragma unroll
        for (int t = 0; t < WARP; t++) {
            v[t] = j < d && t0 + t < B ? x[(t0 + t) * ld + j] - centre : 0;
        }
        #pragma unroll
        for (int t = 0; t < WARP; t++) {
            if (j < d && t0 + t < B) {
                y[(t0 + t) * ld + j] = v[t];
            }
            mine[t][lane] = v[t];
        }
        __syncwarp();
        const int64_t some = d - j0 < WARP ? d - j0 : WARP;
        for (int c = 0; c < some; c++) {
            const double value = mine[lane][c];
            square += value * value;
        }
        __syncwarp();
    }
    if (t0 + lane < B) {
        y_norm[t0 + lane] = (float)sqrt(square) * 1.000001f;
    }
}

static void centre(hps_workspace *ws, int64_t B, int64_t d, int64_t ld, const float *x, const float *b, float *y,
                   float *y_norm)
{
    (void)ws;
    if (B > 0) {
        CUDA(cudaMemcpyAsync(y, x, (size_t)(B * ld) * sizeof(*y), cudaMemcpyDefault));
        centre_rows<<<blocks_of(B, WARP), WARP>>>(B, d, ld, y, b, y, y_norm);
    }
    finish();
}

/* ---- a selection becomes slots ------------------------------------------------------------------------------------- */

static __global__ void count_positive(int64_t B, int64_t k, int64_t keep, const hps_candidate *top, int32_t *count,
                                      float *z_sum)
{
    const int64_t t = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    float sum = 0;
    int32_t some = 0;

    if (t > B) {
        return;
    }
    for (; t < B && some < keep && top[t * k + some].value > 0; some++) {
        sum += top[t * k + some].value;
    }
    count[t] = some;
    if (t < B) {
        z_sum[t] = sum;
    }
}

/* A warp a token. */
static __global__ void move_slots(int64_t B, int64_t k, const int32_t *first, const hps_candidate *top, hps_candidate *slot)
{
    const int64_t t = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;

    if (t < B) {
        const int32_t begin = first[t], some = first[t + 1] - begin;
        for (int s = threadIdx.x % WARP; s < some; s += WARP) {
            slot[begin + s] = top[t * k + s];
        }
    }
}

static void compact(hps_workspace *ws, int64_t B, int64_t k, int64_t keep, hps_slots *slots, float *z_sum)
{
    int32_t *count = ws->scratch, *first = ws->scratch + B + 1;

    count_positive<<<blocks_of(B + 1, THREADS), THREADS>>>(B, k, keep, slots->slot, count, z_sum);
    LAUNCHED();
    scan<<<1, 1024>>>(B + 1, count, first);
    LAUNCHED();
    CUDA(cudaMemcpyAsync(slots->first, first, (size_t)(B + 1) * sizeof(*first), cudaMemcpyDefault));
    if (B > 0) {
        CUDA(cudaMemcpyAsync(ws->top, slots->slot, (size_t)(B * k) * sizeof(*ws->top), cudaMemcpyDeviceToDevice));
        move_slots<<<blocks_of(B, THREADS / WARP), THREADS>>>(B, k, first, ws->top, slots->slot);
    }
    finish();
}

static __global__ void find_scales(int64_t B, const float *y_norm, const float *z_sum, const double *more, double *bound,
                                   double *scale)
{
    const int64_t t = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (t < B) {
        const double here = HPS_RESIDUAL_BOUND(y_norm != NULL ? y_norm[t] : 0, z_sum[t]);
        bound[t] = more != NULL ? more[t] + here : here;
        scale[t] = hps_fixed_scale(bound[t]);
    }
}

static void scales(hps_workspace *ws, int64_t B, const float *y_norm, const float *z_sum, const double *more, double *bound,
                   double *scale)
{
    (void)ws;
    if (B > 0) {
        find_scales<<<blocks_of(B, THREADS), THREADS>>>(B, y_norm, z_sum, more, bound, scale);
    }
    finish();
}

/* ---- slot gradients -------------------------------------------------------------------------------------------------- */

/* A warp a token: dz of its slots; its lane 0 then the sum of |dz| in slot order. */
static __global__ void find_dz(int64_t B, const int32_t *first, const double *scale, const int64_t *fixed, float *dz,
                               double *sum)
{
    const int64_t t = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;

    if (t >= B) {
        return;
    }
    const int32_t begin = first[t], end = first[t + 1];
    double total = 0;
    for (int32_t s0 = begin; s0 < end; s0 += WARP) {
        const int32_t s = s0 + threadIdx.x % WARP;
        const float mine = s < end ? (float)hps_from_fixed(fixed[s], scale[t]) : 0;
        if (s < end) {
            dz[s] = mine;
        }
        for (int i = 0; i < WARP && s0 + i < end; i++) {
            total += fabs((double)__shfl_sync(~0u, mine, i));
        }
    }
    if (threadIdx.x % WARP == 0) {
        sum[t] = total;
    }
}

static void take_dz(hps_workspace *ws, int64_t B, const double *scale, hps_slots *slots, double *sum)
{
    (void)ws;
    if (B > 0) {
        find_dz<<<blocks_of(B, THREADS / WARP), THREADS>>>(B, slots->first, scale, slots->dz_fixed, slots->dz, sum);
    }
    finish();
}

/* ---- slots by latent ------------------------------------------------------------------------------------------------- */

static __global__ void list_keys(int64_t B, const int32_t *first, const hps_candidate *slot, uint32_t *key, int32_t *value,
                                 int32_t *token)
{
    const int64_t t = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;

    if (t >= B) {
        return;
    }
    for (int32_t s = first[t] + threadIdx.x % WARP; s < first[t + 1]; s += WARP) {
        key[s] = (uint32_t)slot[s].latent;
        value[s] = s;
        token[s] = (int32_t)t;
    }
}

/* Entry e of the sorted slots; the latents that begin with it. */
static __global__ void fill_entries(int64_t slots, int64_t n, const uint32_t *key, const int32_t *value, const int32_t *token,
                                    const hps_candidate *slot, const float *dz, int32_t *first, hps_entry *entry)
{
    const int64_t e = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (e > slots) {
        return;
    }
    const int64_t before = e > 0 ? (int64_t)key[e - 1] + 1 : 0, here = e < slots ? (int64_t)key[e] : n;
    for (int64_t i = before; i <= here; i++) {
        first[i] = (int32_t)e;
    }
    if (e < slots) {
        const int32_t s = value[e];
        entry[e].token = token[s];
        entry[e].slot = s;
        entry[e].z = slot[s].value;
        entry[e].dz = dz[s];
    }
}

/* ---- a stable radix sort, a warp a chunk of keys, so that equal keys keep their order -------------------------------- */

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, CHUNK = HPS_CUDA_CHUNK };
static_assert((int)DIGITS == (int)HPS_CUDA_DIGITS, "the layout counts these digits");

static __global__ void count_digits(int64_t keys, int64_t chunks, int shift, const uint32_t *key, int32_t *place)
{
    __shared__ int32_t count[DIGITS];
    const int64_t begin = blockIdx.x * (int64_t)CHUNK, end = begin + CHUNK < keys ? begin + CHUNK : keys;

    for (int d = threadIdx.x; d < DIGITS; d += blockDim.x) {
        count[d] = 0;
    }
    __syncthreads();
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
        atomicAdd(count + (key[i] >> shift & (DIGITS - 1)), 1);
    }
    __syncthreads();
    for (int d = threadIdx.x; d < DIGITS; d += blockDim.x) {
        place[d * chunks + blockIdx.x] = count[d];
    }
}

/* A block a digit: where each chunk's begin among those of the digit; their number. */
static __global__ void place_digits(int64_t chunks, int32_t *place, int32_t *total)
{
    __shared__ int32_t part[WARP];
    int32_t *mine = place + blockIdx.x * chunks, carried = 0;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    for (int64_t c0 = 0; c0 < chunks; c0 += blockDim.x) {
        const int64_t c = c0 + threadIdx.x;
        const int32_t here = c < chunks ? mine[c] : 0;
        int32_t before = here;
        for (int step = 1; step < WARP; step *= 2) {
            const int32_t other = __shfl_up_sync(~0u, before, step);
            before += lane >= step ? other : 0;
        }
        __syncthreads();
        if (lane == WARP - 1) {
            part[warp] = before;
        }
        __syncthreads();
        before += carried - here;
        for (int w = 0; w < (int)blockDim.x / WARP; w++) {
            before += w < warp ? part[w] : 0;
            carried += part[w];
        }
        if (c < chunks) {
            mine[c] = before;
        }
    }
    if (threadIdx.x == 0) {
        total[blockIdx.x] = carried;
    }
}

static __global__ void deal_digits(int64_t keys, int64_t chunks, int shift, const uint32_t *key, const int32_t *value,
                                   const int32_t *place, const int32_t *total, uint32_t *key_out, int32_t *value_out)
{
    __shared__ int32_t next[DIGITS];
    const int64_t begin = blockIdx.x * (int64_t)CHUNK, end = begin + CHUNK < keys ? begin + CHUNK : keys;
    const unsigned below = (1u << threadIdx.x) - 1;

    int32_t carried = 0;
    for (int d0 = 0; d0 < DIGITS; d0 += WARP) {
        const int d = d0 + threadIdx.x;
        const int32_t here = total[d];
        int32_t before = here;
        for (int step = 1; step < WARP; step *= 2) {
            const int32_t other = __shfl_up_sync(~0u, before, step);
            before += (int)threadIdx.x >= step ? other : 0;
        }
        next[d] = carried + before - here + place[d * chunks + blockIdx.x];
        carried += __shfl_sync(~0u, before, WARP - 1);
    }
    __syncwarp();
    for (int64_t i0 = begin; i0 < end; i0 += WARP) {
        const int64_t i = i0 + threadIdx.x;
        const bool real = i < end;
        const uint32_t k = real ? key[i] : 0;
        const unsigned digit = real ? k >> shift & (DIGITS - 1) : DIGITS;
        const unsigned peers = __match_any_sync(~0u, digit);
        const int32_t to = real ? next[digit] + __popc(peers & below) : 0;
        __syncwarp();
        if (real) {
            key_out[to] = k;
            value_out[to] = value[i];
            if ((peers & below) == 0) {
                next[digit] += __popc(peers);
            }
        }
        __syncwarp();
    }
}

/* Sorts keys of so many bits; the result is in ws->key[*at], ws->value[*at]. */
static void sort_pairs(hps_workspace *ws, int64_t keys, int bits, int *at)
{
    const int64_t chunks = (keys + CHUNK - 1) / CHUNK;
    int32_t *total = (int32_t *)ws->temporary, *place = total + DIGITS;

    *at = 0;
    for (int shift = 0; shift < bits; shift += DIGIT_BITS, *at ^= 1) {
        count_digits<<<(unsigned)chunks, THREADS>>>(keys, chunks, shift, ws->key[*at], place);
        LAUNCHED();
        place_digits<<<DIGITS, THREADS>>>(chunks, place, total);
        LAUNCHED();
        deal_digits<<<(unsigned)chunks, WARP>>>(keys, chunks, shift, ws->key[*at], ws->value[*at], place, total,
                                                ws->key[*at ^ 1], ws->value[*at ^ 1]);
        LAUNCHED();
    }
}

static void fill_bucket(hps_workspace *ws, int64_t B, int64_t n, const hps_slots *slots, hps_bucket *bucket)
{
    const int64_t some = slots->first[B];
    int bits = 1, at = 0;

    for (; (INT64_C(1) << bits) < n; bits++) {
    }
    if (some > ws->size.slots || n > ws->size.n) {
        hps_fatal("more slots or latents than the workspace was made for", "fill_bucket", __FILE__, __LINE__);
    }
    if (some > 0) {
        list_keys<<<blocks_of(B, THREADS / WARP), THREADS>>>(B, slots->first, slots->slot, ws->key[0], ws->value[0],
                                                            ws->token);
        LAUNCHED();
        sort_pairs(ws, some, bits, &at);
    }
    fill_entries<<<blocks_of(some + 1, THREADS), THREADS>>>(some, n, ws->key[at], ws->value[at], ws->token, slots->slot,
                                                           slots->dz, bucket->first, bucket->entry);
    bucket->entries = some;
    finish();
}

/* A warp a latent: 32 entries are fetched at a time and added in order. */
static __global__ void sum_latents(int64_t n, int families, const hps_entry *entry0, const hps_entry *entry1,
                                   const int32_t *first0, const int32_t *first1, float c0, float c1, float *parallel,
                                   float *bias_gradient)
{
    const int64_t i = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;
    float along = 0, bias = 0;

    if (i >= n) {
        return;
    }
    for (int f = 0; f < families; f++) {
        const hps_entry *entry = f == 0 ? entry0 : entry1;
        const int32_t begin = (f == 0 ? first0 : first1)[i], end = (f == 0 ? first0 : first1)[i + 1];
        float z_dz = 0, dz = 0;
        for (int32_t e0 = begin; e0 < end; e0 += WARP) {
            const int32_t e = e0 + threadIdx.x % WARP;
            const float z1 = e < end ? entry[e].z : 0, dz1 = e < end ? entry[e].dz : 0;
            for (int l = 0; l < WARP && e0 + l < end; l++) {
                const float dz_l = __shfl_sync(~0u, dz1, l);
                z_dz = fmaf(__shfl_sync(~0u, z1, l), dz_l, z_dz);
                dz += dz_l;
            }
        }
        along = fmaf(f == 0 ? c0 : c1, z_dz, along);
        bias = fmaf(f == 0 ? c0 : c1, dz, bias);
    }
    if (threadIdx.x % WARP == 0) {
        parallel[i] = along;
        bias_gradient[i] = bias;
    }
}

static void latent_sums(hps_workspace *ws, int64_t n, int families, const hps_family family[2], float *parallel,
                        float *bias_gradient)
{
    const hps_bucket *a = family[0].bucket, *b = families > 1 ? family[1].bucket : family[0].bucket;

    (void)ws;
    sum_latents<<<blocks_of(n, THREADS / WARP), THREADS>>>(n, families, a->entry, b->entry, a->first, b->first,
                                                          family[0].c, families > 1 ? family[1].c : 0, parallel,
                                                          bias_gradient);
    finish();
}

/* ---- after the update ------------------------------------------------------------------------------------------------ */

static __global__ void mark_fired(int64_t B, const int32_t *first, const hps_candidate *slot, int64_t most, uint32_t *fired)
{
    const int64_t t = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;

    if (t >= B) {
        return;
    }
    const int32_t begin = first[t], all = first[t + 1] - begin, some = most >= 0 && most < all ? (int32_t)most : all;
    for (int32_t s = begin + threadIdx.x % WARP; s < begin + some; s += WARP) {
        fired[slot[s].latent] = 1;
    }
}

static __global__ void note_fired(int64_t n, const uint32_t *marked, int64_t tokens, int64_t *fired)
{
    const int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (i < n && marked[i] != 0) {
        fired[i] = tokens;
    }
}

static void fired(hps_workspace *ws, int64_t B, int64_t n, const hps_slots *slots, int64_t first_slots, int64_t tokens,
                  int64_t *counters)
{
    uint32_t *marks = (uint32_t *)ws->temporary;

    CUDA(cudaMemsetAsync(marks, 0, (size_t)n * sizeof(*marks)));
    if (B > 0) {
        mark_fired<<<blocks_of(B, THREADS / WARP), THREADS>>>(B, slots->first, slots->slot, first_slots, marks);
        LAUNCHED();
    }
    note_fired<<<blocks_of(n, THREADS), THREADS>>>(n, marks, tokens, counters);
    finish();
}

static __global__ void mean_values(int64_t count, float weight, const float *value, float *mean)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (int64_t)blockDim.x) {
        mean[i] = fmaf(weight, value[i] - mean[i], mean[i]);
    }
}

static void average(hps_workspace *ws, int64_t count, float weight, const float *value, float *mean)
{
    mean_values<<<(unsigned)(ws->processors * 8), THREADS>>>(count, weight, value, mean);
    finish();
}

static __global__ void adam_row(hps_adam a, int64_t m, const float *gradient, float *value, float *moment1, float *moment2)
{
    const int64_t j = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (j < m) {
        value[j] = cuda_adam(a, gradient[j] * a.factor, value[j], moment1 + j, moment2 + j);
    }
}

static void adam(hps_workspace *ws, const hps_adam *a, int64_t m, const float *gradient, const hps_state *state)
{
    (void)ws;
    if (m > 0) {
        adam_row<<<blocks_of(m, THREADS), THREADS>>>(*a, m, gradient, state->value, state->moment1, state->moment2);
    }
    finish();
}

extern "C" const hps_batch_kernels cuda_batch = {centre, compact, scales, take_dz, fill_bucket, latent_sums, fired, average,
                                                 adam};
