#include "hpsae/model/nnls.h"

#include "double_dot.h"

#include "hpsae/base/memory.h"

#include <math.h>

static const double RIDGE = 1e-10;     /* of the largest diagonal element */
static const double TOLERANCE = 1e-12; /* of the largest right side: smaller violations are rounding */
enum { PATIENCE = 3 };                 /* exchanges of all violations that may fail to lessen them */

hps_status hps_nnls_create(int64_t most, hps_nnls *work)
{
    *work = (hps_nnls){.most = most};
    hps_status status = HPS_ALLOC(&work->factor, most * most, "least squares");
    status = status == HPS_OK ? HPS_ALLOC(&work->x, most, "least squares") : status;
    status = status == HPS_OK ? HPS_ALLOC(&work->gradient, most, "least squares") : status;
    status = status == HPS_OK ? HPS_ALLOC(&work->free, most, "least squares") : status;
    status = status == HPS_OK ? HPS_ALLOC(&work->is_free, most, "least squares") : status;
    if (status != HPS_OK) {
        hps_nnls_destroy(work);
    }
    return status;
}

void hps_nnls_destroy(hps_nnls *work)
{
    HPS_FREE(&work->factor);
    HPS_FREE(&work->x);
    HPS_FREE(&work->gradient);
    HPS_FREE(&work->free);
    HPS_FREE(&work->is_free);
}

/* Cholesky's factor, row by row, of (G + ridge) among the m free values. */
static void factorise(hps_nnls *work, int64_t m, int64_t K, const double *G, double ridge)
{
    for (int64_t i = 0; i < m; i++) {
        double *row = work->factor + i * work->most;
        const double *g = G + work->free[i] * K;
        for (int64_t j = 0; j < i; j++) {
            const double *other = work->factor + j * work->most;
            row[j] = (g[work->free[j]] - hps_double_dot(j, row, other)) / other[j];
        }
        const double pivot = g[work->free[i]] + ridge - hps_double_dot(i, row, row);
        row[i] = sqrt(pivot > 0 ? pivot : ridge);
    }
}

/* The free values that solve the equations of the free ones, the others 0, into work->x. */
static void solve_free(hps_nnls *work, int64_t K, const double *G, const double *c, const double *z0, double ridge)
{
    double *y = work->gradient;
    int64_t m = 0;

    for (int64_t i = 0; i < K; i++) {
        work->x[i] = 0;
        if (work->is_free[i]) {
            work->free[m++] = i;
        }
    }
    factorise(work, m, K, G, ridge);
    for (int64_t i = 0; i < m; i++) {
        const double *row = work->factor + i * work->most;
        const double right = c[work->free[i]] + ridge * z0[work->free[i]];
        y[i] = (right - hps_double_dot(i, row, y)) / row[i];
    }
    for (int64_t i = m - 1; i >= 0; i--) {
        double sum = y[i];
        for (int64_t j = i + 1; j < m; j++) {
            sum -= work->factor[j * work->most + i] * work->x[work->free[j]];
        }
        work->x[work->free[i]] = sum / work->factor[i * work->most + i];
    }
}

/* Whether value i is negative though free, or ought to grow though it is held at 0. */
static bool violates(const hps_nnls *work, int64_t i, double tolerance)
{
    return work->is_free[i] ? work->x[i] < -tolerance : work->gradient[i] < -tolerance;
}

static int64_t violations(hps_nnls *work, int64_t K, const double *G, const double *c, const double *z0, double ridge,
                          double tolerance)
{
    int64_t count = 0;

    for (int64_t i = 0; i < K; i++) {
        work->gradient[i] = work->is_free[i] ? 0 : hps_double_dot(K, G + i * K, work->x) - c[i] - ridge * z0[i];
        count += violates(work, i, tolerance);
    }
    return count;
}

/* Moves the violating values to the other side: all of them, or the last alone, which cannot cycle. */
static void exchange(hps_nnls *work, int64_t K, bool all, double tolerance)
{
    for (int64_t i = K - 1; i >= 0; i--) {
        if (violates(work, i, tolerance)) {
            work->is_free[i] = !work->is_free[i];
            if (!all) {
                return;
            }
        }
    }
}

static double largest(int64_t count, int64_t stride, const double *values)
{
    double most = 0;

    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(values[i * stride]));
    }
    return most;
}

bool hps_nnls_solve(hps_nnls *work, int64_t K, const double *G, const double *c, double *z)
{
    const double diagonal = largest(K, K + 1, G), ridge = RIDGE * diagonal;
    const double tolerance = TOLERANCE * largest(K, 1, c);
    int64_t least = K + 1, patience = PATIENCE;

    if (diagonal <= 0) { /* rows of zeros: every z is as good, z0 the nearest */
        return true;
    }
    for (int64_t i = 0; i < K; i++) {
        work->is_free[i] = true;
    }
    for (int64_t round = 0; round < 100 + 10 * K; round++) {
        solve_free(work, K, G, c, z, ridge);
        const int64_t count = violations(work, K, G, c, z, ridge, tolerance);
        if (count == 0) {
            for (int64_t i = 0; i < K; i++) {
                z[i] = work->x[i] > 0 ? work->x[i] : 0;
            }
            return true;
        }
        patience = count < least ? PATIENCE : patience - 1;
        least = count < least ? count : least;
        exchange(work, K, patience >= 0, tolerance);
    }
    return false;
}
