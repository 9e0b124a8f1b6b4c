/*
 * Gradients and Adam: a block a latent, a thread four of its columns.  The gradient is summed in registers over the latent's
 * tokens in order and used at once.
 */
#include "common.cuh"

static const int THREADS = 256;

static unsigned threads_for(int64_t w)
{
    const int64_t wanted = (w + 127) / 128 * WARP;

    return (unsigned)(wanted < WARP ? WARP : wanted > THREADS ? THREADS : wanted);
}

/* A family as the device sees it. */
typedef struct {
    const int32_t *first;
    const hps_entry *entry;
    const float *rows, *sums;
    int64_t ld;
    const int32_t *row;
    float c;
} family;

typedef struct {
    int families;
    bool dz; /* an entry weighs with its dz, not with its z */
    family f[2];
    const float *gradient; /* ready rows instead */
    int64_t ldg;
} source;

/* What the families are for the decoder, or with y, rows [B, ldy], for the encoder. */
static source source_of(const hps_update *u, int64_t ldy, const float *y)
{
    source s = {};

    s.families = u->families;
    s.dz = y != NULL;
    s.gradient = u->gradient;
    s.ldg = u->ldg;
    for (int i = 0; i < u->families && u->gradient == NULL; i++) {
        const hps_family *f = &u->family[i];
        s.f[i].first = f->bucket->first;
        s.f[i].entry = f->bucket->entry;
        s.f[i].rows = y != NULL ? y : f->rows;
        s.f[i].sums = y != NULL ? NULL : f->sums;
        s.f[i].ld = y != NULL ? ldy : f->ld;
        s.f[i].row = y != NULL ? NULL : f->row;
        s.f[i].c = f->c;
    }
    return s;
}

static __device__ inline float4 weighted_row(const source &s, const family &f, const hps_entry &e, int64_t j, float4 part)
{
    const int64_t row = f.row != NULL ? f.row[e.slot] : e.token;

    return scale4(s.dz ? e.dz : e.z, load4(f.rows + row * f.ld + j), part);
}

/* Four columns of the gradient of a latent. */
static __device__ inline float4 gradient4(const source &s, int64_t latent, int64_t j)
{
    float4 total = make_float4(0, 0, 0, 0);

    for (int i = 0; i < s.families; i++) {
        const family &f = s.f[i];
        float4 part = make_float4(0, 0, 0, 0);
        if (f.sums != NULL) {
            part = load4(f.sums + latent * f.ld + j);
        } else {
            const int32_t end = f.first[latent + 1];
            int32_t e = f.first[latent];
            for (; e + 8 <= end; e += 8) {
                #pragma unroll
                for (int i8 = 0; i8 < 8; i8++) {
                    part = weighted_row(s, f, f.entry[e + i8], j, part);
                }
            }
            for (; e < end; e++) {
                part = weighted_row(s, f, f.entry[e], j, part);
            }
        }
        total = scale4(f.c, part, total);
    }
    return total;
}

static __device__ inline float4 adam4(const hps_adam &a, float4 g, float4 value, float4 *moment1, float4 *moment2)
{
    return make_float4(cuda_adam(a, g.x, value.x, &moment1->x, &moment2->x), cuda_adam(a, g.y, value.y, &moment1->y, &moment2->y),
                       cuda_adam(a, g.z, value.z, &moment1->z, &moment2->z), cuda_adam(a, g.w, value.w, &moment1->w, &moment2->w));
}

/* The four columns that are among m; the others keep their bits. */
static __device__ inline void store4(float *to, float4 v, int64_t left)
{
    if (left >= 4) {
        *(float4 *)to = v;
        return;
    }
    to[0] = v.x;
    if (left > 1) {
        to[1] = v.y;
    }
    if (left > 2) {
        to[2] = v.z;
    }
}

/* The sum of the block's numbers, in thread 0. */
static __device__ inline i64 sum_block(i64 mine)
{
    __shared__ i64 part[THREADS / WARP];
    i64 sum = 0;

    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        part[threadIdx.x / WARP] = mine;
    }
    __syncthreads();
    for (unsigned i = 0; threadIdx.x == 0 && i < blockDim.x / WARP; i++) {
        sum += part[i];
    }
    return sum;
}

typedef struct {
    source from;
    hps_adam adam;
    double square_scale, norm_scale;
    bool apply;
    int64_t m, ld;
    float *value, *moment1, *moment2;
    u64 *square;
} rows_update;

/* Row i of latent `latent`: gradient, less `along` times the row, Adam; *squares and, if not NULL, *norms of the warp. */
static __device__ inline void update_row(const rows_update &p, int64_t i, int64_t latent, bool less, float along,
                                         i64 *squares, i64 *norms)
{
    const float4 zero = make_float4(0, 0, 0, 0);

    for (int64_t j0 = 0; j0 < p.m; j0 += blockDim.x * 4) {
        const int64_t j = j0 + threadIdx.x * 4, left = p.m - j, at = i * p.ld + j;
        const bool real = left > 0;
        float4 value = real ? load4(p.value + at) : zero;
        float4 m1 = real && p.apply ? load4(p.moment1 + at) : zero, m2 = real && p.apply ? load4(p.moment2 + at) : zero;
        float4 g = !real ? zero : p.from.gradient != NULL ? load4(p.from.gradient + i * p.from.ldg + j)
                                                          : gradient4(p.from, latent, j);
        if (less) {
            g = scale4(-along, value, g);
        }
        g = cut4(make_float4(g.x * p.adam.factor, g.y * p.adam.factor, g.z * p.adam.factor, g.w * p.adam.factor), left);
        *squares += sum_blocks(block_dot(g, g), p.square_scale);
        if (p.apply) {
            value = adam4(p.adam, g, value, &m1, &m2);
            if (real) {
                store4(p.value + at, value, left);
                store4(p.moment1 + at, m1, left);
                store4(p.moment2 + at, m2, left);
            }
            value = cut4(value, left);
            if (norms != NULL) {
                *norms += sum_blocks(block_dot(value, value), p.norm_scale);
            }
        }
    }
}

static __global__ void decoder_rows(const rows_update p, const float *parallel, int64_t *norm)
{
    const int64_t i = blockIdx.x;
    i64 squares = 0, norms = 0;

    update_row(p, i, i, true, parallel[i], &squares, &norms);
    squares = sum_block(squares);
    norms = sum_block(norms);
    if (threadIdx.x == 0) {
        atomicAdd(p.square, (u64)squares);
        if (p.apply) {
            norm[i] += norms;
        }
    }
}

void cuda_update_decoder(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd, const float *parallel,
                         const hps_state *W_dec, int64_t *square, int64_t *norm)
{
    const rows_update p = {source_of(u, 0, NULL), u->adam, u->square_scale, u->norm_scale, u->apply, w, ldd,
                           W_dec->value, W_dec->moment1, W_dec->moment2, ws->sums};

    CUDA(cudaMemsetAsync(ws->sums, 0, sizeof(*ws->sums)));
    if (n > 0) {
        decoder_rows<<<(unsigned)n, threads_for(w)>>>(p, parallel, norm);
        LAUNCHED();
    }
    CUDA(cudaMemcpyAsync(ws->seen, ws->sums, sizeof(*ws->seen), cudaMemcpyDeviceToHost));
    finish();
    *square += (int64_t)ws->seen[0];
}

/* ---- encoder ------------------------------------------------------------------------------------------------------- */

/* Of the rows before the update: a thread a column, over some blocks of latents. */
static __global__ void bias_columns(const hps_encoder enc, const float *bias_gradient, double scale, u64 *column)
{
    const int64_t j = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    i64 all = 0;

    if (j >= enc.d) {
        return;
    }
    for (int64_t l0 = blockIdx.y * (int64_t)HPS_BLOCK; l0 < enc.own; l0 += gridDim.y * (int64_t)HPS_BLOCK) {
        const int64_t l1 = l0 + HPS_BLOCK < enc.own ? l0 + HPS_BLOCK : enc.own;
        float sum = 0;
        #pragma unroll 8
        for (int64_t l = l0; l < l1; l++) {
            sum = fmaf(bias_gradient[enc.latent[l]], enc.W_enc[l * enc.lde + j], sum);
        }
        all += hps_to_fixed((double)sum, scale);
    }
    atomicAdd(column + j, (u64)all);
}

static __global__ void add_columns(int64_t d, const u64 *from, int64_t *column)
{
    const int64_t j = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (j < d) {
        column[j] += (int64_t)from[j];
    }
}

static __global__ void encoder_rows(const rows_update p, const int32_t *latent, const float *bias_gradient, float *bias,
                                    float *moment1, float *moment2)
{
    const int64_t i = blockIdx.x;
    i64 squares = 0;

    update_row(p, i, latent[i], false, 0, &squares, NULL);
    squares = sum_block(squares);
    if (threadIdx.x == 0) {
        const float g = bias_gradient[latent[i]] * p.adam.factor;
        squares += hps_dot_fixed(1, &g, &g, p.square_scale);
        atomicAdd(p.square, (u64)squares);
        if (p.apply) {
            bias[i] = cuda_adam(p.adam, g, bias[i], moment1 + i, moment2 + i);
        }
    }
}

/* Largest |row|^2, not below 0: such floats are ordered as their bits are. */
static __global__ void largest_row(int64_t own, int64_t d, int64_t lde, const float *W_enc, unsigned *largest)
{
    const int64_t l = blockIdx.x * (int64_t)(THREADS / 4) + threadIdx.x / 4;
    const float *row = W_enc + (l < own ? l : 0) * lde;
    const float square = dot_by_four(d, row, row);

    if (l < own && threadIdx.x % 4 == 0) {
        atomicMax(largest, __float_as_uint(isfinite(square) ? square : INFINITY));
    }
}

void cuda_update_encoder(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                         const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                         int64_t *column, float *row_norm)
{
    enum { HEAD = HPS_CUDA_HEAD };
    const rows_update p = {source_of(u, ldy, y), u->adam, u->square_scale, u->norm_scale, u->apply, enc->d, enc->lde,
                           W_enc->value, W_enc->moment1, W_enc->moment2, ws->sums};
    const dim3 grid(blocks_of(enc->d, 128), 512);
    float largest;

    CUDA(cudaMemsetAsync(ws->sums, 0, (size_t)(HEAD + enc->d) * sizeof(*ws->sums)));
    if (enc->own > 0) {
        bias_columns<<<grid, 128>>>(*enc, bias_gradient, u->bias_scale, ws->sums + HEAD);
        LAUNCHED();
        add_columns<<<blocks_of(enc->d, THREADS), THREADS>>>(enc->d, ws->sums + HEAD, column);
        LAUNCHED();
        encoder_rows<<<(unsigned)enc->own, threads_for(enc->d)>>>(p, enc->latent, bias_gradient, b_enc->value,
                                                                 b_enc->moment1, b_enc->moment2);
        LAUNCHED();
        largest_row<<<blocks_of(enc->own, THREADS / 4), THREADS>>>(enc->own, enc->d, enc->lde, enc->W_enc,
                                                                   (unsigned *)(ws->sums + 1));
        LAUNCHED();
        if (u->apply) {
            cuda_pack_encoder(ws, enc, u->first);
        }
    }
    CUDA(cudaMemcpyAsync(ws->seen, ws->sums, 2 * sizeof(*ws->seen), cudaMemcpyDeviceToHost));
    finish();
    *square += (int64_t)ws->seen[0];
    memcpy(&largest, ws->seen + 1, sizeof(largest));
    *row_norm = sqrtf(largest) * 1.00001f;
}

/* ---- gradients alone, unit rows -------------------------------------------------------------------------------------- */

static __global__ void gradient_rows(const source s, int64_t first, const int32_t *latent, int64_t m, int64_t ldg, float *G)
{
    const int64_t i = blockIdx.x, l = latent != NULL ? latent[first + i] : first + i;

    for (int64_t j = threadIdx.x * 4; j < m; j += blockDim.x * 4) {
        store4(G + i * ldg + j, gradient4(s, l, j), m - j);
    }
}

void cuda_gradients(hps_workspace *, const hps_update *u, int64_t first, int64_t count, const int32_t *latent, int64_t m,
                    int64_t ldy, const float *y, int64_t ldg, float *G)
{
    hps_update families = *u;

    families.gradient = NULL;
    if (count > 0 && m > 0) {
        gradient_rows<<<(unsigned)count, threads_for(m)>>>(source_of(&families, ldy, y), first, y != NULL ? latent : NULL,
                                                          m, ldg, G);
    }
    finish();
}

static __global__ void unit_rows(int64_t w, int64_t ldd, const int64_t *norm, double norm_scale, float *W_dec)
{
    const int64_t i = blockIdx.x;
    const float factor = norm[i] > 0 ? 1 / sqrtf((float)hps_from_fixed(norm[i], norm_scale)) : 1;

    for (int64_t j = threadIdx.x * 4; j < w; j += blockDim.x * 4) {
        const float4 v = load4(W_dec + i * ldd + j);
        store4(W_dec + i * ldd + j, make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor), w - j);
    }
}

void cuda_normalise(hps_workspace *, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                    float *W_dec)
{
    if (n > 0 && w > 0) {
        unit_rows<<<(unsigned)n, threads_for(w)>>>(w, ldd, norm, norm_scale, W_dec);
    }
    finish();
}
