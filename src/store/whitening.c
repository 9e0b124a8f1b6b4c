#include "hpsae/store/whitening.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"
#include "paths.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const suffixes[] = {".h5", ".hdf5", NULL};

hps_status hps_whitening_create(int64_t d, hps_whitening *w)
{
    *w = (hps_whitening){.d = d};
    HPS_TRY(HPS_ALLOC(&w->mean, d, "whitening"));
    HPS_TRY(HPS_ALLOC(&w->W, d * d, "whitening"));
    return HPS_ALLOC(&w->inverse, d * d, "whitening");
}

void hps_whitening_free(hps_whitening *w)
{
    HPS_FREE(&w->mean);
    HPS_FREE(&w->W);
    HPS_FREE(&w->inverse);
}

/* FNV-1a by numbers instead of bytes, their halves mixed. */
static uint64_t add_numbers(uint64_t hash, int64_t count, const double *numbers)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &numbers[i], sizeof(bits));
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        hash ^= hash >> 32;
    }
    return hash;
}

uint64_t hps_whitening_identity(const hps_whitening *w)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)w->d;

    hash = add_numbers(hash, w->d, w->mean);
    hash = add_numbers(hash, w->d * w->d, w->W);
    hash = add_numbers(hash, w->d * w->d, w->inverse);
    return hash != 0 ? hash : 1;
}

uint64_t hps_whitening_of_residuals(uint64_t identity)
{
    const uint64_t hash = (identity ^ UINT64_C(0x7265736964756c73)) * UINT64_C(0x100000001b3);

    return identity == 0 ? 0 : hash != 0 ? hash : 1;
}

static hps_status damaged(const char *path)
{
    return hps_fail(HPS_EFORMAT, "%s: its whitening is damaged; write the copy again with hpsae pca", path);
}

/* Columns of /whitening/mean. */
static int64_t length_of(hid_t file)
{
    hsize_t size[32] = {0};
    const hid_t set = H5Dopen2(file, "/whitening/mean", H5P_DEFAULT);
    const hid_t space = set >= 0 ? H5Dget_space(set) : H5I_INVALID_HID;
    const bool plain = space >= 0 && H5Sget_simple_extent_ndims(space) == 1;

    if (plain) {
        H5Sget_simple_extent_dims(space, size, NULL);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (set >= 0) {
        H5Dclose(set);
    }
    return plain && size[0] < INT32_MAX ? (int64_t)size[0] : 0;
}

static bool get(hid_t file, const char *name, int64_t count, double *values)
{
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    const hid_t space = set >= 0 ? H5Dget_space(set) : H5I_INVALID_HID;
    const bool fits = space >= 0 && H5Sget_simple_extent_npoints(space) == count;
    bool good = fits && H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;

    for (int64_t i = 0; good && i < count; i++) {
        good = isfinite(values[i]);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (set >= 0) {
        H5Dclose(set);
    }
    return good;
}

static hps_status read_open(hid_t file, const char *path, hps_whitening *w, uint64_t *identity)
{
    char *said = NULL, is[17] = "";

    if (!hps_h5_get_text(file, "whitening", &said) || H5Lexists(file, "/whitening", H5P_DEFAULT) <= 0) {
        HPS_FREE(&said);
        return hps_fail(HPS_EFORMAT, "%s: holds no whitening: not a store that pca.whiten wrote", path);
    }
    const int64_t d = length_of(file);
    hps_status status = d > 0 ? hps_whitening_create(d, w) : damaged(path);
    if (status == HPS_OK) {
        const bool good = get(file, "/whitening/mean", d, w->mean) && get(file, "/whitening/W", d * d, w->W) &&
                          get(file, "/whitening/inverse", d * d, w->inverse);
        *identity = good ? hps_whitening_identity(w) : 0;
        snprintf(is, sizeof(is), "%016" PRIx64, *identity);
        status = good && strcmp(is, said) == 0 ? HPS_OK : damaged(path);
    }
    HPS_FREE(&said);
    return status;
}

hps_status hps_whitening_read(char *path, hps_whitening *w, uint64_t *identity)
{
    hps_paths paths = {0};
    hid_t file;

    *w = (hps_whitening){.d = 0};
    hps_h5_start();
    hps_status status = hps_paths_expand(1, &path, suffixes, &paths);
    if (status == HPS_OK) {
        status = hps_h5_open(paths.items[0], &file);
    }
    if (status == HPS_OK) {
        status = read_open(file, paths.items[0], w, identity);
        H5Fclose(file);
    }
    hps_paths_free(&paths);
    return status;
}
