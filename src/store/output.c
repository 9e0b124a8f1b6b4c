#include "output.h"

#include "array.h"
#include "hpsae/base/disk.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static hps_status look_here(const char *path, const char *fingerprint, const char *key, bool *done)
{
    hid_t file;
    char *made = NULL;
    int64_t complete = 0;

    *done = false;
    if (access(path, F_OK) != 0) {
        return HPS_OK;
    }
    if (hps_h5_open(path, &file) == HPS_OK) {
        *done = hps_h5_get_int(file, "complete", &complete) && complete == 1 &&
                hps_h5_get_text(file, "fingerprint", &made) && strcmp(made, fingerprint) == 0;
        HPS_FREE(&made);
        H5Fclose(file);
    }
    return *done ? HPS_OK
                 : hps_fail(HPS_ECONFIG,
                            "%s: exists already, and was not made from this input by this configuration; "
                            "remove it, or set another %s",
                            path, key);
}

hps_status hps_output_look(MPI_Comm comm, const char *path, const char *fingerprint, const char *key, bool *done)
{
    int rank, there = 0;
    hps_status status = HPS_OK;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    hps_h5_start();
    if (rank == 0) {
        status = look_here(path, fingerprint, key, done);
        there = *done ? 1 : 0;
    }
    HPS_TRY(hps_share_status(comm, status));
    HPS_MPI(MPI_Bcast(&there, 1, MPI_INT, 0, comm));
    *done = there != 0;
    return HPS_OK;
}

static hps_status try_here(const char *path, int64_t bytes)
{
    char directory[HPS_PATH_MAX];
    struct statvfs about;
    struct stat kind;

    snprintf(directory, sizeof(directory), "%s", path);
    do {
        const char *parent = dirname(directory); /* within directory, or a constant */
        memmove(directory, parent, strlen(parent) + 1);
    } while (access(directory, F_OK) != 0 && strcmp(directory, "/") != 0 && strcmp(directory, ".") != 0);
    if (stat(directory, &kind) == 0 && !S_ISDIR(kind.st_mode)) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s is not a directory", path, directory);
    }
    if (access(directory, W_OK) != 0 || statvfs(directory, &about) != 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s: %s", path, directory, strerror(errno));
    }
    const double room = (double)about.f_bavail * (double)about.f_frsize;
    return room >= (double)bytes ? HPS_OK
                                 : hps_fail(HPS_EIO, "%s: no room for %.1f MiB: %s has %.1f MiB", path,
                                            (double)bytes / 1048576, directory, room / 1048576);
}

hps_status hps_output_try(MPI_Comm comm, const char *path, int64_t bytes)
{
    int rank;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    return hps_share_status(comm, rank == 0 ? try_here(path, bytes) : HPS_OK);
}

static hps_status not_written(const char *path)
{
    char reason[256];

    return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, hps_h5_reason(reason));
}

/*
 * Attributes above 64 KiB (the mean of a wide store) need the format of HDF5 1.8.  No object notes its time: the same
 * store is the same bytes.
 */
static hps_status create_here(hps_output *output, int64_t bytes)
{
    char directory[HPS_PATH_MAX];

    memcpy(directory, output->path, sizeof(directory));
    HPS_TRY(hps_directory_make(dirname(directory)));
    unlink(output->temporary);
    HPS_TRY(hps_disk_reserve(output->temporary, bytes));
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS), plist = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Pset_obj_track_times(plist, false);
    output->file = H5Fcreate(output->temporary, H5F_ACC_TRUNC, plist, access);
    H5Pclose(plist);
    H5Pclose(access);
    if (output->file < 0) {
        return not_written(output->temporary);
    }
    HPS_TRY(hps_h5_set_text(output->file, "format", "hpsae-activations"));
    HPS_TRY(hps_h5_set_int(output->file, "format_version", 1));
    return hps_h5_set_int(output->file, "complete", 0);
}

hps_status hps_output_create(MPI_Comm comm, const char *path, int64_t bytes, hps_output *output)
{
    hps_status status = HPS_OK;

    *output = (hps_output){.comm = comm, .file = H5I_INVALID_HID, .fd = -1};
    HPS_MPI(MPI_Comm_rank(comm, &output->rank));
    if (snprintf(output->path, sizeof(output->path), "%s", path) >= (int)sizeof(output->path)) {
        return hps_fail(HPS_ECONFIG, "%.60s...: the path is too long", path);
    }
    snprintf(output->temporary, sizeof(output->temporary), "%s.tmp", path);
    hps_h5_start();
    if (output->rank == 0) {
        status = create_here(output, bytes);
    }
    return hps_share_status(comm, status);
}

/* Groups on the way to a dataset. */
static void make_groups(hid_t file, const char *name)
{
    const hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    char part[HPS_PATH_MAX];

    H5Pset_obj_track_times(plist, false);
    for (const char *slash = strchr(name + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0) {
            H5Gclose(H5Gcreate2(file, part, H5P_DEFAULT, plist, H5P_DEFAULT));
        }
    }
    H5Pclose(plist);
}

static hps_status note_dataset(hps_output *output, hid_t dataset, hid_t type, int dimensions, const hsize_t *shape)
{
    const haddr_t begin = H5Dget_offset(dataset);
    int64_t row_bytes = (int64_t)H5Tget_size(type);

    for (int i = 1; i < dimensions; i++) {
        row_bytes *= (int64_t)shape[i];
    }
    if (begin == HADDR_UNDEF) {
        return hps_fail(HPS_EINTERNAL, "%s: HDF5 gave a dataset no place", output->temporary);
    }
    output->begin[output->datasets] = (int64_t)begin;
    output->row_bytes[output->datasets] = row_bytes;
    output->datasets++;
    return HPS_OK;
}

hps_status hps_output_add(hps_output *output, const char *name, hid_t type, int dimensions, const hsize_t *shape,
                          hid_t *dataset)
{
    *dataset = H5I_INVALID_HID;
    if (output->datasets == HPS_OUTPUT_DATASETS) {
        return hps_fail(HPS_EFORMAT, "%s: more than %d datasets go along with the activations", output->path,
                        HPS_OUTPUT_DATASETS - 1);
    }
    make_groups(output->file, name);
    const hid_t space = H5Screate_simple(dimensions, shape, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(plist, H5D_CONTIGUOUS);
    H5Pset_obj_track_times(plist, false);
    H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER);
    *dataset = H5Dcreate2(output->file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    const hps_status status =
        *dataset < 0 ? not_written(output->temporary) : note_dataset(output, *dataset, type, dimensions, shape);
    H5Pclose(plist);
    H5Sclose(space);
    return status;
}

hps_status hps_output_add_words(hps_output *output, const char *name, hps_dtype dtype, int64_t rows, int64_t d,
                                const char *hook, hid_t *dataset)
{
    const hsize_t shape[2] = {(hsize_t)rows, (hsize_t)d};
    const hid_t type = hps_h5_type(dtype);
    const hps_status status = hps_output_add(output, name, type, 2, shape, dataset);

    H5Tclose(type);
    HPS_TRY(status);
    HPS_TRY(hps_h5_set_text(*dataset, "hook_name", hook));
    HPS_TRY(hps_h5_set_int(*dataset, "n_tokens", rows));
    return dtype == HPS_BF16 ? hps_h5_set_text(*dataset, "logical_dtype", "bfloat16") : HPS_OK;
}

static hps_status close_layout(hps_output *output)
{
    const herr_t code = H5Fclose(output->file);
    struct stat about;

    output->file = H5I_INVALID_HID;
    if (code < 0 || stat(output->temporary, &about) != 0) {
        return not_written(output->temporary);
    }
    return hps_disk_reserve(output->temporary, about.st_size);
}

static hps_status open_here(hps_output *output)
{
    output->fd = open(output->temporary, O_RDWR | O_CLOEXEC);
    return output->fd >= 0 ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be opened: %s", output->temporary, strerror(errno));
}

hps_status hps_output_open(hps_output *output, hps_status laid_out)
{
    if (output->rank == 0 && laid_out == HPS_OK) {
        laid_out = close_layout(output);
    }
    HPS_TRY(hps_share_status(output->comm, laid_out));
    HPS_MPI(MPI_Bcast(&output->datasets, 1, MPI_INT, 0, output->comm));
    HPS_MPI(MPI_Bcast(output->begin, HPS_OUTPUT_DATASETS, MPI_INT64_T, 0, output->comm));
    HPS_MPI(MPI_Bcast(output->row_bytes, HPS_OUTPUT_DATASETS, MPI_INT64_T, 0, output->comm));
    return hps_agree(output->comm, open_here(output));
}

hps_status hps_output_write(const hps_output *output, int dataset, int64_t row, int64_t count, const void *words)
{
    const int64_t bytes = output->row_bytes[dataset];

    return hps_file_write(output->fd, output->temporary, output->begin[dataset] + row * bytes, count * bytes, words);
}

hps_status hps_output_read(const hps_output *output, int dataset, int64_t row, int64_t count, void *words)
{
    const int64_t bytes = output->row_bytes[dataset];

    return hps_file_read(output->fd, output->temporary, output->begin[dataset] + row * bytes, count * bytes, words);
}

static bool on_one_host(MPI_Comm comm)
{
    MPI_Comm host;
    int here, all;

    HPS_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host));
    HPS_MPI(MPI_Comm_size(host, &here));
    HPS_MPI(MPI_Comm_size(comm, &all));
    HPS_MPI(MPI_Comm_free(&host));
    return here == all;
}

static hps_status sync_and_close(hps_output *output)
{
    const bool synced = fsync(output->fd) == 0;
    const int reason = errno;
    const bool closed = close(output->fd) == 0;

    output->fd = -1;
    return synced && closed
               ? HPS_OK
               : hps_fail(HPS_EIO, "%s: cannot be written: %s", output->temporary, strerror(synced ? errno : reason));
}

hps_status hps_output_exchange(hps_output *output, hps_status mine)
{
    int one_host = 0;

    HPS_TRY(hps_agree(output->comm, mine));
    one_host = on_one_host(output->comm) ? 1 : 0;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &one_host, 1, MPI_INT, MPI_MIN, output->comm));
    if (one_host) {
        return HPS_OK; /* agreement was the barrier */
    }
    HPS_TRY(hps_agree(output->comm, sync_and_close(output)));
    return hps_agree(output->comm, open_here(output));
}

static hps_status add_statistics(hid_t file, const char *activations, int64_t d, const double *mean,
                                 double mean_sq_norm)
{
    const hid_t dataset = H5Dopen2(file, activations, H5P_DEFAULT);
    hps_status status = hps_h5_set_reals(dataset, "mean", d, mean);

    if (status == HPS_OK) {
        status = hps_h5_set_real(dataset, "mean_sq_norm", mean_sq_norm);
    }
    H5Dclose(dataset);
    return status == HPS_OK ? hps_h5_set_int(file, "complete", 1) : status;
}

static hps_status add_rms_norm(const hps_output *output)
{
    const hid_t dataset = H5Dopen2(output->file, output->gradients, H5P_DEFAULT);
    const hps_status status = hps_h5_set_real(dataset, "rms_norm", output->rms_norm);

    H5Dclose(dataset);
    return status;
}

static hps_status finish_here(hps_output *output, const char *activations, int64_t d, const double *mean,
                              double mean_sq_norm)
{
    output->file = H5Fopen(output->temporary, H5F_ACC_RDWR, H5P_DEFAULT);
    if (output->file < 0) {
        return not_written(output->temporary);
    }
    hps_status status = output->gradients != NULL ? add_rms_norm(output) : HPS_OK;
    if (status == HPS_OK) {
        status = add_statistics(output->file, activations, d, mean, mean_sq_norm);
    }
    const herr_t code = H5Fclose(output->file);
    output->file = H5I_INVALID_HID;
    HPS_TRY(status);
    return code < 0 ? not_written(output->temporary) : hps_disk_commit(output->temporary, output->path);
}

hps_status hps_output_finish(hps_output *output, hps_status mine, const char *activations, int64_t d,
                             const double *mean, double mean_sq_norm)
{
    HPS_TRY(hps_agree(output->comm, mine));
    HPS_TRY(hps_agree(output->comm, sync_and_close(output)));
    return hps_share_status(output->comm,
                            output->rank == 0 ? finish_here(output, activations, d, mean, mean_sq_norm) : HPS_OK);
}

void hps_output_abandon(hps_output *output)
{
    if (output->fd >= 0) {
        close(output->fd);
        output->fd = -1;
    }
    if (output->file >= 0) {
        H5Fclose(output->file);
        output->file = H5I_INVALID_HID;
    }
    HPS_MPI(MPI_Barrier(output->comm));
    if (output->rank == 0) {
        unlink(output->temporary);
    }
}
