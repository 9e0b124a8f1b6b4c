#include "hpsae/store/store.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"
#include "sources.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hps_store {
    hps_sources sources;
    hps_store_info info;
    char *model_name; /* owned */
    double *mean;     /* [d]; owned */
};

static const char *const suffixes[] = {".h5", ".hdf5", NULL};

static hps_status check_complete(const hps_source *source)
{
    int64_t complete = 1, tokens = source->array.rows;

    hps_h5_get_int(source->file, "complete", &complete);
    if (complete == 0) {
        return hps_fail(HPS_EFORMAT,
                        "%s: torn: the program that wrote it was ended before it had finished; write it again",
                        source->path);
    }
    hps_h5_get_int(source->array.dataset, "n_tokens", &tokens);
    if (tokens != source->array.rows) {
        return hps_fail(HPS_EFORMAT, "%s: n_tokens says %lld, %s has %lld rows", source->path, (long long)tokens,
                        source->dataset, (long long)source->array.rows);
    }
    return HPS_OK;
}

/* Adds one file's statistics, weighted by its rows.  By Jensen's inequality |mean|^2 <= mean of |x|^2. */
static hps_status add_statistics(hps_store *store, const hps_source *source, double *mean)
{
    const double weight = (double)source->array.rows / (double)store->info.rows;
    double square = 0, mean_square = -1;

    if (!hps_h5_get_reals(source->array.dataset, "mean", source->d, mean) ||
        !hps_h5_get_reals(source->array.dataset, "mean_sq_norm", 1, &mean_square)) {
        return hps_fail(HPS_EFORMAT,
                        "%s: %s must have both attributes mean (%lld numbers) and mean_sq_norm (1); write "
                        "it again with hpsae shuffle",
                        source->path, source->dataset, (long long)source->d);
    }
    for (int64_t c = 0; c < source->d; c++) {
        square += mean[c] * mean[c];
        store->mean[c] += weight * mean[c];
    }
    if (!(mean_square >= square * (1 - 1e-6)) || !isfinite(mean_square)) {
        return hps_fail(HPS_EFORMAT,
                        "%s: statistics of %s cannot be: |mean|^2 is %g, mean_sq_norm %g; write it again "
                        "with hpsae shuffle",
                        source->path, source->dataset, square, mean_square);
    }
    store->info.mean_sq_norm += weight * mean_square;
    return HPS_OK;
}

static hps_status read_statistics(hps_store *store)
{
    const hps_sources *all = &store->sources;
    hps_status status = HPS_OK;
    int64_t with = 0;
    double *mean;

    for (int64_t i = 0; i < all->count; i++) {
        const hid_t dataset = all->items[i].array.dataset;
        with += hps_h5_has(dataset, "mean") || hps_h5_has(dataset, "mean_sq_norm") ? 1 : 0;
    }
    if (with < all->count) {
        return HPS_OK;
    }
    HPS_TRY(HPS_ALLOC(&mean, all->d, "the store's mean"));
    for (int64_t i = 0; i < all->count && status == HPS_OK; i++) {
        status = add_statistics(store, &all->items[i], mean);
    }
    HPS_FREE(&mean);
    store->info.has_statistics = true;
    return status;
}

/* Rows that went through different maps are no one's activations. */
static hps_status read_whitening(hps_store *store)
{
    const hps_sources *all = &store->sources;

    for (int64_t i = 0; i < all->count; i++) {
        char *text = NULL;
        const uint64_t whitening =
            hps_h5_get_text(all->items[i].file, "whitening", &text) ? strtoull(text, NULL, 16) : 0;
        HPS_FREE(&text);
        if (i > 0 && whitening != store->info.whitening) {
            return hps_fail(HPS_EFORMAT, "%s: is not whitened as %s is; the files of a store must be alike",
                            all->items[i].path, all->items[0].path);
        }
        store->info.whitening = whitening;
    }
    return HPS_OK;
}

static hps_status describe(hps_store *store)
{
    const hps_sources *all = &store->sources;
    const hps_source *head = &all->items[0];
    bool shuffled = true;

    if (!all->same_dtype) {
        return hps_fail(HPS_EFORMAT, "%s: files of one store must have one dtype; rewrite them with hpsae shuffle",
                        head->path);
    }
    for (int64_t i = 0; i < all->count; i++) {
        int64_t flag = 0;
        HPS_TRY(check_complete(&all->items[i]));
        shuffled = hps_h5_get_int(all->items[i].file, "shuffled", &flag) && flag != 0 && shuffled;
    }
    HPS_TRY(HPS_ALLOC(&store->mean, all->d, "the store's mean"));
    if (!hps_h5_get_text(head->file, "model_name", &store->model_name)) {
        HPS_TRY(hps_text_copy("", &store->model_name));
    }
    store->info = (hps_store_info){.rows = all->rows,
                                   .d = all->d,
                                   .dtype = head->dtype,
                                   .hook = head->hook,
                                   .model_name = store->model_name,
                                   .shuffled = shuffled,
                                   .mean = store->mean};
    HPS_TRY(read_whitening(store));
    return read_statistics(store);
}

const char *hps_store_file(const hps_store *store, int64_t row, int64_t *within)
{
    const hps_sources *all = &store->sources;
    const int64_t file = hps_sources_find(all, row);

    *within = row - all->first[file];
    return all->items[file].path;
}

int64_t hps_store_files(const hps_store *store)
{
    return store->sources.count;
}

const char *hps_store_part(const hps_store *store, int64_t file, int64_t *first, int64_t *rows)
{
    const hps_sources *all = &store->sources;

    *first = all->first[file];
    *rows = all->first[file + 1] - *first;
    return all->items[file].path;
}

bool hps_store_has_gradients(const hps_store *store)
{
    const hps_sources *all = &store->sources;
    char name[HPS_PATH_MAX];
    bool has = all->count > 0;

    snprintf(name, sizeof(name), "/gradients/%s", store->info.hook);
    for (int64_t i = 0; i < all->count; i++) {
        const hid_t file = all->items[i].file;
        has = has && H5Lexists(file, "/gradients", H5P_DEFAULT) > 0 && H5Lexists(file, name, H5P_DEFAULT) > 0;
    }
    return has;
}

/* The root of the mean over all files of |g|^2. */
static hps_status check_gradients(hps_store *gradients, const hps_store *activations)
{
    const hps_sources *all = &gradients->sources;
    const hps_store_info *a = &activations->info;
    hps_store_info *g = &gradients->info;
    double square = 0;

    for (int64_t i = 0; i < all->count; i++) {
        const hps_source *source = &all->items[i];
        double rms = 0;
        if (source->array.rows != activations->sources.items[i].array.rows || source->d != a->d) {
            return hps_fail(
                HPS_EFORMAT,
                "%s: %s is %lld rows of %lld columns, but the activations are %lld of %lld; write both for the "
                "same tokens",
                source->path, source->dataset, (long long)source->array.rows, (long long)source->d,
                (long long)activations->sources.items[i].array.rows, (long long)a->d);
        }
        if (!hps_h5_get_reals(source->array.dataset, "rms_norm", 1, &rms) || !(rms > 0) || !isfinite(rms)) {
            return hps_fail(
                HPS_EFORMAT,
                "%s: %s has no attribute rms_norm above 0, the root mean square of its rows' norms; write it",
                source->path, source->dataset);
        }
        square += rms * rms * (double)source->array.rows / (double)g->rows;
    }
    g->rms_norm = sqrt(square);
    g->hook = all->items[0].dataset; /* what is wrong with a row says that it is one of these */
    return HPS_OK;
}

hps_status hps_store_open_gradients(MPI_Comm comm, int64_t count, char *const *paths, const hps_store *activations,
                                    hps_store **gradients)
{
    char name[HPS_PATH_MAX];

    snprintf(name, sizeof(name), "/gradients/%s", activations->info.hook);
    HPS_TRY(hps_store_open(comm, count, paths, name, gradients));
    const hps_status status = hps_agree(comm, check_gradients(*gradients, activations));
    if (status != HPS_OK) {
        hps_store_close(gradients);
    }
    return status;
}

hps_status hps_store_open(MPI_Comm comm, int64_t count, char *const *paths, const char *hook, hps_store **store)
{
    const hps_choice choice = {.name = hook, .key = "data.hook"};

    *store = NULL;
    hps_h5_start();
    HPS_TRY(hps_agree(comm, HPS_ALLOC(store, 1, "the store")));
    hps_status status = hps_sources_open(comm, count, paths, suffixes, choice, &(*store)->sources);
    if (status == HPS_OK) {
        status = hps_agree(comm, describe(*store));
    }
    if (status != HPS_OK) {
        hps_store_close(store);
    }
    return status;
}

hps_status hps_store_imagine(const hps_store_info *info, hps_store **store)
{
    HPS_TRY(HPS_ALLOC(store, 1, "the store"));
    (*store)->info = *info;
    return HPS_OK;
}

void hps_store_close(hps_store **store)
{
    if (*store != NULL) {
        hps_sources_close(&(*store)->sources);
        HPS_FREE(&(*store)->model_name);
        HPS_FREE(&(*store)->mean);
        HPS_FREE(store);
    }
}

const hps_store_info *hps_store_about(const hps_store *store)
{
    return &store->info;
}

hps_status hps_store_read(hps_store *store, int64_t row, int64_t count, void *words)
{
    const hps_sources *all = &store->sources;
    char *to = words;

    if (row < 0 || count < 0 || row > all->rows - count) {
        return hps_fail(HPS_EARG, "rows %lld to %lld asked for; the store has %lld", (long long)row,
                        (long long)(row + count), (long long)all->rows);
    }
    while (count > 0) {
        const int64_t file = hps_sources_find(all, row), rest = all->first[file + 1] - row;
        const int64_t now = count < rest ? count : rest;
        const hps_array *array = &all->items[file].array;
        HPS_TRY(hps_array_read(array, row - all->first[file], now, to));
        row += now;
        count -= now;
        to += now * array->row_bytes;
    }
    return HPS_OK;
}
