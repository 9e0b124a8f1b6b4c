#include "pca_file.h"

#include "hpsae/base/disk.h"
#include "hpsae/store/hdf5.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPARE = 1 << 20 }; /* bytes for what HDF5 writes beside the numbers */

static hps_status not_written(const hps_pca_file *f)
{
    char reason[256];

    return hps_fail(HPS_EIO, "%s: cannot be written: %s", f->temporary, hps_h5_reason(reason));
}

static hid_t create_dataset(hid_t file, const char *name, int dimensions, int64_t d)
{
    const hsize_t size[2] = {(hsize_t)d, (hsize_t)d};
    const hid_t space = H5Screate_simple(dimensions, size, NULL), property = H5Pcreate(H5P_DATASET_CREATE);

    H5Pset_alloc_time(property, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(property, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(property, false);
    const hid_t set = H5Dcreate2(file, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, property, H5P_DEFAULT);
    H5Pclose(property);
    H5Sclose(space);
    return set;
}

static hps_status put(const hps_pca_file *f, const char *name, const double *values)
{
    const hid_t set = create_dataset(f->file, name, 1, f->d);
    const bool done = set >= 0 && H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;

    if (set >= 0) {
        H5Dclose(set);
    }
    return done ? HPS_OK : not_written(f);
}

static hps_status put_all(hps_pca_file *f, const hps_pca_about *about)
{
    HPS_TRY(hps_h5_set_text(f->file, "format", "hpsae-pca"));
    HPS_TRY(hps_h5_set_int(f->file, "format_version", 1));
    HPS_TRY(hps_h5_set_text(f->file, "hook", about->hook));
    HPS_TRY(hps_h5_set_text(f->file, "model_name", about->model_name));
    HPS_TRY(hps_h5_set_text(f->file, "scale", about->scale));
    HPS_TRY(hps_h5_set_int(f->file, "fit_rows", about->fit_rows));
    HPS_TRY(hps_h5_set_int(f->file, "first_row", about->first_row));
    HPS_TRY(put(f, "mean", about->mean));
    HPS_TRY(put(f, "eigenvalues", about->eigenvalues));
    HPS_TRY(put(f, "ev", about->ev));
    f->components = create_dataset(f->file, "components", 2, f->d);
    return f->components >= 0 ? HPS_OK : not_written(f);
}

static hps_status begin(hps_pca_file *f, const hps_pca_about *about)
{
    const int64_t bytes = 8 * f->d * (f->d + 3) + SPARE;
    char directory[HPS_PATH_MAX];

    memcpy(directory, f->path, sizeof(directory));
    HPS_TRY(hps_directory_make(dirname(directory)));
    unlink(f->temporary);
    HPS_TRY(hps_disk_reserve(f->temporary, bytes));
    f->file = H5Fcreate(f->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (f->file < 0) {
        return not_written(f);
    }
    HPS_TRY(hps_disk_reserve(f->temporary, bytes));
    return put_all(f, about);
}

hps_status hps_pca_file_begin(const char *path, const hps_pca_about *about, hps_pca_file *f)
{
    *f = (hps_pca_file){.file = H5I_INVALID_HID, .components = H5I_INVALID_HID, .d = about->d};
    if (snprintf(f->path, sizeof(f->path), "%s", path) >= HPS_PATH_MAX) {
        return hps_fail(HPS_EARG, "pca.output: the path is longer than %d characters", HPS_PATH_MAX - 1);
    }
    snprintf(f->temporary, sizeof(f->temporary), "%s.tmp", path);
    hps_h5_start();
    return begin(f, about);
}

hps_status hps_pca_file_add(hps_pca_file *f, int64_t first, int64_t count, const double *row)
{
    const hsize_t start[2] = {(hsize_t)first, 0}, size[2] = {(hsize_t)count, (hsize_t)f->d};
    const hid_t in_file = H5Dget_space(f->components), in_memory = H5Screate_simple(2, size, NULL);

    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, size, NULL);
    const herr_t done = H5Dwrite(f->components, H5T_NATIVE_DOUBLE, in_memory, in_file, H5P_DEFAULT, row);
    H5Sclose(in_memory);
    H5Sclose(in_file);
    return done >= 0 ? HPS_OK : not_written(f);
}

/* The library's own view of the file's end: what was reserved behind it is given back. */
static hps_status close_file(hps_pca_file *f)
{
    hsize_t size = 0;
    bool done = f->components < 0 || H5Dclose(f->components) >= 0;

    if (f->file >= 0) {
        done = H5Fflush(f->file, H5F_SCOPE_LOCAL) >= 0 && H5Fget_filesize(f->file, &size) >= 0 && done;
        done = H5Fclose(f->file) >= 0 && done;
    }
    return done && truncate(f->temporary, (off_t)size) == 0 ? HPS_OK : not_written(f);
}

hps_status hps_pca_file_finish(hps_pca_file *f, hps_status so_far)
{
    if (so_far != HPS_OK) {
        if (f->file >= 0) {
            (void)close_file(f);
        }
        unlink(f->temporary);
        return so_far;
    }
    hps_status status = close_file(f);
    status = status == HPS_OK ? hps_disk_commit(f->temporary, f->path) : status;
    if (status != HPS_OK) {
        unlink(f->temporary);
    }
    return status;
}
