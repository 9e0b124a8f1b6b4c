/*
 * The parts of which checksums of a model are made: sums modulo 2^64, so that parts of disjoint blocks may be added in
 * any order, on any rank.  They find accidents (damage, swapped rows or columns, a lost update), not forgery.
 */
#ifndef HPSAE_MODEL_CHECKSUM_H
#define HPSAE_MODEL_CHECKSUM_H

#include "hpsae/model/model.h"

#include <stddef.h>
#include <stdint.h>

/* Which block of a role's tensor: global rows [row, row + rows), columns [c0, c0 + width). */
typedef struct {
    hps_role role;
    hps_tensor tensor;
    int64_t row, rows;
    int64_t c0, width;
} hps_block;

/*
 * Local.  The part of one block, values [rows, width] with leading dimension ld.  The hash of one number: A(role,
 * tensor, row) * ((bits xor k1(tensor, column)) * k2(tensor, column)), A and k2 odd, so that any one flipped bit shows
 * (multilinear hashing; Carter and Wegman 1979).
 */
uint64_t hps_checksum_block(const hps_block *block, const float *values, int64_t ld);

/* Local.  The part of dead counters [first, first + count). */
uint64_t hps_checksum_fired(int64_t first, int64_t count, const int64_t *fired);

/* Local.  The part of tokens and steps done. */
uint64_t hps_checksum_progress(int64_t tokens, int64_t step);

/*
 * Local.  The part of how it selects: rule, alpha, beta, threshold, nested sizes.  0 for TopK without nested sizes,
 * whose checksum is that of its numbers and progress alone.
 */
uint64_t hps_checksum_selection(const hps_model *model);

/* Local.  A hash of bytes, going on from `before` (0 at first). */
uint64_t hps_checksum_bytes(uint64_t before, const void *bytes, size_t count);

/* Local.  This rank's part of the dead counters of its model, counted like a tensor that all ranks hold. */
uint64_t hps_checksum_own_fired(const hps_model *model);

/*
 * Local.  This rank's part of one tensor of its model.  What is held by all ranks is counted in blocks of HPS_BLOCK
 * rows by the rank that would own those latents: a rank whose copy went astray changes the sum.
 */
uint64_t hps_checksum_tensor(const hps_model *model, hps_role role, hps_tensor tensor);

#endif
