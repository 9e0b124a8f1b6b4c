#include "row_bound.h"

#include <math.h>

double hps_decoder_row_bound(const hps_grid *grid, const hps_model *model)
{
    const float *W_dec = model->role[HPS_VALUE].W_dec;
    float most = 0;

    for (int64_t i = 0; i < model->shard.n; i++) {
        for (int64_t j = 0; j < model->shard.w; j++) {
            most = fmaxf(most, fabsf(W_dec[i * model->ldd + j]));
        }
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_FLOAT, MPI_MAX, grid->model));
    return (double)most * sqrt((double)model->shard.d);
}
