#include "hpsae/model/dataset.h"

#include <math.h>

hps_status hps_dataset_open(MPI_Comm comm, const hps_config *config, const hps_list *paths, bool gradients,
                            hps_dataset *dataset)
{
    const hps_list *list = paths != NULL && paths->count > 0 ? paths : &config->data.store;
    const double holdout = config->data.holdout;

    HPS_TRY(hps_store_open(comm, list->count, list->items, config->data.hook, &dataset->store));
    dataset->info = hps_store_about(dataset->store);
    dataset->holdout = holdout < 1 ? (int64_t)ceil(holdout * (double)dataset->info->rows) : (int64_t)holdout;
    dataset->train = dataset->info->rows - dataset->holdout;
    if (gradients && hps_store_has_gradients(dataset->store)) {
        return hps_store_open_gradients(comm, list->count, list->items, dataset->store, &dataset->gradients);
    }
    return HPS_OK;
}

void hps_dataset_close(hps_dataset *dataset)
{
    hps_store_close(&dataset->store);
    hps_store_close(&dataset->gradients);
}
