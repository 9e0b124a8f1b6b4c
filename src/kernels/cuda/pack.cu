/*
 * What the screen multiplies: rows in bf16, and the norms from which the bound on the loss is made (screen.cu).  A warp a row.
 */
#include "common.cuh"

static const double SUM = 1.05 * 0x1p-22, CANONICAL = 1.05 * 0x1p-24;
static const double SAFE = 1 + 1e-5; /* for the roundings of the bounds themselves */

typedef struct {
    double square, packed, lost;
} squares;

static __device__ squares pack_row(int64_t m, int64_t depth, const float *row, bf16 *packed)
{
    squares s = {0, 0, 0};

    for (int64_t j = threadIdx.x % WARP; j < depth; j += WARP) {
        const float value = j < m ? row[j] : 0;
        const bf16 word = __float2bfloat16_rn(value);
        const double x = value, q = __bfloat162float(word);
        packed[j] = word;
        s.square += x * x;
        s.packed += q * q;
        s.lost += (x - q) * (x - q);
    }
    for (int step = WARP / 2; step > 0; step /= 2) {
        s.square += __shfl_xor_sync(~0u, s.square, step);
        s.packed += __shfl_xor_sync(~0u, s.packed, step);
        s.lost += __shfl_xor_sync(~0u, s.lost, step);
    }
    return s;
}

static __device__ double root(double square)
{
    return isfinite(square) ? sqrt(square) * SAFE : (double)INFINITY;
}

static __global__ void pack_encoder(int64_t count, int64_t d, int64_t depth, int64_t lde, const float *W_enc, bf16 *packed,
                                    float *norm, float *lost)
{
    const int64_t l = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;

    if (l >= count) {
        return;
    }
    const squares s = pack_row(d, depth, W_enc + l * lde, packed + l * depth);
    if (threadIdx.x % WARP == 0) {
        norm[l] = (float)(root(s.square) * SAFE);
        lost[l] = (float)(root(s.lost) * SAFE);
    }
}

static __global__ void pack_tokens(int64_t B, int64_t d, int64_t depth, int64_t ldy, const float *y, bf16 *packed,
                                   float *a, float *b)
{
    const int64_t t = blockIdx.x * (int64_t)(blockDim.x / WARP) + threadIdx.x / WARP;

    if (t >= B) {
        return;
    }
    const double sum = SUM * (double)(depth + 32), canonical = CANONICAL * ((double)d / 16 + 16);
    const squares s = pack_row(d, depth, y + t * ldy, packed + t * depth);
    if (threadIdx.x % WARP == 0) {
        a[t] = (float)((root(s.lost) + sum * root(s.packed) + canonical * root(s.square)) * SAFE);
        b[t] = (float)((1 + sum) * root(s.packed) * SAFE);
    }
}

void cuda_pack_encoder(hps_workspace *ws, const hps_encoder *enc, int64_t first)
{
    if (ws->screens && enc->own > 0) {
        pack_encoder<<<blocks_of(enc->own, 8), 8 * WARP>>>(enc->own, enc->d, ws->depth, enc->lde, enc->W_enc,
                                                          ws->q_enc + first * ws->depth, ws->norm + first,
                                                          ws->lost + first);
        LAUNCHED();
    }
}

void cuda_prepare(hps_workspace *ws, const hps_encoder *enc)
{
    cuda_pack_encoder(ws, enc, 0);
    finish();
}

void cuda_pack_tokens(hps_workspace *ws, int64_t d, int64_t B, int64_t ldy, const float *y)
{
    pack_tokens<<<blocks_of(B, 8), 8 * WARP>>>(B, d, ws->depth, ldy, y, ws->q_y, ws->a, ws->b);
    LAUNCHED();
}
