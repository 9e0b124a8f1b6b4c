#include "codes_file.h"

#include "hpsae/base/disk.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK = 1 << 16, /* values, or rows, that are written at a time; a chunk of the file */
    SPARE = 1 << 20  /* bytes kept free for what HDF5 writes beside the values */
};

static const char format[] = "hpsae-codes";

/* One value of a row, while the row is put in the order of latents. */
typedef struct {
    int32_t latent, place;
    float value;
} code;

struct hps_codes_file {
    hps_codes_about about;
    char path[HPS_PATH_MAX], temporary[HPS_PATH_MAX + 8];
    hid_t file, indptr, indices, data, order;
    int64_t rows, values; /* in the file */
    int64_t held_rows, held;
    int64_t *ends;   /* [BLOCK] of indptr */
    int32_t *latent; /* [BLOCK] */
    int32_t *place;  /* [BLOCK] */
    float *value;    /* [BLOCK] */
    code *row;       /* [latents] */
};

hps_status hps_codes_look(const char *path)
{
    char *text = NULL;
    hid_t file;

    if (access(path, F_OK) != 0) {
        return HPS_OK;
    }
    HPS_TRY(hps_h5_open(path, &file));
    const bool ours = hps_h5_get_text(file, "format", &text) && strcmp(text, format) == 0;
    HPS_FREE(&text);
    H5Fclose(file);
    return ours ? HPS_OK
                : hps_fail(HPS_EFORMAT,
                           "%s: exists already and holds something else than codes; set another "
                           "encode.output, or remove it",
                           path);
}

static hps_status not_written(const hps_codes_file *f)
{
    char reason[256];

    return hps_fail(HPS_EIO, "%s: cannot be written: %s", f->temporary, hps_h5_reason(reason));
}

/* Room for so many bytes behind what is in the file. */
static hps_status reserve(const hps_codes_file *f, int64_t bytes)
{
    hsize_t size;

    if (H5Fget_filesize(f->file, &size) < 0) {
        return not_written(f);
    }
    return hps_disk_reserve(f->temporary, (int64_t)size + bytes + SPARE);
}

/* Growing in whole chunks, with zeros behind the last value. */
static hid_t create_growing(hid_t group, const char *name, hid_t type)
{
    const hsize_t none = 0, all = H5S_UNLIMITED, chunk = BLOCK;
    const hid_t space = H5Screate_simple(1, &none, &all), property = H5Pcreate(H5P_DATASET_CREATE);
    const int32_t zero = 0;

    H5Pset_chunk(property, 1, &chunk);
    H5Pset_fill_value(property, H5T_NATIVE_INT32, &zero);
    H5Pset_fill_time(property, H5D_FILL_TIME_ALLOC);
    H5Pset_obj_track_times(property, false);
    const hid_t set = H5Dcreate2(group, name, type, space, H5P_DEFAULT, property, H5P_DEFAULT);
    H5Pclose(property);
    H5Sclose(space);
    return set;
}

static hid_t create_indptr(const hps_codes_file *f, hid_t group)
{
    const hsize_t size = (hsize_t)f->about.rows + 1;
    const hid_t space = H5Screate_simple(1, &size, NULL), property = H5Pcreate(H5P_DATASET_CREATE);

    H5Pset_alloc_time(property, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(property, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(property, false);
    const hid_t set = H5Dcreate2(group, "indptr", H5T_STD_I64LE, space, H5P_DEFAULT, property, H5P_DEFAULT);
    H5Pclose(property);
    H5Sclose(space);
    return set;
}

static hps_status put_integers(const hps_codes_file *f, hid_t group, const char *name, int count,
                               const int64_t *numbers)
{
    const hsize_t size = (hsize_t)count;
    const hid_t space = H5Screate_simple(1, &size, NULL);
    const hid_t attribute = H5Acreate2(group, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool done = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, numbers) >= 0;

    H5Aclose(attribute);
    H5Sclose(space);
    return done ? HPS_OK : not_written(f);
}

static hps_status put_shape(const hps_codes_file *f, hid_t group)
{
    const int64_t shape[2] = {f->about.rows, f->about.latents};

    HPS_TRY(put_integers(f, group, "shape", 2, shape));
    return f->about.ensemble == NULL ? HPS_OK
                                     : put_integers(f, group, "offsets", f->about.members + 1, f->about.offset);
}

static hps_status put_ensemble(const hps_codes_file *f)
{
    HPS_TRY(hps_h5_set_text(f->file, "ensemble", f->about.ensemble));
    HPS_TRY(hps_h5_set_int(f->file, "members", f->about.members));
    return f->about.thresholds == NULL ? HPS_OK
                                       : hps_h5_set_reals(f->file, "thresholds", f->about.members, f->about.thresholds);
}

static hps_status create_group(hps_codes_file *f)
{
    const hid_t property = H5Pcreate(H5P_GROUP_CREATE);

    H5Pset_obj_track_times(property, false);
    const hid_t group = H5Gcreate2(f->file, "/codes", H5P_DEFAULT, property, H5P_DEFAULT);
    H5Pclose(property);
    if (group < 0) {
        return not_written(f);
    }
    f->indptr = create_indptr(f, group);
    f->indices = create_growing(group, "indices", H5T_STD_I32LE);
    f->data = create_growing(group, "data", H5T_IEEE_F32LE);
    f->order = f->about.order ? create_growing(group, "order", H5T_STD_I32LE) : H5I_INVALID_HID;
    hps_status status = put_shape(f, group);
    if (f->indptr < 0 || f->indices < 0 || f->data < 0 || (f->about.order && f->order < 0)) {
        status = not_written(f);
    }
    H5Gclose(group);
    return status;
}

static hps_status put_attributes(const hps_codes_file *f)
{
    const hps_codes_about *about = &f->about;
    char checksum[17];

    snprintf(checksum, sizeof(checksum), "%016llx", (unsigned long long)about->checksum);
    HPS_TRY(hps_h5_set_text(f->file, "format", format));
    HPS_TRY(hps_h5_set_int(f->file, "format_version", 1));
    HPS_TRY(hps_h5_set_text(f->file, "hook", about->hook));
    HPS_TRY(hps_h5_set_text(f->file, "model_name", about->model_name));
    HPS_TRY(hps_h5_set_text(f->file, "model_checksum", checksum));
    HPS_TRY(hps_h5_set_text(f->file, "select", about->select));
    HPS_TRY(hps_h5_set_int(f->file, "k", about->k));
    if (about->threshold >= 0) {
        HPS_TRY(hps_h5_set_real(f->file, "threshold", about->threshold));
    }
    HPS_TRY(hps_h5_set_int(f->file, "first_row", about->first_row));
    return about->ensemble != NULL ? put_ensemble(f) : HPS_OK;
}

static hps_status create_file(hps_codes_file *f)
{
    const int64_t bytes = 8 * (f->about.rows + 1);
    char directory[HPS_PATH_MAX];

    memcpy(directory, f->path, sizeof(directory));
    HPS_TRY(hps_directory_make(dirname(directory)));
    unlink(f->temporary);
    HPS_TRY(hps_disk_reserve(f->temporary, bytes + SPARE));
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_obj_track_times(creation, false);
    H5Pset_attr_phase_change(creation, 64, 32);
    f->file = H5Fcreate(f->temporary, H5F_ACC_TRUNC, creation, access);
    H5Pclose(creation);
    H5Pclose(access);
    if (f->file < 0) {
        return not_written(f);
    }
    HPS_TRY(reserve(f, bytes));
    HPS_TRY(put_attributes(f));
    HPS_TRY(create_group(f));
    return reserve(f, 0);
}

static hps_status allocate(hps_codes_file *f)
{
    HPS_TRY(HPS_ALLOC(&f->ends, BLOCK, "codes"));
    HPS_TRY(HPS_ALLOC(&f->latent, BLOCK, "codes"));
    HPS_TRY(HPS_ALLOC(&f->place, BLOCK, "codes"));
    HPS_TRY(HPS_ALLOC(&f->value, BLOCK, "codes"));
    return HPS_ALLOC(&f->row, f->about.latents, "codes of a row");
}

hps_status hps_codes_begin(const char *path, const hps_codes_about *about, hps_codes_file **file)
{
    HPS_TRY(HPS_ALLOC(file, 1, "file of codes"));
    hps_codes_file *f = *file;
    f->about = *about;
    f->file = f->indptr = f->indices = f->data = f->order = H5I_INVALID_HID;
    if (snprintf(f->path, sizeof(f->path), "%s", path) >= (int)sizeof(f->path)) {
        return hps_fail(HPS_EARG, "encode.output: the path is longer than %d characters", HPS_PATH_MAX - 1);
    }
    snprintf(f->temporary, sizeof(f->temporary), "%s.tmp", path);
    hps_h5_start();
    HPS_TRY(allocate(f));
    HPS_TRY(create_file(f));
    f->held_rows = 1; /* indptr begins with 0 */
    return HPS_OK;
}

/* Numbers [first, first + count) of a dataset. */
static hps_status put(const hps_codes_file *f, hid_t set, hid_t type, int64_t first, int64_t count, const void *numbers)
{
    const hsize_t start = (hsize_t)first, size = (hsize_t)count;
    const hid_t in_file = H5Dget_space(set), in_memory = H5Screate_simple(1, &size, NULL);

    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, &start, NULL, &size, NULL);
    const herr_t done = H5Dwrite(set, type, in_memory, in_file, H5P_DEFAULT, numbers);
    H5Sclose(in_memory);
    H5Sclose(in_file);
    return done >= 0 ? HPS_OK : not_written(f);
}

static hps_status append(const hps_codes_file *f, hid_t set, hid_t type, const void *numbers)
{
    const hsize_t size = (hsize_t)(f->values + f->held);

    if (H5Dset_extent(set, &size) < 0) {
        return not_written(f);
    }
    return put(f, set, type, f->values, f->held, numbers);
}

static hps_status write_values(hps_codes_file *f)
{
    if (f->held == 0) {
        return HPS_OK;
    }
    HPS_TRY(reserve(f, 3 * BLOCK * (int64_t)sizeof(float)));
    HPS_TRY(append(f, f->indices, H5T_NATIVE_INT32, f->latent));
    HPS_TRY(append(f, f->data, H5T_NATIVE_FLOAT, f->value));
    if (f->about.order) {
        HPS_TRY(append(f, f->order, H5T_NATIVE_INT32, f->place));
    }
    f->values += f->held;
    f->held = 0;
    return HPS_OK;
}

static hps_status write_rows(hps_codes_file *f)
{
    HPS_TRY(put(f, f->indptr, H5T_NATIVE_INT64, f->rows, f->held_rows, f->ends));
    f->rows += f->held_rows;
    f->held_rows = 0;
    return HPS_OK;
}

static int by_latent(const void *a, const void *b)
{
    const int32_t x = ((const code *)a)->latent, y = ((const code *)b)->latent;

    return (x > y) - (x < y);
}

hps_status hps_codes_add(hps_codes_file *f, int64_t count, const hps_candidate *slots)
{
    for (int64_t i = 0; i < count; i++) {
        f->row[i] = (code){slots[i].latent, (int32_t)i, (float)((double)slots[i].value / f->about.scale)};
    }
    qsort(f->row, (size_t)count, sizeof(f->row[0]), by_latent);
    for (int64_t i = 0; i < count; i++) {
        if (f->held == BLOCK) {
            HPS_TRY(write_values(f));
        }
        f->latent[f->held] = f->row[i].latent;
        f->place[f->held] = f->row[i].place;
        f->value[f->held] = f->row[i].value;
        f->held++;
    }
    if (f->held_rows == BLOCK) {
        HPS_TRY(write_rows(f));
    }
    f->ends[f->held_rows++] = hps_codes_values(f);
    return HPS_OK;
}

int64_t hps_codes_values(const hps_codes_file *f)
{
    return f->values + f->held;
}

/* The library's own view of the file's end: what was reserved behind it is given back. */
static bool close_file(hps_codes_file *f, int64_t *bytes)
{
    const hid_t sets[] = {f->indptr, f->indices, f->data, f->order};
    hsize_t size = 0;
    bool done = true;

    for (int i = 0; i < 4; i++) {
        if (sets[i] >= 0) {
            done = H5Dclose(sets[i]) >= 0 && done;
        }
    }
    if (f->file >= 0) {
        done = H5Fflush(f->file, H5F_SCOPE_LOCAL) >= 0 && H5Fget_filesize(f->file, &size) >= 0 && done;
        done = H5Fclose(f->file) >= 0 && done;
    }
    f->file = H5I_INVALID_HID;
    *bytes = (int64_t)size;
    return done && truncate(f->temporary, (off_t)size) == 0;
}

/* That it can be opened: a file shorter than the library wrote it cannot. */
static hps_status check(const hps_codes_file *f)
{
    hid_t file;

    HPS_TRY(hps_h5_open(f->temporary, &file));
    H5Fclose(file);
    return HPS_OK;
}

static hps_status finish(hps_codes_file *f, hps_status so_far, int64_t *bytes)
{
    if (so_far == HPS_OK) {
        so_far = write_values(f);
    }
    if (so_far == HPS_OK) {
        so_far = write_rows(f);
    }
    const bool closed = close_file(f, bytes);
    HPS_TRY(so_far);
    if (!closed) {
        return not_written(f);
    }
    HPS_TRY(check(f));
    return hps_disk_commit(f->temporary, f->path);
}

hps_status hps_codes_finish(hps_codes_file **file, hps_status so_far, int64_t *bytes)
{
    hps_codes_file *f = *file;

    if (f == NULL) {
        return so_far;
    }
    const hps_status status = finish(f, so_far, bytes);
    if (status != HPS_OK) {
        unlink(f->temporary);
    }
    HPS_FREE(&f->ends);
    HPS_FREE(&f->latent);
    HPS_FREE(&f->place);
    HPS_FREE(&f->value);
    HPS_FREE(&f->row);
    HPS_FREE(file);
    return status;
}
