/*
 * The screen: products of packed rows in bf16 on the tensor cores, with a rigorous bound on what they lose, so that few
 * latents a token need the canonical float32 product.
 *
 * With q(.) the packed words and D columns (as in fast/panels.c):
 *   |<y, e> - <q(y), q(e)>|  <=  |y - q(y)| |e| + |q(y)| |e - q(e)|
 * A tensor core adds exact products, aligned to the largest term and cut, with at least 24 bits (Fasi, Higham, Mikaitis and
 * Pranesh 2021): a block of eight products and the sum so far errs by at most ten units of 2^-23 of the largest term, which is
 * at most |q(y)| |q(e)|; D 2^-22 of that covers blocks of four as well.
 */
#include "common.cuh"

#include <float.h>

#define OF_BIAS 1e-6f  /* what adding a bias loses */
#define TINY    1e-30f /* what is rounded among the denormals loses less */

/* ---- the product -------------------------------------------------------------------------------------------------- */

enum purpose { SAMPLE, LISTS, PAIRS };

typedef struct {
    int64_t B, own, depth;
    int64_t stride; /* of SAMPLE: every so many tiles of latents one is taken */
    const bf16 *y, *e;
    const float *a, *b, *norm, *lost, *bias, *floor;
    float *sample;
    int64_t samples;
    int *count, capacity;
    float2 *list;
    u64 *found;
    uint2 *pair;
    int64_t pairs;
} product;

enum { ROW_BYTES = DEPTH * 2, STAGE_BYTES = (TILE_T + TILE_N) * ROW_BYTES };
static const int THREADS = 256;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WARPGROUPS 1 /* Hopper's products */
#endif

static __device__ inline unsigned address(const void *shared)
{
    return (unsigned)__cvta_generic_to_shared(shared);
}

static __device__ inline void copy16(unsigned to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}

/* Where 16 bytes of a row lie in a stage: the rows' chunks are permuted, so that eight rows meet eight banks. */
static __device__ inline unsigned place(int row, int chunk)
{
    return (unsigned)(row * ROW_BYTES + ((chunk ^ (row & 7)) << 4));
}

static __device__ inline void fetch(const product &p, int64_t t0, int64_t l0, int64_t column, unsigned stage)
{
    #pragma unroll
    for (int i = 0; i < (TILE_T + TILE_N) * 8 / THREADS; i++) {
        const int piece = i * THREADS + threadIdx.x, row = piece / 8, chunk = piece % 8;
        const bf16 *from = row < TILE_T ? p.y + (t0 + row) * p.depth : p.e + (l0 + row - TILE_T) * p.depth;
        copy16(stage + place(row, chunk), from + column + chunk * 8);
    }
    asm volatile("cp.async.commit_group;");
}

#ifndef WARPGROUPS
static __device__ inline void load_matrices(unsigned from, unsigned *r)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from));
}

static __device__ inline void multiply(const unsigned *a, const unsigned *b, float *c)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* A stage's products: a warp makes 64 x 64 of the tile. */
static __device__ inline void multiply_stage(unsigned stage, float (&c)[128])
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, m0 = warp / 4 * 64, n0 = warp % 4 * 64;

    #pragma unroll
    for (int k = 0; k < DEPTH / 16; k++) {
        unsigned a[4][4], b[4][4];
        #pragma unroll
        for (int m = 0; m < 4; m++) {
            load_matrices(stage + place(m0 + m * 16 + lane % 16, k * 2 + lane / 16), a[m]);
        }
        #pragma unroll
        for (int n = 0; n < 4; n++) {
            load_matrices(stage + place(TILE_T + n0 + n * 16 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2), b[n]);
        }
        #pragma unroll
        for (int m = 0; m < 4; m++) {
            #pragma unroll
            for (int n = 0; n < 8; n++) {
                multiply(a[m], b[n / 2] + n % 2 * 2, c + (m * 8 + n) * 4);
            }
        }
    }
}

template <int STAGES>
static __device__ inline void multiply_tile(const product &p, int64_t t0, int64_t l0, unsigned base, float (&c)[128])
{
    const int64_t steps = p.depth / DEPTH;

    #pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) {
            fetch(p, t0, l0, s * DEPTH, base + s * STAGE_BYTES);
        } else {
            asm volatile("cp.async.commit_group;");
        }
    }
    for (int64_t s = 0; s < steps; s++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
        __syncthreads();
        const int64_t next = s + STAGES - 1;
        if (next < steps) {
            fetch(p, t0, l0, next * DEPTH, base + (unsigned)(next % STAGES) * STAGE_BYTES);
        } else {
            asm volatile("cp.async.commit_group;");
        }
        multiply_stage(base + (unsigned)(s % STAGES) * STAGE_BYTES, c);
    }
    asm volatile("cp.async.wait_group 0;");
}
#endif

/* What the tile's 256 latents bring to a bound; in shared memory when the products are done with it. */
typedef struct {
    float norm, lost, bias, constant;
} of_latent;

/* Values that are kept wait in shared memory, so that their places in global memory are asked for all at once. */
enum { KEPT = 4096 };
typedef struct {
    of_latent latent[TILE_N];
    unsigned count;
    unsigned at[KEPT]; /* row << 16 | column of the tile */
    float value[KEPT];
} sieve;

static __device__ inline void list(const product &p, int64_t t, int64_t l, float value)
{
    const int place = atomicAdd(p.count + t, 1);

    if (place < p.capacity) {
        p.list[t * p.capacity + place] = make_float2(value, __int_as_float((int)l));
    }
}

static __device__ inline void pair(const product &p, int64_t t, int64_t l)
{
    const u64 place = atomicAdd(p.found, 1ULL);

    if (place < (u64)p.pairs) {
        p.pair[place] = make_uint2((unsigned)t, (unsigned)l);
    }
}

template <purpose WHY>
static __device__ inline void keep(const product &p, int64_t t, int64_t l, float value)
{
    if (WHY == LISTS) {
        list(p, t, l, value);
    } else {
        pair(p, t, l);
    }
}

static __device__ inline void describe_latents(const product &p, int64_t l0, sieve *s)
{
    for (int i = threadIdx.x; i < TILE_N; i += THREADS) {
        const int64_t l = l0 + i;
        const float bias = l < p.own ? p.bias[l] : -INFINITY;
        s->latent[i].norm = p.norm[l];
        s->latent[i].lost = p.lost[l];
        s->latent[i].bias = bias;
        s->latent[i].constant = l < p.own ? OF_BIAS * fabsf(bias) + TINY : 0;
    }
    if (threadIdx.x == 0) {
        s->count = 0;
    }
}

/*
 * A thread's values of the tile: rows ROW(i), columns COLUMN(j), VALUE(i, j).  SAMPLE writes all; else those whose upper bound
 * reaches the token's floor are kept.
 */
template <purpose WHY, int ROWS, int COLUMNS, typename row_of, typename column_of, typename value_of>
static __device__ inline void sift(const product &p, int64_t t0, int64_t l0, int64_t column0, sieve *s, row_of ROW,
                                   column_of COLUMN, value_of VALUE)
{
    float a[ROWS], b[ROWS], floor[ROWS];

    describe_latents(p, l0, s);
    #pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int64_t t = t0 + ROW(i);
        a[i] = p.a[t];
        b[i] = p.b[t];
        floor[i] = WHY != SAMPLE && t < p.B ? p.floor[t] : INFINITY;
    }
    __syncthreads();
    #pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
        const of_latent e = s->latent[COLUMN(j)];
        #pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float value = VALUE(i, j) + e.bias;
            if (WHY == SAMPLE) {
                p.sample[(t0 + ROW(i)) * p.samples + column0 + COLUMN(j)] = value;
            } else if (!(value + fmaf(a[i], e.norm, fmaf(b[i], e.lost, e.constant)) < floor[i]) && floor[i] < INFINITY) {
                const unsigned place = atomicAdd(&s->count, 1u);
                if (place < KEPT) {
                    s->at[place] = (unsigned)ROW(i) << 16 | (unsigned)COLUMN(j);
                    s->value[place] = value;
                } else if (l0 + COLUMN(j) < p.own) {
                    keep<WHY>(p, t0 + ROW(i), l0 + COLUMN(j), value);
                }
            }
        }
    }
    __syncthreads();
    const int some = s->count < KEPT ? (int)s->count : KEPT;
    for (int i = threadIdx.x; WHY != SAMPLE && i < some; i += THREADS) {
        const int64_t l = l0 + (s->at[i] & 0xffff);
        if (l < p.own) {
            keep<WHY>(p, t0 + (s->at[i] >> 16), l, s->value[i]);
        }
    }
}

/* ---- Hopper: warpgroups of 64 tokens x 256 latents, products from shared memory ---- */

#ifdef WARPGROUPS
/* A row-major block of 128-byte rows, permuted as by place(): eight rows are 1024 bytes. */
static __device__ inline u64 describe(unsigned shared)
{
    return (u64)((shared & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}

static __device__ inline void multiply_64_256(u64 a, u64 b, float (&c)[128])
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, "
                 "%40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, "
                 "%56, %57, %58, %59, %60, %61, %62, %63, "
                 "%64, %65, %66, %67, %68, %69, %70, %71, "
                 "%72, %73, %74, %75, %76, %77, %78, %79, "
                 "%80, %81, %82, %83, %84, %85, %86, %87, "
                 "%88, %89, %90, %91, %92, %93, %94, %95, "
                 "%96, %97, %98, %99, %100, %101, %102, %103, "
                 "%104, %105, %106, %107, %108, %109, %110, %111, "
                 "%112, %113, %114, %115, %116, %117, %118, %119, "
                 "%120, %121, %122, %123, %124, %125, %126, %127"
                 "}, %128, %129, 1, 1, 1, 0, 0;"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]), "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]), "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]), "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63]), "+f"(c[64]), "+f"(c[65]), "+f"(c[66]), "+f"(c[67]), "+f"(c[68]), "+f"(c[69]), "+f"(c[70]), "+f"(c[71]), "+f"(c[72]), "+f"(c[73]), "+f"(c[74]), "+f"(c[75]), "+f"(c[76]), "+f"(c[77]), "+f"(c[78]), "+f"(c[79]), "+f"(c[80]), "+f"(c[81]), "+f"(c[82]), "+f"(c[83]), "+f"(c[84]), "+f"(c[85]), "+f"(c[86]), "+f"(c[87]), "+f"(c[88]), "+f"(c[89]), "+f"(c[90]), "+f"(c[91]), "+f"(c[92]), "+f"(c[93]), "+f"(c[94]), "+f"(c[95]), "+f"(c[96]), "+f"(c[97]), "+f"(c[98]), "+f"(c[99]), "+f"(c[100]), "+f"(c[101]), "+f"(c[102]), "+f"(c[103]), "+f"(c[104]), "+f"(c[105]), "+f"(c[106]), "+f"(c[107]), "+f"(c[108]), "+f"(c[109]), "+f"(c[110]), "+f"(c[111]), "+f"(c[112]), "+f"(c[113]), "+f"(c[114]), "+f"(c[115]), "+f"(c[116]), "+f"(c[117]), "+f"(c[118]), "+f"(c[119]), "+f"(c[120]), "+f"(c[121]), "+f"(c[122]), "+f"(c[123]), "+f"(c[124]), "+f"(c[125]), "+f"(c[126]), "+f"(c[127])
                 : "l"(a), "l"(b));
}

/* Stages of two kinds are in flight: fetched for the next two steps, and read by the products of this and the last. */
static __device__ inline void multiply_tile(const product &p, int64_t t0, int64_t l0, unsigned base, float (&c)[128])
{
    enum { STAGES = 4, AHEAD = 2 };
    const int64_t steps = p.depth / DEPTH;
    const unsigned mine = threadIdx.x / 128 * 64 * ROW_BYTES;

    for (int s = 0; s < AHEAD; s++) {
        if (s < steps) {
            fetch(p, t0, l0, s * DEPTH, base + s * STAGE_BYTES);
        } else {
            asm volatile("cp.async.commit_group;");
        }
    }
    for (int64_t s = 0; s < steps; s++) {
        const unsigned stage = base + (unsigned)(s % STAGES) * STAGE_BYTES;
        asm volatile("cp.async.wait_group 1;");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        if (s + AHEAD < steps) {
            fetch(p, t0, l0, (s + AHEAD) * DEPTH, base + (unsigned)((s + AHEAD) % STAGES) * STAGE_BYTES);
        } else {
            asm volatile("cp.async.commit_group;");
        }
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        #pragma unroll
        for (int k = 0; k < DEPTH / 16; k++) {
            multiply_64_256(describe(stage + mine + k * 32), describe(stage + TILE_T * ROW_BYTES + k * 32), c);
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
#endif

template <purpose WHY>
static __device__ inline void use(const product &p, int64_t t0, int64_t l0, int64_t column0, sieve *s, float (&c)[128])
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#ifdef WARPGROUPS
    sift<WHY, 2, 64>(
        p, t0, l0, column0, s, [&](int i) { return warp * 16 + i * 8 + lane / 4; },
        [&](int j) { return j / 2 * 8 + lane % 4 * 2 + j % 2; },
        [&](int i, int j) { return c[j / 2 * 4 + i * 2 + j % 2]; });
#else
    sift<WHY, 8, 16>(
        p, t0, l0, column0, s, [&](int i) { return warp / 4 * 64 + i / 2 * 16 + i % 2 * 8 + lane / 4; },
        [&](int j) { return warp % 4 * 64 + j / 2 * 8 + lane % 4 * 2 + j % 2; },
        [&](int i, int j) { return c[(i / 2 * 8 + j / 2) * 4 + i % 2 * 2 + j % 2]; });
#endif
}

template <purpose WHY, int STAGES>
static __global__ void __launch_bounds__(THREADS, 1) multiply_tiles(const product p)
{
    extern __shared__ __align__(1024) char memory[];
    const int64_t number = blockIdx.z * (int64_t)gridDim.y + blockIdx.y;
    const int64_t t0 = blockIdx.x * (int64_t)TILE_T, l0 = (WHY == SAMPLE ? number * p.stride : number) * TILE_N;
    const unsigned base = address(memory);
    float c[128] = {};

    if (l0 >= p.own) { /* the last layer of the grid is not full */
        return;
    }
#ifdef WARPGROUPS
    multiply_tile(p, t0, l0, base, c);
#else
    multiply_tile<STAGES>(p, t0, l0, base, c);
#endif
    __syncthreads();
    use<WHY>(p, t0, l0, number * TILE_N, (sieve *)memory, c);
}

#else /* no bf16 in the tensor cores: workspaces there do not screen */

template <purpose WHY, int STAGES>
static __global__ void multiply_tiles(const product)
{
}

#endif

template <purpose WHY, int STAGES>
static void launch(const product &p, int64_t tiles)
{
    enum { LAYER = 32768 }; /* a grid has at most 65535 blocks in its second dimension: 16 million latents */
    static bool prepared;
    const dim3 grid(blocks_of(p.B, TILE_T), (unsigned)(tiles < LAYER ? tiles : LAYER), blocks_of(tiles, LAYER));

    if (!prepared) {
        CUDA(cudaFuncSetAttribute(multiply_tiles<WHY, STAGES>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  STAGES * STAGE_BYTES));
        prepared = true;
    }
    multiply_tiles<WHY, STAGES><<<grid, THREADS, STAGES * STAGE_BYTES>>>(p);
    LAUNCHED();
}

template <purpose WHY>
static void launch_stages(const hps_workspace *ws, const product &p, int64_t tiles)
{
    if (ws->stages >= 4) {
        launch<WHY, 4>(p, tiles);
    } else if (ws->stages == 3) {
        launch<WHY, 3>(p, tiles);
    } else {
        launch<WHY, 2>(p, tiles);
    }
}

int cuda_screen_stages(int shared_bytes)
{
    const int fit = shared_bytes / STAGE_BYTES;

    return fit > 4 ? 4 : fit;
}

static product product_of(const hps_workspace *ws, const hps_encoder *enc, int64_t B, const float *floor)
{
    product p = {};

    p.B = B;
    p.own = enc->own;
    p.depth = ws->depth;
    p.y = ws->q_y;
    p.e = ws->q_enc;
    p.a = ws->a;
    p.b = ws->b;
    p.norm = ws->norm;
    p.lost = ws->lost;
    p.bias = enc->b_enc;
    p.floor = floor;
    p.sample = ws->sample;
    p.count = ws->count;
    p.capacity = ws->capacity;
    p.list = ws->list;
    p.found = ws->sums;
    p.pair = ws->pair;
    p.pairs = ws->pairs;
    return p;
}

/* ---- thresholds --------------------------------------------------------------------------------------------------- */

static const int SAMPLED_TILES = HPS_CUDA_SAMPLED, EACH = SAMPLED_TILES * TILE_N / THREADS;

/* A block a token: bisects for a value that about `rank` of the sampled reach, not fewer. */
static __global__ void guess(int64_t samples, int64_t ld, int rank, const float *sample, float *threshold)
{
    __shared__ float least, most;
    __shared__ int reached[2];
    float value[EACH], low = INFINITY, high = -INFINITY;

    sample += blockIdx.x * ld;
    #pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int64_t s = i * THREADS + threadIdx.x;
        value[i] = s < samples ? sample[s] : -INFINITY;
        low = isfinite(value[i]) ? fminf(low, value[i]) : low;
        high = isfinite(value[i]) ? fmaxf(high, value[i]) : high;
    }
    for (int step = WARP / 2; step > 0; step /= 2) {
        low = fminf(low, __shfl_xor_sync(~0u, low, step));
        high = fmaxf(high, __shfl_xor_sync(~0u, high, step));
    }
    __shared__ float lows[THREADS / WARP], highs[THREADS / WARP];
    lows[threadIdx.x / WARP] = low;
    highs[threadIdx.x / WARP] = high;
    reached[0] = reached[1] = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < THREADS / WARP; i++) {
            lows[0] = fminf(lows[0], lows[i]);
            highs[0] = fmaxf(highs[0], highs[i]);
        }
        least = lows[0];
        most = highs[0];
    }
    __syncthreads();
    low = least;
    high = most;
    for (int round = 0; round < 14; round++) {
        const float middle = low + (high - low) / 2;
        int here = 0;
        #pragma unroll
        for (int i = 0; i < EACH; i++) {
            here += value[i] >= middle;
        }
        for (int step = WARP / 2; step > 0; step /= 2) {
            here += __shfl_xor_sync(~0u, here, step);
        }
        if (threadIdx.x % WARP == 0) {
            atomicAdd(reached + round % 2, here);
        }
        __syncthreads();
        const int all = reached[round % 2];
        if (threadIdx.x == 0) {
            reached[(round + 1) % 2] = 0;
        }
        low = all >= rank ? middle : low;
        high = all >= rank ? high : middle;
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        threshold[blockIdx.x] = low;
    }
}

void cuda_screen_lists(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t k)
{
    product p = product_of(ws, enc, B, ws->threshold);
    const int64_t tiles = (enc->own + TILE_N - 1) / TILE_N;
    const int64_t wanted = tiles / 16 > 2 ? tiles / 16 : 2;
    const int64_t sampled = wanted > SAMPLED_TILES ? SAMPLED_TILES : wanted > tiles ? tiles : wanted;
    /* Lower bounds lie below the values: some more than k values lie above the k-th lower bound. */
    const double expected = 1.3 * (double)k * (double)sampled / (double)tiles;

    p.samples = sampled * TILE_N;
    p.stride = tiles / sampled;
    launch_stages<SAMPLE>(ws, p, sampled);
    guess<<<(unsigned)B, THREADS>>>(p.samples, p.samples, (int)(expected + 6 * sqrt(expected) + 3), ws->sample,
                                    ws->threshold);
    LAUNCHED();
    CUDA(cudaMemsetAsync(ws->count, 0, (size_t)B * sizeof(*ws->count)));
    launch_stages<LISTS>(ws, p, tiles);
}

int64_t cuda_screen_pairs(hps_workspace *ws, const hps_encoder *enc, int64_t B, const float *floor)
{
    const product p = product_of(ws, enc, B, floor);

    CUDA(cudaMemsetAsync(ws->sums, 0, sizeof(*ws->sums)));
    launch_stages<PAIRS>(ws, p, (enc->own + TILE_N - 1) / TILE_N);
    CUDA(cudaMemcpyAsync(ws->seen, ws->sums, sizeof(*ws->seen), cudaMemcpyDeviceToHost));
    CUDA(cudaStreamSynchronize(0));
    return (int64_t)ws->seen[0];
}
