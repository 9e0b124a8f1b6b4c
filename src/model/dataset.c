#include "hpsae/model/dataset.h"

#include "hpsae/base/log.h"

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

void hps_dataset_rows(const hps_dataset *dataset, hps_rows part, int64_t *first, int64_t *rows)
{
    *first = part == HPS_ROWS_HOLDOUT ? dataset->train : 0;
    *rows = part == HPS_ROWS_ALL ? dataset->info->rows : part == HPS_ROWS_TRAIN ? dataset->train : dataset->holdout;
}

hps_status hps_dataset_fits(const hps_dataset *dataset, const char *path, int64_t d)
{
    if (d == dataset->info->d) {
        return HPS_OK;
    }
    return hps_fail(HPS_ECONFIG, "%s has d %lld, but the store %s has d %lld; choose the store that the model is for",
                    path, (long long)d, dataset->info->hook, (long long)dataset->info->d);
}

hps_status hps_dataset_whitened(const hps_dataset *dataset, const char *path, uint64_t whitening)
{
    const hps_store_info *info = dataset->info;

    if (whitening == 0 && info->whitening != 0) {
        hps_warn("data", "the store %s is whitened, and %s does not say that it is for whitened activations",
                 info->hook, path);
    }
    if (whitening == 0 || whitening == info->whitening) {
        return HPS_OK;
    }
    return hps_fail(
        HPS_ECONFIG,
        "%s was trained on whitened activations, and the store %s is %s; choose the store that it was trained "
        "on, or export the model (its export is for activations as they are) and import that",
        path, info->hook, info->whitening == 0 ? "not whitened" : "whitened otherwise");
}
