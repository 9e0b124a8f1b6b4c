/*
 * Matrices dealt in square blocks, in turn over the rows and over the columns of a process grid (block-cyclic).  A rank's
 * part is one array by columns: element (i, j) of its local_m x local_n stands at i + j * ld.
 */
#ifndef HPSAE_LINALG_CYCLIC_H
#define HPSAE_LINALG_CYCLIC_H

#include "hpsae/linalg/process_grid.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const hps_process_grid *grid; /* borrowed */
    int64_t m, n, nb;             /* the whole matrix m x n, blocks nb x nb */
    int64_t local_m, local_n, ld;
    int desc[9]; /* ScaLAPACK's */
} hps_cyclic;

/*
 * Local.  How m x n is dealt; ld: of the rank's part, 0 for the least.  Error: HPS_ECONFIG when a rank's part has 2^31
 * elements or more, which ScaLAPACK cannot count.
 */
hps_status hps_cyclic_create(const hps_process_grid *grid, int64_t m, int64_t n, int64_t nb, int64_t ld,
                             hps_cyclic *cyclic);

/* Local.  Elements of this rank's array, at least 1; of the rank that has most. */
static inline int64_t hps_cyclic_elements(const hps_cyclic *c)
{
    return c->ld * (c->local_n > 0 ? c->local_n : 1);
}
int64_t hps_cyclic_most_elements(const hps_process_grid *grid, int64_t m, int64_t n, int64_t nb);

/* Local.  The block that suits n x n: at most `wanted`, and two a process at least, which keeps ScaLAPACK's solvers right. */
int64_t hps_cyclic_block(const hps_process_grid *grid, int64_t n, int64_t wanted);

/* Local.  Global number of local row i, and of local column j. */
static inline int64_t hps_cyclic_row(const hps_cyclic *c, int64_t i)
{
    return (i / c->nb * c->grid->P + c->grid->p) * c->nb + i % c->nb;
}
static inline int64_t hps_cyclic_column(const hps_cyclic *c, int64_t j)
{
    return (j / c->nb * c->grid->Q + c->grid->q) * c->nb + j % c->nb;
}

/* Local.  The rank's own number of a global row, or column; -1 where another has it. */
static inline int64_t hps_cyclic_local_row(const hps_cyclic *c, int64_t row)
{
    const int64_t block = row / c->nb;

    return block % c->grid->P == c->grid->p ? block / c->grid->P * c->nb + row % c->nb : -1;
}
static inline int64_t hps_cyclic_local_column(const hps_cyclic *c, int64_t column)
{
    const int64_t block = column / c->nb;

    return block % c->grid->Q == c->grid->q ? block / c->grid->Q * c->nb + column % c->nb : -1;
}

/*
 * Collective over the grid.  Rows [first, first + count) on every rank, by rows: whole [count, n].  count * n below 2^31.
 * The same for columns: whole [count, m], one column after the other.
 */
void hps_cyclic_gather_rows(const hps_cyclic *c, const double *part, int64_t first, int64_t count, double *whole);
void hps_cyclic_gather_columns(const hps_cyclic *c, const double *part, int64_t first, int64_t count, double *whole);

#endif
