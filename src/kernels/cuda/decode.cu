/* Reconstruction, slot gradients and column sums.  A block a token; a thread has four columns of each 4 blockDim.x. */
#include "common.cuh"

static const int THREADS = 256;

/* Threads for w columns, four each. */
static unsigned threads_for(int64_t w)
{
    const int64_t wanted = (w + 127) / 128 * WARP;

    return (unsigned)(wanted < WARP ? WARP : wanted > THREADS ? THREADS : wanted);
}

static __global__ void residuals(int64_t w, int64_t ldd, const float *W_dec, const int32_t *first,
                                 const hps_candidate *slot, int64_t first_slots, float sign, int64_t lds,
                                 const float *start, float *R)
{
    const int64_t t = blockIdx.x, begin = first[t], all = first[t + 1];
    const int64_t end = first_slots >= 0 && begin + first_slots < all ? begin + first_slots : all;

    for (int64_t j = threadIdx.x * 4; j < w; j += blockDim.x * 4) {
        const float4 x = load4(start + t * lds + j);
        float4 r = make_float4(sign * x.x, sign * x.y, sign * x.z, sign * x.w);
        #pragma unroll 8
        for (int64_t s = begin; s < end; s++) {
            const hps_candidate c = slot[s];
            r = scale4(c.value, load4(W_dec + c.latent * ldd + j), r);
        }
        *(float4 *)(R + t * ldd + j) = r;
    }
}

/* A warp a slot: dz_fixed of rows G. */
static __global__ void dots(int64_t w, int64_t ldd, const float *W_dec, const int32_t *first, const hps_candidate *slot,
                            int64_t first_slots, int64_t ldg, const float *G, const double *scale, int64_t *dz_fixed)
{
    const int64_t t = blockIdx.x, begin = first[t], all = first[t + 1];
    const int64_t end = first_slots >= 0 && begin + first_slots < all ? begin + first_slots : all;
    const double here = scale[t];

    for (int64_t s = begin + threadIdx.x / WARP; s < end; s += blockDim.x / WARP) {
        const i64 sum = dot_fixed_by_warp(w, G + t * ldg, W_dec + slot[s].latent * ldd, here);
        if (threadIdx.x % WARP == 0) {
            dz_fixed[s] = sum;
        }
    }
}

void cuda_decode(hps_workspace *, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                 int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz, float *R)
{
    if (B > 0) {
        residuals<<<(unsigned)B, threads_for(w)>>>(w, ldd, W_dec, slots->first, slots->slot, first_slots, sign, lds,
                                                   start, R);
        LAUNCHED();
        if (dz) {
            dots<<<(unsigned)B, THREADS>>>(w, ldd, W_dec, slots->first, slots->slot, first_slots, ldd, R, scale,
                                           slots->dz_fixed);
        }
    }
    finish();
}

void cuda_slot_dots(hps_workspace *, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                    int64_t ldg, const float *G, const double *scale)
{
    if (B > 0) {
        dots<<<(unsigned)B, THREADS>>>(w, ldd, W_dec, slots->first, slots->slot, -1, ldg, G, scale, slots->dz_fixed);
    }
    finish();
}

/* A block has 32 columns: its warps fetch a piece of the tokens while one of them adds the piece before, in order. */
static __global__ void __launch_bounds__(THREADS) sum_columns(int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq,
                                                              const float *Q, double *sum, double *product)
{
    enum { PIECE = 64, EACH = PIECE * WARP / 256 };
    __shared__ float r[2][PIECE][WARP], q[2][PIECE][WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int64_t j = blockIdx.x * (int64_t)WARP + lane;
    double total = 0;
    float mine[2][EACH];

    for (int64_t t0 = -PIECE; t0 < B; t0 += PIECE) {
        const int now = (int)(t0 / PIECE & 1), next = now ^ 1;
        #pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int64_t t = t0 + PIECE + i * (PIECE / EACH) + warp;
            mine[0][i] = t < B && j < w ? R[t * ldr + j] : 0;
            mine[1][i] = t < B && j < w ? Q[t * ldq + j] : 0;
        }
        const int some = t0 < 0 ? 0 : B - t0 < PIECE ? (int)(B - t0) : PIECE;
        if (warp == 0) {
            #pragma unroll 8
            for (int t = 0; t < some; t++) {
                total += (double)r[now][t][lane];
            }
        } else if (warp == 1) {
            #pragma unroll 8
            for (int t = 0; t < some; t++) {
                total += (double)r[now][t][lane] * (double)q[now][t][lane];
            }
        }
        #pragma unroll
        for (int i = 0; i < EACH; i++) {
            r[next][i * (PIECE / EACH) + warp][lane] = mine[0][i];
            q[next][i * (PIECE / EACH) + warp][lane] = mine[1][i];
        }
        __syncthreads();
    }
    if (warp < 2 && j < w) {
        (warp == 0 ? sum : product)[j] = total;
    }
}

void cuda_column_sums(hps_workspace *, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq, const float *Q,
                      double *sum, double *product)
{
    if (w > 0) {
        sum_columns<<<blocks_of(w, WARP), THREADS>>>(B, w, ldr, R, ldq, Q, sum, product);
    }
    finish();
}
