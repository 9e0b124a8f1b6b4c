#include "hpsae/model/checksum.h"

#include <string.h>

/* Columns whose keys are made at a time: they stay in the first-level cache. */
enum { TILE = 256 };

/* What is hashed beside the tensors of a role. */
enum { TAG_COLUMN = 1, TAG_ROW, TAG_FIRED, TAG_TOKENS, TAG_STEP, TAG_SELECTION };

typedef uint32_t __attribute__((may_alias)) bits_of_float;

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t key(int tag, uint64_t which, uint64_t index)
{
    return mix(index ^ mix((uint64_t)tag << 32 | which));
}

/* The sum over one row's tile before its row key; the shape that compilers turn into 32 x 32 -> 64 bit products. */
static uint64_t row_tile(int64_t width, const bits_of_float *restrict bits, const uint32_t *restrict k1,
                         const uint32_t *restrict k2)
{
    uint64_t sum = 0;

    for (int64_t c = 0; c < width; c++) {
        sum += (uint64_t)(bits[c] ^ k1[c]) * k2[c];
    }
    return sum;
}

uint64_t hps_checksum_block(const hps_block *block, const float *values, int64_t ld)
{
    const uint64_t which = (uint64_t)(block->role * HPS_TENSORS) + block->tensor;
    uint32_t k1[TILE], k2[TILE];
    uint64_t sum = 0;

    for (int64_t c0 = 0; c0 < block->width; c0 += TILE) {
        const int64_t width = block->width - c0 < TILE ? block->width - c0 : TILE;
        for (int64_t c = 0; c < width; c++) {
            const uint64_t both = key(TAG_COLUMN, block->tensor, (uint64_t)(block->c0 + c0 + c));
            k1[c] = (uint32_t)(both >> 32);
            k2[c] = (uint32_t)both | 1u;
        }
        for (int64_t i = 0; i < block->rows; i++) {
            const uint64_t row = row_tile(width, (const bits_of_float *)(values + i * ld + c0), k1, k2);
            sum += row * (key(TAG_ROW, which, (uint64_t)(block->row + i)) | 1u);
        }
    }
    return sum;
}

uint64_t hps_checksum_fired(int64_t first, int64_t count, const int64_t *fired)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < count; i++) {
        sum += mix((uint64_t)fired[i] ^ key(TAG_FIRED, 0, (uint64_t)(first + i)));
    }
    return sum;
}

uint64_t hps_checksum_progress(int64_t tokens, int64_t step)
{
    return mix((uint64_t)tokens ^ key(TAG_TOKENS, 0, 0)) + mix((uint64_t)step ^ key(TAG_STEP, 0, 0));
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

uint64_t hps_checksum_selection(const hps_model *model)
{
    const uint64_t numbers[] = {(uint64_t)model->select, (uint64_t)model->prefixes, bits_of(model->alpha),
                                bits_of(model->beta), bits_of(model->threshold)};
    uint64_t sum = 0;

    if (model->select == HPS_SELECT_TOPK && model->prefixes == 0) {
        return 0;
    }
    for (uint64_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        sum += mix(numbers[i] ^ key(TAG_SELECTION, 0, i));
    }
    for (int i = 0; i < model->prefixes; i++) {
        sum += mix((uint64_t)model->prefix[i] ^ key(TAG_SELECTION, 1, (uint64_t)i));
    }
    return sum;
}

uint64_t hps_checksum_bytes(uint64_t before, const void *bytes, size_t count)
{
    const unsigned char *next = bytes;

    for (size_t i = 0; i < count; i++) {
        before = mix(before ^ next[i]);
    }
    return mix(before ^ count);
}

/* The part of local rows [q, q + HPS_BLOCK), which are consecutive rows of the whole. */
static uint64_t local_block(const hps_model *model, hps_role role, hps_tensor tensor, int64_t q)
{
    const hps_tensor_layout layout = hps_model_layout(model, tensor);
    const hps_block block = {.role = role,
                             .tensor = tensor,
                             .row = hps_model_row(model, &layout, q),
                             .rows = layout.local_rows - q < HPS_BLOCK ? layout.local_rows - q : HPS_BLOCK,
                             .c0 = layout.c0,
                             .width = layout.width};

    if (layout.layout == HPS_REPLICATED && q / HPS_BLOCK % model->shard.P != model->shard.p) {
        return 0;
    }
    return hps_checksum_block(&block, hps_model_tensor(model, role, tensor) + q * layout.ld, layout.ld);
}

uint64_t hps_checksum_tensor(const hps_model *model, hps_role role, hps_tensor tensor)
{
    const int64_t rows = hps_model_layout(model, tensor).local_rows;
    uint64_t sum = 0;

#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t q = 0; q < rows; q += HPS_BLOCK) {
        sum += local_block(model, role, tensor, q);
    }
    return sum;
}

static uint64_t sum_role(const hps_model *model, hps_role role)
{
    uint64_t sum = 0;

    for (int t = 0; t < HPS_TENSORS; t++) {
        sum += hps_checksum_tensor(model, role, (hps_tensor)t);
    }
    return sum;
}

uint64_t hps_checksum_own_fired(const hps_model *model)
{
    uint64_t sum = 0;

    for (int64_t q = 0; q < model->shard.own; q += HPS_BLOCK) {
        const int64_t first = hps_shard_latent(&model->shard, q), left = model->shard.own - q;
        sum += hps_checksum_fired(first, left < HPS_BLOCK ? left : HPS_BLOCK, model->fired + first);
    }
    return sum;
}

hps_checksum hps_model_checksum(MPI_Comm comm, const hps_model *model)
{
    uint64_t sums[2] = {0, 0};

    for (int r = 0; r < HPS_ROLES; r++) {
        if (model->role[r].slab != NULL) {
            sums[r != HPS_VALUE] += sum_role(model, (hps_role)r);
        }
    }
    if (model->fired != NULL) {
        sums[1] += hps_checksum_own_fired(model);
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_UINT64_T, MPI_SUM, comm));
    return (hps_checksum){.values = sums[0],
                          .state = sums[0] + sums[1] + hps_checksum_progress(model->tokens, model->step) +
                                   hps_checksum_selection(model)};
}
