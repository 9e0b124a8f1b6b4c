#include "hpsae/comm/grid.h"

#include <string.h>

hps_status hps_grid_create(MPI_Comm world, int groups, hps_grid *grid)
{
    int size, rank;

    memset(grid, 0, sizeof(*grid));
    grid->model = grid->groups = MPI_COMM_NULL;
    HPS_MPI(MPI_Comm_size(world, &size));
    HPS_MPI(MPI_Comm_rank(world, &rank));
    if (groups < 1 || size % groups != 0) {
        return hps_fail(
            HPS_ECONFIG,
            "%d data groups do not divide the %d ranks; set train.groups to a divisor, or start a multiple of "
            "it as ranks",
            groups, size);
    }
    grid->world = world;
    grid->R = groups;
    grid->P = size / groups;
    grid->r = rank / grid->P;
    grid->p = rank % grid->P;
    HPS_MPI(MPI_Comm_split(world, grid->r, grid->p, &grid->model));
    if (groups > 1) {
        HPS_MPI(MPI_Comm_split(world, grid->p, grid->r, &grid->groups));
    }
    return HPS_OK;
}

void hps_grid_destroy(hps_grid *grid)
{
    if (grid->model != MPI_COMM_NULL) {
        HPS_MPI(MPI_Comm_free(&grid->model));
    }
    if (grid->R > 1 && grid->groups != MPI_COMM_NULL) {
        HPS_MPI(MPI_Comm_free(&grid->groups));
    }
}

hps_status hps_grid_agree(const hps_grid *grid, hps_status of_group)
{
    return grid->R > 1 ? hps_agree(grid->world, of_group) : of_group;
}

hps_status hps_shard_create(int64_t n, int64_t d, int P, int p, hps_shard *shard)
{
    memset(shard, 0, sizeof(*shard));
    if (n < 1 || d < 1 || n > INT32_MAX - 1) {
        return hps_fail(HPS_ECONFIG,
                        "a dictionary of %lld latents by %lld columns: both must be at least 1, latents "
                        "below 2^31 - 1",
                        (long long)n, (long long)d);
    }
    if (n < P) {
        return hps_fail(HPS_ECONFIG, "%d ranks for %lld latents: use at most as many ranks as latents", P,
                        (long long)n);
    }
    const int64_t blocks = (d + HPS_BLOCK - 1) / HPS_BLOCK, whole = n / HPS_BLOCK, rest = n % HPS_BLOCK;
    const int64_t c0 = p * blocks / P * HPS_BLOCK, c1 = (p + 1) * blocks / P * HPS_BLOCK;

    shard->n = n;
    shard->d = d;
    shard->P = P;
    shard->p = p;
    shard->own = (whole / P + (p < whole % P)) * HPS_BLOCK + (whole % P == p ? rest : 0);
    shard->c0 = c0 < d ? c0 : d;
    shard->c1 = c1 < d ? c1 : d;
    shard->w = shard->c1 - shard->c0;
    return HPS_OK;
}
