#include "hpsae/linalg/solve.h"

#include "scalapack.h"

#include "hpsae/base/memory.h"

#include <math.h>

static const int one = 1, ask = -1;

/* What pdsyevd says it needs is too little when n is small beside nb and the grid: it then reports success and returns
 * eigenvectors that are none, or hangs. */
static int64_t padding(int64_t rows, int64_t columns, int64_t nb)
{
    return 3 * nb * nb + 2 * nb * (rows + columns + 2 * nb);
}

int64_t hps_cyclic_eigen_bytes(const hps_process_grid *grid, int64_t n, int64_t nb)
{
    const int64_t rows = n / grid->P + nb, columns = n / grid->Q + nb;

    return 8 * (6 * n + 2 * rows * columns + 3 * nb * (rows + columns) + padding(rows, columns, nb)) + 4 * (8 * n + 64);
}

/* Collective. */
static hps_status eigen(const hps_cyclic *A, double *a, double *w, double *z, double **work, int **iwork)
{
    const int n = (int)A->n;
    double wanted = 0;
    int iwanted = 0, info = 0;

    pdsyevd_("V", "L", &n, a, &one, &one, A->desc, w, z, &one, &one, A->desc, &wanted, &ask, &iwanted, &ask, &info);
    const double length = ceil(wanted * 1.01) + (double)padding(A->local_m, A->local_n, A->nb);
    hps_status status = HPS_OK;
    if (length > INT32_MAX) {
        status =
            hps_fail(HPS_ECONFIG, "eigenvectors of %d columns on %d ranks: use more ranks", n, A->grid->P * A->grid->Q);
    }
    const int lwork = status == HPS_OK ? (int)length : 1, liwork = iwanted;
    status = status == HPS_OK ? HPS_ALLOC(work, lwork, "workspace of the eigenvectors") : status;
    status = status == HPS_OK ? HPS_ALLOC(iwork, liwork, "workspace of the eigenvectors") : status;
    HPS_TRY(hps_agree(A->grid->comm, status));
    pdsyevd_("V", "L", &n, a, &one, &one, A->desc, w, z, &one, &one, A->desc, *work, &lwork, *iwork, &liwork, &info);
    if (info != 0) {
        status =
            hps_fail(HPS_ENUMERIC, "the eigenvalues of a matrix of %d columns do not converge (pdsyevd: %d)", n, info);
    }
    return hps_agree(A->grid->comm, status);
}

hps_status hps_cyclic_eigen(const hps_cyclic *A, double *a, double *w, double *z)
{
    double *work = NULL;
    int *iwork = NULL;

    const hps_status status = eigen(A, a, w, z, &work, &iwork);
    HPS_FREE(&work);
    HPS_FREE(&iwork);
    return status;
}

void hps_cyclic_solve(const hps_cyclic *A, double *a, const hps_cyclic *B, double *b, int64_t *minor)
{
    const int n = (int)A->n, sides = (int)B->n;
    int info = 0;

    pdposv_("L", &n, &sides, a, &one, &one, A->desc, b, &one, &one, B->desc, &info);
    /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker) */
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &info, 1, MPI_INT, MPI_MAX, A->grid->comm));
    *minor = info;
}
