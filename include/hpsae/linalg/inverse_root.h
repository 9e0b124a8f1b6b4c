/*
 * The inverse square root of a covariance, the same bits on any number of ranks and threads.
 */
#ifndef HPSAE_LINALG_INVERSE_ROOT_H
#define HPSAE_LINALG_INVERSE_ROOT_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

/*
 * Collective over comm.  a [d, d]: symmetric, the same on every rank; becomes its square root, inverse [d, d] the inverse of
 * that, both symmetric, the same on every rank.  By the coupled Newton-Schulz iteration (Higham, Functions of Matrices, 2008,
 * eq. 6.35), which is products alone: some 20 for a condition of 1e5, one more for each factor of about 2.  Each rank takes
 * rows of them.  HPS_ENUMERIC: a is not positive definite to working precision (condition above 1e13).  HPS_ENOMEM.
 */
hps_status hps_inverse_root(MPI_Comm comm, int threads, int64_t d, double *a, double *inverse);

/* Local.  Bytes that the call holds beside its two matrices. */
int64_t hps_inverse_root_bytes(int64_t d);

/*
 * Collective over comm.  Every rank has some whole rows of matrix [rows, d] and zeros in the place of the others: now all
 * have all.  Exact: bits are joined, not numbers added.
 */
void hps_join_rows(MPI_Comm comm, int64_t rows, int64_t d, double *matrix);

#endif
