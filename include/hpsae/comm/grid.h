/*
 * The process grid: R data groups x P model ranks, and what each model rank owns of a dictionary.
 *
 * A data group holds the whole model.  Encoder rows are dealt to its P ranks by latents, in blocks of HPS_BLOCK latents
 * (block b belongs to rank b mod P); the decoder by columns, in whole blocks of HPS_BLOCK columns, contiguous.  With more
 * ranks than column blocks some ranks own no columns.
 */
#ifndef HPSAE_COMM_GRID_H
#define HPSAE_COMM_GRID_H

#include "hpsae/base/canonical.h"
#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    MPI_Comm world; /* borrowed */
    MPI_Comm model; /* the P ranks of this data group; owned */
    MPI_Comm
        groups; /* the R ranks, one of each group in their order, that hold the same part; owned; NULL with one group */
    int R, P;   /* data groups, model ranks */
    int r, p;   /* this rank's group, and its rank within it */
} hps_grid;

/* Local.  Whether the grid is one that is only planned (model is MPI_COMM_NULL): what is created on it allocates, and stops. */
static inline bool hps_grid_is_planned(const hps_grid *grid)
{
    return grid->model == MPI_COMM_NULL;
}

/*
 * Collective over world.  Splits world into `groups` data groups.  Error: HPS_ECONFIG if groups does not divide the
 * number of ranks.  Release with hps_grid_destroy (collective).
 */
hps_status hps_grid_create(MPI_Comm world, int groups, hps_grid *grid);
void hps_grid_destroy(hps_grid *grid);

/* Collective over grid->world.  On what each data group has agreed already, its ranks bring alike; with one group nothing. */
hps_status hps_grid_agree(const hps_grid *grid, hps_status of_group);

typedef struct {
    int64_t n, d; /* the whole dictionary: latents, columns */
    int P, p;
    int64_t own;    /* latents of this rank */
    int64_t c0, c1; /* its columns: [c0, c1) */
    int64_t w;      /* c1 - c0 */
} hps_shard;

/* Local.  The share of rank p of P.  Error: HPS_ECONFIG if n < P or a size is below 1. */
hps_status hps_shard_create(int64_t n, int64_t d, int P, int p, hps_shard *shard);

/* Local.  Global number of the rank's latent number `local` (0 <= local < own); ascending in local. */
static inline int64_t hps_shard_latent(const hps_shard *s, int64_t local)
{
    return (local / HPS_BLOCK * s->P + s->p) * HPS_BLOCK + local % HPS_BLOCK;
}

/* Local.  The rank's own number of a global latent, or -1 if another rank owns it. */
static inline int64_t hps_shard_local(const hps_shard *s, int64_t latent)
{
    const int64_t block = latent / HPS_BLOCK;

    return block % s->P == s->p ? block / s->P * HPS_BLOCK + latent % HPS_BLOCK : -1;
}

#endif
