/*
 * The backward sweep of a nested objective.  A block a token; a thread has four columns at a time and takes all slots for
 * them, so that residual and suffix vector stay in registers and no thread waits for another.
 */
#include "common.cuh"

static const int THREADS = 256;

static unsigned threads_for(int64_t w)
{
    const int64_t wanted = (w + 127) / 128 * WARP;

    return (unsigned)(wanted < WARP ? WARP : wanted > THREADS ? THREADS : wanted);
}

typedef struct {
    int64_t w, ldd;
    const float *W_dec;
    const int32_t *first;
    const hps_candidate *slot;
    const float *weight;
    int64_t first_slots;
    const float *R;
} sweep;

/* The residual after all slots: R is the one after the first_slots first. */
static __device__ inline float4 last_residual(const sweep &p, int64_t t, int64_t j)
{
    float4 r = load4(p.R + t * p.ldd + j);

    for (int64_t s = p.first[t] + p.first_slots; p.first_slots >= 0 && s < p.first[t + 1]; s++) {
        r = scale4(p.slot[s].value, load4(p.W_dec + p.slot[s].latent * p.ldd + j), r);
    }
    return r;
}

static __global__ void sweep_back(const sweep p, const float *bias_weight, int64_t lds, const float *start,
                                  const double *scale, float *S, int64_t *dz_fixed)
{
    const int64_t t = blockIdx.x, begin = p.first[t], round = blockDim.x * 4;
    const double here = scale[t];

    for (int64_t j0 = 0; j0 < p.w; j0 += round) {
        const int64_t j = j0 + threadIdx.x * 4;
        const bool real = j < p.w;
        const float4 zero = make_float4(0, 0, 0, 0);
        float4 r = real ? last_residual(p, t, j) : zero, sum = zero;
        for (int64_t s = p.first[t + 1] - 1; s >= begin; s--) {
            const hps_candidate c = p.slot[s];
            const float4 w = real ? load4(p.W_dec + c.latent * p.ldd + j) : zero;
            if (s - begin == p.first_slots - 1 && real) {
                r = load4(p.R + t * p.ldd + j);
            }
            if (p.weight[s] != 0) {
                sum = scale4(p.weight[s], r, sum);
            }
            const i64 part = sum_blocks(block_dot(cut4(sum, p.w - j), cut4(w, p.w - j)), here);
            if (threadIdx.x % WARP == 0) {
                atomicAdd((u64 *)dz_fixed + s, (u64)part);
            }
            r = scale4(-c.value, w, r);
        }
        if (real) {
            const float4 x = load4(start + t * lds + j);
            sum = scale4(bias_weight[t], make_float4(-x.x, -x.y, -x.z, -x.w), sum);
            *(float4 *)(S + t * p.ldd + j) = sum;
        }
    }
}

static __global__ void sweep_rows(const sweep p, const int32_t *row, int64_t lds, float *suffix)
{
    const int64_t t = blockIdx.x, begin = p.first[t];

    for (int64_t j = threadIdx.x * 4; j < p.w; j += blockDim.x * 4) {
        float4 r = last_residual(p, t, j), sum = make_float4(0, 0, 0, 0);
        for (int64_t s = p.first[t + 1] - 1; s >= begin; s--) {
            const hps_candidate c = p.slot[s];
            if (s - begin == p.first_slots - 1) {
                r = load4(p.R + t * p.ldd + j);
            }
            if (p.weight[s] != 0) {
                sum = scale4(p.weight[s], r, sum);
                *(float4 *)(suffix + row[s] * lds + j) = sum;
            }
            r = scale4(-c.value, load4(p.W_dec + c.latent * p.ldd + j), r);
        }
    }
}

/* A thread a column: the order of the tokens is that of the additions. */
static __global__ void sweep_sums(const sweep p, int64_t B, int64_t ldg, float *G)
{
    const int64_t j = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    for (int64_t t = 0; t < B && j < p.w; t++) {
        const int64_t begin = p.first[t];
        float r = p.R[t * p.ldd + j], sum = 0;
        for (int64_t s = begin + p.first_slots; p.first_slots >= 0 && s < p.first[t + 1]; s++) {
            r = fmaf(p.slot[s].value, p.W_dec[p.slot[s].latent * p.ldd + j], r);
        }
        for (int64_t s = p.first[t + 1] - 1; s >= begin; s--) {
            const hps_candidate c = p.slot[s];
            float *g = G + c.latent * ldg + j;
            if (s - begin == p.first_slots - 1) {
                r = p.R[t * p.ldd + j];
            }
            sum = p.weight[s] != 0 ? fmaf(p.weight[s], r, sum) : sum;
            *g = fmaf(c.value, sum, *g);
            r = fmaf(-c.value, p.W_dec[c.latent * p.ldd + j], r);
        }
    }
}

static sweep sweep_of(int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots, const hps_nesting *nesting,
                      int64_t first_slots, const float *R)
{
    const sweep p = {w, ldd, W_dec, slots->first, slots->slot, nesting->weight, first_slots, R};

    return p;
}

static __global__ void clear_dots(int64_t B, const int32_t *first, int64_t *dz_fixed)
{
    for (int64_t s = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; s < first[B]; s += gridDim.x * (int64_t)blockDim.x) {
        dz_fixed[s] = 0;
    }
}

void cuda_nested(hps_workspace *, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                 const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start, const double *scale,
                 const float *R, float *S)
{
    if (B > 0) {
        clear_dots<<<256, THREADS>>>(B, slots->first, slots->dz_fixed);
        LAUNCHED();
        sweep_back<<<(unsigned)B, threads_for(w)>>>(sweep_of(w, ldd, W_dec, slots, nesting, first_slots, R),
                                                    nesting->bias_weight, lds, start, scale, S, slots->dz_fixed);
    }
    finish();
}

void cuda_suffix_rows(hps_workspace *, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                      const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t lds, float *suffix)
{
    if (B > 0 && w > 0) {
        sweep_rows<<<(unsigned)B, threads_for(w)>>>(sweep_of(w, ldd, W_dec, slots, nesting, first_slots, R),
                                                    nesting->row, lds, suffix);
    }
    finish();
}

void cuda_nested_sums(hps_workspace *, int64_t B, int64_t n, int64_t w, int64_t ldd, const float *W_dec,
                      const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t ldg,
                      float *G)
{
    if (w > 0) {
        CUDA(cudaMemset2DAsync(G, (size_t)ldg * sizeof(*G), 0, (size_t)w * sizeof(*G), (size_t)n));
        sweep_sums<<<blocks_of(w, WARP), WARP>>>(sweep_of(w, ldd, W_dec, slots, nesting, first_slots, R), B, ldg, G);
    }
    finish();
}
