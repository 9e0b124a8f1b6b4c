#include "array.h"

#include "hpsae/base/file.h"
#include "hpsae/store/hdf5.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One HDF5 read stays below this: its MPI-IO and POSIX layers fail at 2 GiB. */
enum { PIECE = 1 << 30, DIMENSIONS_MAX = 32 };

hps_status hps_file_read(int fd, const char *path, int64_t offset, int64_t bytes, void *buffer)
{
    char *to = buffer;

    while (bytes > 0) {
        const ssize_t got = pread(fd, to, (size_t)(bytes < PIECE ? bytes : PIECE), offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return hps_fail(HPS_EIO, "%s: byte %lld cannot be read: %s", path, (long long)offset,
                            got == 0 ? "the file ends there, it was truncated" : strerror(errno));
        }
        offset += got;
        bytes -= got;
        to += got;
    }
    return HPS_OK;
}

hps_status hps_file_write(int fd, const char *path, int64_t offset, int64_t bytes, const void *buffer)
{
    const char *from = buffer;

    while (bytes > 0) {
        const ssize_t put = pwrite(fd, from, (size_t)(bytes < PIECE ? bytes : PIECE), offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, put == 0 ? "nothing taken" : strerror(errno));
        }
        offset += put;
        bytes -= put;
        from += put;
    }
    return HPS_OK;
}

/* Where the rows lie in the file one after the other as words of this machine, or -1. */
static int64_t plain_offset(hid_t dataset, hid_t type)
{
    const hid_t plist = H5Dget_create_plist(dataset);
    const bool contiguous = H5Pget_layout(plist) == H5D_CONTIGUOUS && H5Pget_external_count(plist) == 0;
    const hid_t native = H5Tcopy(type);
    haddr_t offset = HADDR_UNDEF;

    H5Tset_order(native, H5Tget_order(H5T_NATIVE_INT));
    if (contiguous && H5Tequal(native, type) > 0) {
        offset = H5Dget_offset(dataset);
    }
    H5Tclose(native);
    H5Pclose(plist);
    return offset == HADDR_UNDEF ? -1 : (int64_t)offset;
}

/* Behind an external link a dataset lies in another file than the one that is open. */
static bool is_elsewhere(int fd, hid_t dataset)
{
    const hid_t file = H5Iget_file_id(dataset);
    char name[HPS_PATH_MAX] = "";
    struct stat here, there;

    H5Fget_name(file, name, sizeof(name));
    H5Fclose(file);
    return fstat(fd, &here) == 0 && stat(name, &there) == 0 &&
           (here.st_dev != there.st_dev || here.st_ino != there.st_ino);
}

static bool never_written(hid_t dataset)
{
    const hid_t plist = H5Dget_create_plist(dataset);
    const bool held_here = H5Pget_layout(plist) != H5D_VIRTUAL && H5Pget_external_count(plist) == 0;

    H5Pclose(plist);
    return held_here && H5Dget_storage_size(dataset) == 0;
}

static hps_status measure(hps_array *array)
{
    const hid_t type = H5Dget_type(array->dataset), space = H5Dget_space(array->dataset);
    const int dimensions = H5Sget_simple_extent_ndims(space);
    hsize_t shape[DIMENSIONS_MAX] = {0}, bytes = H5Tget_size(type);
    bool fits = dimensions >= 1;

    H5Sget_simple_extent_dims(space, shape, NULL);
    for (int i = 1; i < dimensions; i++) {
        fits = fits && !__builtin_mul_overflow(bytes, shape[i], &bytes);
    }
    fits = fits && (shape[0] == 0 || bytes <= (hsize_t)INT64_MAX / shape[0]);
    array->rows = (int64_t)shape[0];
    array->row_bytes = (int64_t)bytes;
    array->begin = is_elsewhere(array->fd, array->dataset) ? -1 : plain_offset(array->dataset, type);
    array->memory = H5Tcopy(type);
    H5Tset_order(array->memory, H5Tget_order(H5T_NATIVE_INT)); /* refused for types without an order, which have none */
    H5Sclose(space);
    H5Tclose(type);
    return fits ? HPS_OK : hps_fail(HPS_EFORMAT, "%s: a dataset is not an array of rows", array->path);
}

static hps_status check_extent(const hps_array *array)
{
    struct stat about;
    const int64_t bytes = array->rows * array->row_bytes;

    if (bytes > 0 && array->begin < 0 && never_written(array->dataset)) {
        return hps_fail(HPS_EFORMAT, "%s: a dataset was created and never written", array->path);
    }
    if (array->begin >= 0 && (fstat(array->fd, &about) != 0 || about.st_size - bytes < array->begin)) {
        return hps_fail(HPS_EFORMAT, "%s: truncated: a dataset of %lld bytes reaches beyond its end; copy it again",
                        array->path, (long long)bytes);
    }
    return HPS_OK;
}

hps_status hps_array_of_dataset(const char *path, int fd, hid_t dataset, hps_array *array)
{
    *array = (hps_array){.path = path, .fd = fd, .begin = -1, .dataset = dataset, .memory = H5I_INVALID_HID};
    hps_status status = measure(array);
    if (status == HPS_OK) {
        status = check_extent(array);
    }
    if (status != HPS_OK) {
        hps_array_close(array);
    }
    return status;
}

void hps_array_close(hps_array *array)
{
    if (array->dataset >= 0) {
        H5Dclose(array->dataset);
    }
    if (array->memory >= 0) {
        H5Tclose(array->memory);
    }
    *array = HPS_NO_ARRAY;
}

/* The library is for one thread at a time; two feeds may be read ahead at once. */
static pthread_mutex_t hdf5_lock = PTHREAD_MUTEX_INITIALIZER;

static hps_status read_hyperslab(const hps_array *array, int64_t row, int64_t count, void *buffer)
{
    hsize_t start[DIMENSIONS_MAX] = {0}, shape[DIMENSIONS_MAX] = {0};
    const hid_t space = H5Dget_space(array->dataset);
    const int dimensions = H5Sget_simple_extent_dims(space, shape, NULL);
    char reason[256];

    start[0] = (hsize_t)row;
    shape[0] = (hsize_t)count;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, shape, NULL);
    const hid_t memory = H5Screate_simple(dimensions, shape, NULL);
    const herr_t code = H5Dread(array->dataset, array->memory, memory, space, H5P_DEFAULT, buffer);
    if (code < 0) {
        hps_h5_reason(reason);
    }
    H5Sclose(memory);
    H5Sclose(space);
    return code >= 0
               ? HPS_OK
               : hps_fail(HPS_EIO, "%s: rows from %lld on cannot be read: %s", array->path, (long long)row, reason);
}

hps_status hps_array_read(const hps_array *array, int64_t row, int64_t count, void *buffer)
{
    const int64_t most = array->row_bytes < PIECE ? PIECE / (array->row_bytes > 0 ? array->row_bytes : 1) : 1;
    char *to = buffer;

    if (row < 0 || count < 0 || row > array->rows - count) {
        return hps_fail(HPS_EARG, "%s: rows %lld to %lld asked for, it has %lld", array->path, (long long)row,
                        (long long)(row + count), (long long)array->rows);
    }
    if (array->begin >= 0) {
        return hps_file_read(array->fd, array->path, array->begin + row * array->row_bytes, count * array->row_bytes,
                             buffer);
    }
    while (count > 0) {
        const int64_t now = count < most ? count : most;
        pthread_mutex_lock(&hdf5_lock);
        const hps_status status = read_hyperslab(array, row, now, to);
        pthread_mutex_unlock(&hdf5_lock);
        HPS_TRY(status);
        row += now;
        count -= now;
        to += now * array->row_bytes;
    }
    return HPS_OK;
}
