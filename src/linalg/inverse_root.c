#include "hpsae/linalg/inverse_root.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/ordered_product.h"
#include "hpsae/comm/sums.h"

#include <math.h>
#include <string.h>

enum { STRIP = 32, MOST = 64, PIECE = 1 << 24 }; /* rows at a time; iterations; numbers in a message */

static const double near = 1e-7, worst_condition = 1e13;

typedef struct {
    MPI_Comm comm;
    int rank, size, threads;
    int64_t d;
    double *Y, *Z; /* converge to the root of the scaled matrix, and to its inverse; borrowed */
    double *T, *next;
} iteration;

void hps_join_rows(MPI_Comm comm, int64_t rows, int64_t d, double *matrix)
{
    for (int64_t at = 0; at < rows * d; at += PIECE) {
        const int64_t count = rows * d - at < PIECE ? rows * d - at : PIECE;
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, matrix + at, hps_count(count), MPI_UINT64_T, MPI_BOR, comm));
    }
}

/* Collective.  c = a b. */
static void multiply(const iteration *x, const double *a, const double *b, double *c)
{
    const int64_t d = x->d, strips = (d + STRIP - 1) / STRIP;

    memset(c, 0, (size_t)(d * d) * sizeof(double));
#pragma omp parallel for schedule(dynamic) num_threads(x->threads)
    for (int64_t s = x->rank; s < strips; s += x->size) {
        const int64_t first = s * STRIP, rows = d - first < STRIP ? d - first : STRIP;
        hps_ordered_product(rows, d, d, a + first * d, d, 1, b, d, c + first * d, d);
    }
    hps_join_rows(x->comm, d, d, c);
}

static void swap(double **a, double **b)
{
    double *c = *a;

    *a = *b;
    *b = c;
}

/* T = (3 I - T) / 2 for T = Z Y; how far that was from I. */
static double correct(const iteration *x)
{
    double most = 0;

    for (int64_t i = 0; i < x->d; i++) {
        for (int64_t j = 0; j < x->d; j++) {
            double *t = &x->T[i * x->d + j];
            const double off = fabs((i == j ? 1 : 0) - *t);
            most = isnan(most) || off <= most ? most : off;
            *t = 0.5 * ((i == j ? 3 : 0) - *t);
        }
    }
    return most;
}

static hps_status not_definite(void)
{
    return hps_fail(HPS_ENUMERIC, "the matrix is not positive definite to working precision");
}

/* Collective.  Y <- Y T, Z <- T Z, until Z Y = I: quadratic once they are near. */
static hps_status iterate(iteration *x)
{
    for (int i = 0; i < MOST; i++) {
        multiply(x, x->Z, x->Y, x->T);
        const double off = correct(x);
        multiply(x, x->Y, x->T, x->next);
        swap(&x->Y, &x->next);
        multiply(x, x->T, x->Z, x->next);
        swap(&x->Z, &x->next);
        if (off < near) {
            return HPS_OK;
        }
        if (!(off < 10)) { /* eigenvalues of Z Y stay within (0, 1], but for those that are none */
            return not_definite();
        }
    }
    return not_definite();
}

/* The largest sum of a row's sizes, which no eigenvalue exceeds. */
static double bound(int64_t d, const double *a)
{
    double most = 0;

    for (int64_t i = 0; i < d; i++) {
        double sum = 0;
        for (int64_t j = 0; j < d; j++) {
            sum += fabs(a[i * d + j]);
        }
        most = sum > most ? sum : most;
    }
    return most;
}

/* Rounding has left the halves apart. */
static void finish(int64_t d, const double *from, double factor, double *to)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const double mean = 0.5 * (from[i * d + j] + from[j * d + i]) * factor;
            to[i * d + j] = to[j * d + i] = mean;
        }
    }
}

static double square_sum(int64_t d, const double *a)
{
    double sum = 0;

    for (int64_t i = 0; i < d * d; i++) {
        sum += a[i] * a[i];
    }
    return sum;
}

static hps_status solve(iteration *x, double *a, double *inverse)
{
    const int64_t d = x->d;
    const double size = bound(d, a);

    if (!(size > 0) || !isfinite(size)) {
        return not_definite();
    }
    for (int64_t i = 0; i < d * d; i++) {
        x->Y[i] = a[i] / size;
        x->Z[i] = i % (d + 1) == 0 ? 1 : 0;
    }
    HPS_TRY(iterate(x));
    if (!(square_sum(d, x->Z) < worst_condition)) { /* at least 1 / the smallest eigenvalue; the largest is at most 1 */
        return not_definite();
    }
    finish(d, x->Y, sqrt(size), a);
    finish(d, x->Z, 1 / sqrt(size), inverse);
    return HPS_OK;
}

int64_t hps_inverse_root_bytes(int64_t d)
{
    return 4 * d * d * (int64_t)sizeof(double);
}

hps_status hps_inverse_root(MPI_Comm comm, int threads, int64_t d, double *a, double *inverse)
{
    iteration x = {.comm = comm, .threads = threads, .d = d};
    double *work = NULL;

    HPS_MPI(MPI_Comm_rank(comm, &x.rank));
    HPS_MPI(MPI_Comm_size(comm, &x.size));
    HPS_TRY(hps_agree(comm, HPS_ALLOC(&work, 4 * d * d, "square root of a matrix")));
    x.Y = work;
    x.Z = work + d * d;
    x.T = work + 2 * d * d;
    x.next = work + 3 * d * d;
    const hps_status status = solve(&x, a, inverse);
    HPS_FREE(&work);
    return status;
}
