/*
 * What the CUDA kernels share: the workspace, how calls are checked, and the canonical sums as a warp takes them.
 *
 * Every entry of the table returns when its work is done, so that the host may look at what it wrote.  Arrays lie in memory
 * that both sides reach (memory.cu); scalars behind pointers, such as *square, are the host's.
 */
#ifndef HPSAE_KERNELS_CUDA_COMMON_CUH
#define HPSAE_KERNELS_CUDA_COMMON_CUH

/* Words that C++ reserves. */
#define _Noreturn [[noreturn]]
#define export exported
extern "C" {
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/kernels/cuda_layout.h"
#include "hpsae/kernels/kernels.h"
}
#undef export

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <string.h>

typedef unsigned long long u64;
typedef long long i64;
typedef __nv_bfloat16 bf16;

/* A CUDA call that fails leaves the device unusable: one line, and the whole job ends. */
#define CUDA(call) cuda_check((call), #call, __FILE__, __LINE__)
void cuda_check(cudaError_t code, const char *call, const char *file, int line);

/* After a launch: its errors. */
#define LAUNCHED() CUDA(cudaGetLastError())

/* A tile of the screen: tokens x latents, columns a stage. */
enum { WARP = 32, TILE_T = HPS_CUDA_TILE_T, TILE_N = HPS_CUDA_TILE_N, DEPTH = HPS_CUDA_DEPTH };

/* A token's bound on what its screened values lose, as in fast/panels.c: a |e| + b |e - q(e)|. */
struct hps_workspace {
    hps_workspace_size size;
    bool screens;          /* whether the device multiplies bf16 */
    int64_t depth;         /* columns of packed rows, a multiple of DEPTH */
    int processors, stages; /* stages of the screen that fit the shared memory */
    bf16 *q_y, *q_enc;     /* [tokens, depth], [rows, depth], rounded up to whole tiles: hps_cuda_layout */
    float *a, *b;          /* [tokens] */
    float *norm, *lost;    /* [rows] at least |e|, |e - q(e)| */
    float *sample;         /* [tokens, samples] screened values of some latents */
    float *threshold;      /* [tokens] */
    int capacity;          /* candidates that a token's list holds */
    int *count;            /* [tokens] */
    float2 *list;          /* [tokens, capacity] screened value and local latent */
    int *failed;           /* [1 + tokens] tokens that the screen could not decide */
    uint2 *pair;           /* [pairs] token and local latent that may reach a floor */
    int64_t pairs;
    u64 *sums;             /* [4 + d] on the device: squared gradients, counts; columns */
    u64 *seen;             /* [4] pinned, for the host */
    hps_candidate *top;    /* [B, k_max]: the k-th values that encode_above asks for; and scratch */
    int32_t *scratch;      /* [4, B + 1] */
    uint32_t *key[2];      /* [size.slots] sorting slots by latent */
    int32_t *value[2], *token;
    void *temporary;       /* counts of the sort; marks of latents */
};

static inline unsigned blocks_of(int64_t work, int64_t each)
{
    return (unsigned)((work + each - 1) / each);
}

static inline void finish(void)
{
    LAUNCHED();
    CUDA(cudaStreamSynchronize(0));
}

/* ---- the total order as one number ------------------------------------------------------------------------------- */

/* Larger is before; NaN and a place without a candidate come last. */
static __device__ inline u64 key_of(float value, int latent)
{
    const unsigned bits = __float_as_uint(value == 0 ? 0.0f : value);
    const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;

    return isnan(value) ? (u64)0x007fffffu << 32 : (u64)ordered << 32 | (unsigned)(INT32_MAX - latent);
}

static __device__ inline hps_candidate candidate_of(u64 key)
{
    const unsigned ordered = (unsigned)(key >> 32);
    hps_candidate c;

    c.value = __uint_as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
    c.latent = INT32_MAX - (int)(unsigned)key;
    return c;
}

/* Sorts `count` keys, a power of two, descending; all threads of the block. */
static __device__ inline void sort_keys(int count, u64 *key)
{
    for (int run = 2; run <= count; run <<= 1) {
        for (int step = run >> 1; step > 0; step >>= 1) {
            for (int i = threadIdx.x; i < count / 2; i += blockDim.x) {
                const int low = (i & ~(step - 1)) * 2 + (i & (step - 1)), high = low + step;
                const u64 x = key[low], y = key[high];
                if ((x < y) == ((low & run) == 0)) {
                    key[low] = y;
                    key[high] = x;
                }
            }
            __syncthreads();
        }
    }
}

/* ---- canonical sums ---------------------------------------------------------------------------------------------- */

static __device__ inline float4 shuffle4(float4 v, int mask)
{
    return make_float4(__shfl_xor_sync(~0u, v.x, mask), __shfl_xor_sync(~0u, v.y, mask), __shfl_xor_sync(~0u, v.z, mask),
                       __shfl_xor_sync(~0u, v.w, mask));
}

static __device__ inline float4 add4(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

static __device__ inline float4 fma4(float4 a, float4 b, float4 c)
{
    return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w));
}

static __device__ inline float4 scale4(float z, float4 a, float4 c)
{
    return fma4(make_float4(z, z, z, z), a, c);
}

static __device__ inline float4 load4(const float *a)
{
    return *(const float4 *)a;
}

/* Columns from `left` on (counted from a) are zero: what stands behind a row is not used. */
static __device__ inline float4 cut4(float4 a, int64_t left)
{
    return make_float4(left > 0 ? a.x : 0, left > 1 ? a.y : 0, left > 2 ? a.z : 0, left > 3 ? a.w : 0);
}

/* The tree over 16 accumulators that four lanes hold four each; the result in all four. */
static __device__ inline float tree(float4 s)
{
    s = add4(s, shuffle4(s, 2));
    s = add4(s, shuffle4(s, 1));
    return (s.x + s.z) + (s.y + s.w);
}

/* hps_dot of rows a, b by four lanes; lane q = threadIdx.x % 4.  All 32 lanes take part, each four with their own rows. */
static __device__ inline float dot_by_four(int64_t m, const float *a, const float *b)
{
    const int64_t q = threadIdx.x % 4 * 4;
    float4 s = make_float4(0, 0, 0, 0);

    #pragma unroll 4
    for (int64_t j = q; j < m - 3; j += HPS_LANES) {
        s = fma4(load4(a + j), load4(b + j), s);
    }
    if (m % 4 != 0) {
        const int64_t last = m / 4 * 4;
        if (last % HPS_LANES == q) {
            s = fma4(cut4(load4(a + last), m - last), cut4(load4(b + last), m - last), s);
        }
    }
    return tree(s);
}

/* The canonical product of a block of HPS_BLOCK columns, of which eight lanes hold four each; valid in the upper four. */
static __device__ inline float block_dot(float4 a, float4 b)
{
    const float4 zero = make_float4(0, 0, 0, 0);

    return tree(fma4(a, b, shuffle4(fma4(a, b, zero), 4)));
}

/* The same in fixed point, summed over the warp's blocks, in every lane. */
static __device__ inline i64 sum_blocks(float dot, double scale)
{
    i64 sum = (threadIdx.x & 7) == 4 ? hps_to_fixed((double)dot, scale) : 0;

    sum += __shfl_xor_sync(~0u, sum, 4);
    sum += __shfl_xor_sync(~0u, sum, 8);
    sum += __shfl_xor_sync(~0u, sum, 16);
    return __shfl_sync(~0u, sum, 0);
}

/* hps_dot_fixed by a warp; in every lane. */
static __device__ inline i64 dot_fixed_by_warp(int64_t m, const float *a, const float *b, double scale)
{
    i64 sum = 0;

    for (int64_t j0 = 0; j0 < m; j0 += WARP * 4) {
        const int64_t j = j0 + threadIdx.x % WARP * 4;
        const float4 zero = make_float4(0, 0, 0, 0);
        const float4 x = j < m ? cut4(load4(a + j), m - j) : zero, y = j < m ? cut4(load4(b + j), m - j) : zero;
        const float dot = block_dot(x, y);
        sum += (threadIdx.x & 7) == 4 ? hps_to_fixed((double)dot, scale) : 0;
    }
    sum += __shfl_xor_sync(~0u, sum, 4);
    sum += __shfl_xor_sync(~0u, sum, 8);
    sum += __shfl_xor_sync(~0u, sum, 16);
    return __shfl_sync(~0u, sum, 0);
}

/* The new value; the moments in place. */
static __device__ inline float cuda_adam(const hps_adam &a, float g, float value, float *moment1, float *moment2)
{
    const float m1 = fmaf(a.beta1, *moment1, (1 - a.beta1) * g);
    const float m2 = fmaf(a.beta2, *moment2, (1 - a.beta2) * (g * g));

    *moment1 = m1;
    *moment2 = m2;
    return value - a.lr * (m1 * a.c1) / (sqrtf(m2 * a.c2) + a.epsilon);
}

/* ---- the kernels, a file each ------------------------------------------------------------------------------------ */

void cuda_pack_encoder(hps_workspace *ws, const hps_encoder *enc, int64_t first);
void cuda_prepare(hps_workspace *ws, const hps_encoder *enc);
void cuda_encode(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B, int64_t ldy,
                 const float *y, int64_t k, hps_candidate *top);
int64_t cuda_encode_above(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y, int64_t k,
                          const float *ratio, float *floor, int64_t capacity, hps_hit *hit);

/* The screen (screen.cu): packs the tokens, then guesses thresholds and lists, a token, what may be among its k largest. */
void cuda_pack_tokens(hps_workspace *ws, int64_t d, int64_t B, int64_t ldy, const float *y);
void cuda_screen_lists(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t k);
/* All pairs that may reach the token's floor: ws->pair; their number, which may be more than fit. */
int64_t cuda_screen_pairs(hps_workspace *ws, const hps_encoder *enc, int64_t B, const float *floor);
int cuda_screen_stages(int shared_bytes);

void cuda_decode(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                 int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                 float *R);
void cuda_slot_dots(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                    int64_t ldg, const float *G, const double *scale);
void cuda_column_sums(hps_workspace *ws, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq, const float *Q,
                      double *sum, double *product);

void cuda_nested(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                 const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start, const double *scale,
                 const float *R, float *S);
void cuda_suffix_rows(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                      const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t lds, float *suffix);
void cuda_nested_sums(hps_workspace *ws, int64_t B, int64_t n, int64_t w, int64_t ldd, const float *W_dec,
                      const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                      int64_t ldg, float *G);

void cuda_update_decoder(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                         const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm);
void cuda_update_encoder(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                         const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                         int64_t *column, float *row_norm);
void cuda_gradients(hps_workspace *ws, const hps_update *u, int64_t first, int64_t count, const int32_t *latent,
                    int64_t m, int64_t ldy, const float *y, int64_t ldg, float *G);
void cuda_normalise(hps_workspace *ws, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                    float *W_dec);

extern "C" const hps_batch_kernels cuda_batch;
extern const hps_memory_source cuda_memory;
#endif
