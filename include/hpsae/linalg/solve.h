/*
 * Symmetric systems: eigenvalues and linear equations (ScaLAPACK's pdsyevd and pdposv).  Of the matrices the lower triangle
 * is read.
 */
#ifndef HPSAE_LINALG_SOLVE_H
#define HPSAE_LINALG_SOLVE_H

#include "hpsae/linalg/cyclic.h"

/*
 * Collective over the grid.  Eigenvalues w [n], ascending, on every rank, and eigenvectors, the columns of z, dealt like
 * a, which is destroyed.  The blocks must be as hps_cyclic_block says.  Errors: HPS_ENOMEM, HPS_ECONFIG (workspace beyond
 * what ScaLAPACK counts), HPS_ENUMERIC when it does not converge.
 */
hps_status hps_cyclic_eigen(const hps_cyclic *A, double *a, double *w, double *z);

/* Local.  Bytes that a rank holds in the call, beside a, w and z; about. */
int64_t hps_cyclic_eigen_bytes(const hps_process_grid *grid, int64_t n, int64_t nb);

/*
 * Collective over the grid.  Solves A X = B for a positive definite A by Cholesky; b becomes X, a its factor.  Returns in
 * *minor 0, or the order of the first leading minor of A that is not positive, on every rank; b is then spoilt.
 */
void hps_cyclic_solve(const hps_cyclic *A, double *a, const hps_cyclic *B, double *b, int64_t *minor);

#endif
