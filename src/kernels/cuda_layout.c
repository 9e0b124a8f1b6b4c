#include "hpsae/kernels/cuda_layout.h"

/* A float, a word of bf16, a pair of 32-bit numbers, a 64-bit sum. */
enum { FLOAT = 4, BF16 = 2, TWO = 8, LONG = 8 };

static int64_t round_up(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit * unit;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Room for one where there are none. */
static int64_t bytes_of(int64_t count, int64_t each)
{
    return larger(count, 1) * each;
}

/* What the tensor cores' product and its lists take. */
static void add_screen(const hps_workspace_size *s, hps_cuda_layout *l)
{
    int64_t *bytes = l->bytes;

    bytes[HPS_CUDA_Q_Y] = bytes_of(l->tokens * l->depth, BF16);
    bytes[HPS_CUDA_Q_ENC] = bytes_of(l->rows * l->depth, BF16);
    bytes[HPS_CUDA_A] = bytes[HPS_CUDA_B] = bytes[HPS_CUDA_THRESHOLD] = bytes_of(l->tokens, FLOAT);
    bytes[HPS_CUDA_NORM] = bytes[HPS_CUDA_LOST] = bytes_of(l->rows, FLOAT);
    bytes[HPS_CUDA_SAMPLE] = bytes_of(l->tokens * HPS_CUDA_SAMPLED * HPS_CUDA_TILE_N, FLOAT);
    bytes[HPS_CUDA_COUNT] = bytes_of(l->tokens, FLOAT);
    bytes[HPS_CUDA_LIST] = bytes_of(l->tokens * l->capacity, TWO);
    bytes[HPS_CUDA_FAILED] = bytes_of(l->tokens + 1, FLOAT);
    l->pairs = 4 * s->B * larger(s->k_max, 256);
    bytes[HPS_CUDA_PAIR] = bytes_of(l->pairs, TWO);
}

/* Slots by latent: keys and their places twice, the digits' counts of each chunk; there too, a mark a latent that fired. */
static void add_sort(const hps_workspace_size *s, hps_cuda_layout *l)
{
    const int64_t chunks = round_up(s->slots, HPS_CUDA_CHUNK) / HPS_CUDA_CHUNK;
    const int64_t counts = (chunks + 1) * HPS_CUDA_DIGITS;

    for (int i = HPS_CUDA_KEY_0; i <= HPS_CUDA_TOKEN; i++) {
        l->bytes[i] = bytes_of(s->slots, FLOAT);
    }
    l->bytes[HPS_CUDA_TEMPORARY] = bytes_of(larger(counts, s->n), FLOAT);
}

hps_cuda_layout hps_cuda_layout_of(const hps_workspace_size *size, bool screens)
{
    enum { LEAST = 1024, MOST = 4096, TIMES = 8 };
    hps_cuda_layout l = {.depth = round_up(size->d, HPS_CUDA_DEPTH),
                         .tokens = round_up(size->B, HPS_CUDA_TILE_T),
                         .rows = round_up(size->own, HPS_CUDA_TILE_N),
                         .capacity = LEAST};

    while (l.capacity < MOST && l.capacity < TIMES * size->k_max) {
        l.capacity *= 2;
    }
    if (screens) {
        add_screen(size, &l);
    }
    add_sort(size, &l);
    l.bytes[HPS_CUDA_SUMS] = bytes_of(HPS_CUDA_HEAD + size->d, LONG);
    l.bytes[HPS_CUDA_TOP] = bytes_of(size->B * size->k_max, (int64_t)sizeof(hps_candidate));
    l.bytes[HPS_CUDA_SCRATCH] = bytes_of(4 * (size->B + 1), FLOAT);
    return l;
}

int64_t hps_cuda_layout_bytes(const hps_cuda_layout *layout)
{
    int64_t sum = 0;

    for (int i = 0; i < HPS_CUDA_ARRAYS; i++) {
        sum += layout->bytes[i];
    }
    return sum;
}

const char *hps_cuda_array_name(hps_cuda_array array)
{
    static const char *const names[] = {
#define X(name, member, what) what,
        HPS_CUDA_ARRAY_LIST(X)
#undef X
    };

    return names[array];
}
