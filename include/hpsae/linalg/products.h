/*
 * Products of block-cyclic matrices (PBLAS).  Sums over columns that several ranks share are ScaLAPACK's: their last bits
 * depend on the grid.
 */
#ifndef HPSAE_LINALG_PRODUCTS_H
#define HPSAE_LINALG_PRODUCTS_H

#include "hpsae/linalg/cyclic.h"

/*
 * Collective over the ranks that both grids are made of.  Columns [first, first + to->n) of `a`, dealt over one grid, to
 * `b`, dealt over another: the same numbers.  Beyond the arrays, ScaLAPACK takes about as much memory as the ranks' parts
 * of b, twice, while it runs.
 */
void hps_cyclic_deal(const hps_cyclic *from, const float *a, int64_t first, const hps_cyclic *to, float *b);

/* Collective over the grid.  C = A' B, for A k x m, B k x n. */
void hps_cyclic_gram(const hps_cyclic *A, const float *a, const hps_cyclic *B, const float *b, const hps_cyclic *C,
                     float *c);

/* Collective over the grid.  C += A A', its lower triangle alone, for A n x k of which `columns` take part. */
void hps_cyclic_add_square(const hps_cyclic *A, const double *a, int64_t columns, const hps_cyclic *C, double *c);

/* Collective over the grid.  C = A B for a symmetric A, of which the lower triangle is read. */
void hps_cyclic_symmetric_times(const hps_cyclic *A, const double *a, const hps_cyclic *B, const double *b,
                                const hps_cyclic *C, double *c);

#endif
