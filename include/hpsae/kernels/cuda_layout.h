/*
 * What the workspace of the CUDA kernels holds on the device, as plain arithmetic without CUDA: the kernels allocate by it, and
 * a plan counts by it on any machine.
 */
#ifndef HPSAE_KERNELS_CUDA_LAYOUT_H
#define HPSAE_KERNELS_CUDA_LAYOUT_H

#include "hpsae/kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

/* The screen's tile, tokens x latents, and the columns of one stage; sampled tiles of latents; numbers before ws->sums' columns. */
enum { HPS_CUDA_TILE_T = 128, HPS_CUDA_TILE_N = 256, HPS_CUDA_DEPTH = 64, HPS_CUDA_SAMPLED = 16, HPS_CUDA_HEAD = 4 };

/* The radix sort of slots by latent: digits, and keys of a chunk. */
enum { HPS_CUDA_DIGITS = 256, HPS_CUDA_CHUNK = 2048 };

/* The most slots a token that a selection can have: its keys are sorted in shared memory. */
enum { HPS_CUDA_SLOTS_MOST = 8192, HPS_CUDA_SHARED_BYTES_A_SLOT = 32 };

/* Every array: its name here, the workspace's member (kernels/cuda/common.cuh), what a message calls it. */
#define HPS_CUDA_ARRAY_LIST(X)                   \
    X(Q_Y, q_y, "packed activations")            \
    X(Q_ENC, q_enc, "packed encoder rows")       \
    X(A, a, "bounds of the screen")              \
    X(B, b, "bounds of the screen")              \
    X(NORM, norm, "bounds of the screen")        \
    X(LOST, lost, "bounds of the screen")        \
    X(SAMPLE, sample, "sampled pre-activations") \
    X(THRESHOLD, threshold, "thresholds")        \
    X(COUNT, count, "candidates")                \
    X(LIST, list, "candidates")                  \
    X(FAILED, failed, "candidates")              \
    X(PAIR, pair, "candidates")                  \
    X(SUMS, sums, "sums")                        \
    X(TOP, top, "candidates")                    \
    X(SCRATCH, scratch, "counts")                \
    X(KEY_0, key[0], "slots by latent")          \
    X(KEY_1, key[1], "slots by latent")          \
    X(VALUE_0, value[0], "slots by latent")      \
    X(VALUE_1, value[1], "slots by latent")      \
    X(TOKEN, token, "slots by latent")           \
    X(TEMPORARY, temporary, "slots by latent")

typedef enum {
#define X(name, member, what) HPS_CUDA_##name,
    HPS_CUDA_ARRAY_LIST(X)
#undef X
        HPS_CUDA_ARRAYS
} hps_cuda_array;

typedef struct {
    int64_t depth;        /* columns of packed rows, a multiple of HPS_CUDA_DEPTH */
    int64_t tokens, rows; /* packed, multiples of the tile */
    int64_t capacity;     /* candidates of a token's list, a power of two */
    int64_t pairs;        /* of tokens and latents that may reach a floor */
    int64_t bytes[HPS_CUDA_ARRAYS];
} hps_cuda_layout;

/* Local.  For a device that screens (compute capability 8.0 and up) or not; arrays that it does not need have 0 bytes. */
hps_cuda_layout hps_cuda_layout_of(const hps_workspace_size *size, bool screens);

/* Local.  All of it, bytes on the device. */
int64_t hps_cuda_layout_bytes(const hps_cuda_layout *layout);

const char *hps_cuda_array_name(hps_cuda_array array);

#endif
