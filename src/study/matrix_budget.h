/*
 * What compare, pca and refit share of the section `grid`: the ranks that matrices are dealt over, and the limit on what a
 * rank may hold, said at the start and kept by what is refused before work starts.
 */
#ifndef HPSAE_STUDY_MATRIX_BUDGET_H
#define HPSAE_STUDY_MATRIX_BUDGET_H

#include "hpsae/config/config.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/linalg/process_grid.h"

/* Collective over world.  The grid that grid.rows and grid.columns ask for.  Errors: those of hps_process_grid_create. */
hps_status hps_matrix_grid(MPI_Comm world, const hps_config *config, hps_process_grid *over);

/* Local.  grid.memory in bytes. */
int64_t hps_budget(const hps_config *config);

/*
 * Local.  Says the grid, the limit and what the work will take of it.  Error: HPS_ECONFIG when that is more, with what would
 * fit; `what` names the work ("2 dictionaries of 4096 latents together by 576").
 */
hps_status hps_budget_check(const hps_config *config, const char *module, const hps_process_grid *over, int64_t bytes,
                            const char *what);

/* Collective over comm.  Says the most that any rank held in arrays since the program began. */
void hps_budget_tell(MPI_Comm comm, const char *module);

/* What it takes to encode by a model. */
typedef struct {
    int64_t n, d, k;
    hps_select select;
    int64_t batch;
    int ranks, threads;
    const hps_kernels *kernels;
    bool encodes; /* else it is only read */
} hps_coding_size;

/*
 * Local.  Bytes that the rank that holds most has of a model and, if it encodes, of its forward pass and feed: everything
 * is created as it would be, large arrays as addresses alone.  Errors: those of the creation.
 */
hps_status hps_coding_bytes(const hps_coding_size *size, int64_t *bytes);

#endif
