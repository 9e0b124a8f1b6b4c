#include "normal_equations.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"
#include "hpsae/linalg/solve.h"

#include <omp.h>

hps_status hps_normal_create(const hps_process_grid *over, int64_t n, int64_t d, int64_t nb, hps_normal *e)
{
    *e = (hps_normal){.silent = 0};
    HPS_TRY(hps_cyclic_create(over, n, n, nb, 0, &e->A));
    HPS_TRY(hps_cyclic_create(over, n, d, nb, 0, &e->B));
    HPS_TRY(HPS_ALLOC(&e->a, hps_cyclic_elements(&e->A), "normal equations"));
    HPS_TRY(HPS_ALLOC(&e->b, hps_cyclic_elements(&e->B), "normal equations"));
    HPS_TRY(HPS_ALLOC(&e->sum, e->B.local_m * e->B.local_n, "normal equations"));
    HPS_TRY(HPS_ALLOC(&e->column, e->B.local_n, "normal equations"));
    for (int64_t c = 0; c < e->B.local_n; c++) {
        e->column[c] = (int32_t)hps_cyclic_column(&e->B, c);
    }
    return HPS_ALLOC(&e->diagonal, n, "normal equations");
}

void hps_normal_destroy(hps_normal *e)
{
    HPS_FREE(&e->a);
    HPS_FREE(&e->b);
    HPS_FREE(&e->sum);
    HPS_FREE(&e->column);
    HPS_FREE(&e->diagonal);
}

int64_t hps_normal_bytes(const hps_process_grid *over, int64_t n, int64_t d, int64_t nb)
{
    return 8 * (hps_cyclic_most_elements(over, n, n, nb) + 2 * hps_cyclic_most_elements(over, n, d, nb) + n);
}

/* One token: the columns and rows of A and the rows of B that are this thread's. */
static void add_token(hps_normal *e, const hps_candidate *slot, int64_t slots, const float *y, int thread, int threads)
{
    for (int64_t s = 0; s < slots; s++) {
        const int64_t j = hps_cyclic_local_column(&e->A, slot[s].latent);
        double *column = e->a + j * e->A.ld;
        for (int64_t q = 0; j >= 0 && j % threads == thread && q < slots; q++) {
            const int64_t i = slot[q].latent >= slot[s].latent ? hps_cyclic_local_row(&e->A, slot[q].latent) : -1;
            if (i >= 0) {
                column[i] += (double)slot[s].value * (double)slot[q].value;
            }
        }
        const int64_t row = hps_cyclic_local_row(&e->B, slot[s].latent);
        double *sum = e->sum + row * e->B.local_n;
        for (int64_t c = 0; row >= 0 && row % threads == thread && c < e->B.local_n; c++) {
            sum[c] += (double)slot[s].value * (double)y[e->column[c]];
        }
    }
}

void hps_normal_add(hps_normal *e, int64_t T, const hps_slots *slots, int64_t ldy, const float *y, int threads)
{
#pragma omp parallel num_threads(threads)
    for (int64_t t = 0; t < T; t++) {
        add_token(e, slots->slot + slots->first[t], slots->first[t + 1] - slots->first[t], y + t * ldy,
                  omp_get_thread_num(), omp_get_num_threads());
    }
}

/* The place of diagonal element i in this rank's part; NULL when it is another's. */
static double *diagonal_at(const hps_normal *e, int64_t i)
{
    const int64_t row = hps_cyclic_local_row(&e->A, i), column = hps_cyclic_local_column(&e->A, i);

    return row >= 0 && column >= 0 ? e->a + row + column * e->A.ld : NULL;
}

double hps_normal_ridge(hps_normal *e, double ridge)
{
    const int64_t n = e->A.n;
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        const double *at = diagonal_at(e, i);
        e->diagonal[i] = at != NULL ? *at : 0;
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, e->diagonal, hps_count(n), MPI_DOUBLE, MPI_SUM, e->A.grid->comm));
    e->silent = 0;
    for (int64_t i = 0; i < n; i++) {
        e->silent += !(e->diagonal[i] > 0);
        sum += e->diagonal[i];
    }
    const double added = n > e->silent ? ridge * sum / (double)(n - e->silent) : 0;
    for (int64_t i = 0; i < n; i++) {
        double *at = diagonal_at(e, i);
        if (at != NULL) {
            *at = e->diagonal[i] > 0 ? *at + added : 1;
        }
    }
    return added;
}

hps_status hps_normal_solve(hps_normal *e)
{
    int64_t minor;

    for (int64_t j = 0; j < e->B.local_n; j++) {
        for (int64_t i = 0; i < e->B.local_m; i++) {
            e->b[i + j * e->B.ld] = e->sum[i * e->B.local_n + j];
        }
    }
    hps_cyclic_solve(&e->A, e->a, &e->B, e->b, &minor);
    if (minor != 0) {
        return hps_fail(
            HPS_ENUMERIC,
            "Z'Z is not positive definite: its first %lld latents fire in too few ways on these rows; set a "
            "larger refit.ridge, or more refit.tokens",
            (long long)minor);
    }
    return HPS_OK;
}
