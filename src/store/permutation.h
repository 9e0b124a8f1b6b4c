/*
 * A random permutation of [0, rows) that can be evaluated at any point, in both directions, without a table: a Feistel
 * network over the smallest power of two that holds all rows, walked along its cycles until it is below `rows` (Black
 * and Rogaway 2002).  Round keys come from the counter-based generator, the round function is the finaliser of
 * SplitMix64 (Steele, Lea and Flood 2014).  It depends on (seed, rows) and nothing else.
 */
#ifndef HPSAE_STORE_PERMUTATION_H
#define HPSAE_STORE_PERMUTATION_H

#include <stdint.h>

enum { HPS_PERMUTATION_ROUNDS = 12 };

typedef struct {
    uint64_t rows;
    int high, low; /* bits of the two halves */
    uint64_t key[HPS_PERMUTATION_ROUNDS];
} hps_permutation;

/* Local.  1 <= rows < 2^62. */
void hps_permutation_create(uint64_t seed, int64_t rows, hps_permutation *permutation);

/* Local.  The place to which row `row` goes, and the row that comes to a place; both in [0, rows). */
int64_t hps_permutation_place(const hps_permutation *permutation, int64_t row);
int64_t hps_permutation_row(const hps_permutation *permutation, int64_t place);

#endif
