#include "permutation.h"

#include "hpsae/base/rng.h"

void hps_permutation_create(uint64_t seed, int64_t rows, hps_permutation *permutation)
{
    int bits = 2;

    while (bits < 62 && (int64_t)1 << bits < rows) {
        bits++;
    }
    permutation->rows = (uint64_t)rows;
    permutation->high = bits / 2;
    permutation->low = bits - bits / 2;
    for (int round = 0; round < HPS_PERMUTATION_ROUNDS; round++) {
        permutation->key[round] = hps_random_u64(seed, HPS_DRAW_SHUFFLE_ROW, (uint64_t)rows, (uint64_t)round);
    }
}

/* The first `bits` bits of a mix of a half and the round's key. */
static inline uint64_t scramble(uint64_t half, uint64_t key, int bits)
{
    uint64_t z = half + key;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) >> (64 - bits);
}

static inline uint64_t forward(const hps_permutation *p, uint64_t x)
{
    uint64_t left = x >> p->low, right = x & (((uint64_t)1 << p->low) - 1);

    for (int round = 0; round < HPS_PERMUTATION_ROUNDS; round += 2) {
        left ^= scramble(right, p->key[round], p->high);
        right ^= scramble(left, p->key[round + 1], p->low);
    }
    return left << p->low | right;
}

static inline uint64_t backward(const hps_permutation *p, uint64_t x)
{
    uint64_t left = x >> p->low, right = x & (((uint64_t)1 << p->low) - 1);

    for (int round = HPS_PERMUTATION_ROUNDS - 2; round >= 0; round -= 2) {
        right ^= scramble(left, p->key[round + 1], p->low);
        left ^= scramble(right, p->key[round], p->high);
    }
    return left << p->low | right;
}

int64_t hps_permutation_place(const hps_permutation *permutation, int64_t row)
{
    uint64_t x = (uint64_t)row;

    do {
        x = forward(permutation, x);
    } while (x >= permutation->rows);
    return (int64_t)x;
}

int64_t hps_permutation_row(const hps_permutation *permutation, int64_t place)
{
    uint64_t x = (uint64_t)place;

    do {
        x = backward(permutation, x);
    } while (x >= permutation->rows);
    return (int64_t)x;
}
