#include "hpsae/linalg/process_grid.h"

#include "scalapack.h"

#include <string.h>

/* The largest divisor of ranks that is not above its root. */
static int64_t squarest(int64_t ranks)
{
    int64_t rows = 1;

    for (int64_t r = 1; r * r <= ranks; r++) {
        rows = ranks % r == 0 ? r : rows;
    }
    return rows;
}

/* rows and columns, 0 where free, become a grid of all ranks where there is one. */
static void complete(int64_t ranks, int64_t *rows, int64_t *columns)
{
    if (*rows == 0) {
        *rows = *columns > 0 && ranks % *columns == 0 ? ranks / *columns : squarest(ranks);
    }
    if (*columns == 0) {
        *columns = ranks % *rows == 0 ? ranks / *rows : 1;
    }
}

hps_status hps_process_grid_create(MPI_Comm comm, int64_t rows, int64_t columns, hps_process_grid *grid)
{
    int ranks;

    memset(grid, 0, sizeof(*grid));
    HPS_MPI(MPI_Comm_size(comm, &ranks));
    complete(ranks, &rows, &columns);
    if (rows * columns != ranks) {
        return hps_fail(HPS_ECONFIG,
                        "a process grid of %lld x %lld takes %lld ranks, and the job has %d; set grid.rows and "
                        "grid.columns to a product of %d, or to auto",
                        (long long)rows, (long long)columns, (long long)(rows * columns), ranks, ranks);
    }
    HPS_MPI(MPI_Comm_dup(comm, &grid->comm));
    grid->context = grid->handle = Csys2blacs_handle(grid->comm);
    Cblacs_gridinit(&grid->context, "Row", (int)rows, (int)columns);
    Cblacs_gridinfo(grid->context, &grid->P, &grid->Q, &grid->p, &grid->q);
    return HPS_OK;
}

void hps_process_grid_destroy(hps_process_grid *grid)
{
    if (grid->P > 0) {
        Cblacs_gridexit(grid->context);
        Cfree_blacs_system_handle(grid->handle);
        HPS_MPI(MPI_Comm_free(&grid->comm));
    }
    grid->P = 0;
}
