#include "hpsae/linalg/cyclic.h"

#include "scalapack.h"

#include "hpsae/comm/sums.h"

#include <string.h>

static const int zero = 0;

/* Of n rows in blocks, those of process p of P. */
static int64_t share(int64_t n, int64_t nb, int p, int P)
{
    const int whole = (int)n, block = (int)nb;

    return numroc_(&whole, &block, &p, &zero, &P);
}

hps_status hps_cyclic_create(const hps_process_grid *grid, int64_t m, int64_t n, int64_t nb, int64_t ld, hps_cyclic *c)
{
    int info;

    *c = (hps_cyclic){.grid = grid, .m = m, .n = n, .nb = nb};
    if (m > INT32_MAX || n > INT32_MAX || hps_cyclic_most_elements(grid, m, n, nb) > INT32_MAX) {
        return hps_fail(HPS_ECONFIG,
                        "a matrix of %lld x %lld over %d x %d ranks: ScaLAPACK counts to 2^31 elements a rank; use "
                        "more ranks",
                        (long long)m, (long long)n, grid->P, grid->Q);
    }
    c->local_m = share(m, nb, grid->p, grid->P);
    c->local_n = share(n, nb, grid->q, grid->Q);
    c->ld = ld > 0 ? ld : c->local_m > 0 ? c->local_m : 1;
    const int rows = (int)m, columns = (int)n, block = (int)nb, leading = (int)c->ld;
    descinit_(c->desc, &rows, &columns, &block, &block, &zero, &zero, &grid->context, &leading, &info);
    return info == 0 ? HPS_OK : hps_fail(HPS_EINTERNAL, "ScaLAPACK refuses argument %d of a descriptor", -info);
}

int64_t hps_cyclic_most_elements(const hps_process_grid *grid, int64_t m, int64_t n, int64_t nb)
{
    const int64_t rows = share(m, nb, 0, grid->P), columns = share(n, nb, 0, grid->Q);

    return (rows > 0 ? rows : 1) * (columns > 0 ? columns : 1);
}

int64_t hps_cyclic_block(const hps_process_grid *grid, int64_t n, int64_t wanted)
{
    const int64_t most = n / (2 * (int64_t)(grid->P > grid->Q ? grid->P : grid->Q));

    return most < 1 ? 1 : most < wanted ? most : wanted;
}

/* Each element is one rank's, the others add zero. */
static void join(const hps_cyclic *c, int64_t count, double *whole)
{
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, whole, hps_count(count), MPI_DOUBLE, MPI_SUM, c->grid->comm));
}

void hps_cyclic_gather_rows(const hps_cyclic *c, const double *part, int64_t first, int64_t count, double *whole)
{
    memset(whole, 0, (size_t)(count * c->n) * sizeof(*whole));
    for (int64_t r = 0; r < count; r++) {
        const int64_t i = hps_cyclic_local_row(c, first + r);
        for (int64_t j = 0; i >= 0 && j < c->local_n; j++) {
            whole[r * c->n + hps_cyclic_column(c, j)] = part[i + j * c->ld];
        }
    }
    join(c, count * c->n, whole);
}

void hps_cyclic_gather_columns(const hps_cyclic *c, const double *part, int64_t first, int64_t count, double *whole)
{
    memset(whole, 0, (size_t)(count * c->m) * sizeof(*whole));
    for (int64_t r = 0; r < count; r++) {
        const int64_t j = hps_cyclic_local_column(c, first + r);
        for (int64_t i = 0; j >= 0 && i < c->local_m; i++) {
            whole[r * c->m + hps_cyclic_row(c, i)] = part[i + j * c->ld];
        }
    }
    join(c, count * c->m, whole);
}
