/*
 * An array of rows in a file, as one rank reads it: every row `row_bytes` long, words in the machine's order.  Where the
 * rows lie in the file as they are, by pread, which needs no library, copies once, and may be called from any thread;
 * where they do not (chunked, filtered, other byte order, in another file behind a link), by HDF5: then from any thread too, while the others only read.
 */
#ifndef HPSAE_STORE_ARRAY_H
#define HPSAE_STORE_ARRAY_H

#include "hpsae/base/status.h"

#include <hdf5.h>
#include <stdint.h>

typedef struct {
    const char *path; /* of the file, for messages; borrowed */
    int64_t rows;
    int64_t row_bytes;
    int fd;                /* borrowed */
    int64_t begin;         /* byte at which row 0 begins, or -1: read by HDF5 */
    hid_t dataset, memory; /* owned; memory: the type of the words in memory */
} hps_array;

/* What a closed array holds. */
#define HPS_NO_ARRAY ((hps_array){.fd = -1, .begin = -1, .dataset = H5I_INVALID_HID, .memory = H5I_INVALID_HID})

/*
 * Local.  An open dataset [rows, ...] of any rank as an array; takes the dataset over, also on error.  fd: the same file,
 * open for reading.  Errors: HPS_EFORMAT (no rows' dimension, never written, beyond the end of the file).
 */
hps_status hps_array_of_dataset(const char *path, int fd, hid_t dataset, hps_array *array);
void hps_array_close(hps_array *array);

/* Local.  Reads rows [row, row + count) into buffer [count * row_bytes].  Errors: HPS_EIO, HPS_EARG (not in the array). */
hps_status hps_array_read(const hps_array *array, int64_t row, int64_t count, void *buffer);

/*
 * Local.  Reads or writes exactly `bytes` at `offset`, in pieces that the system takes, again after interruptions.
 * Errors: HPS_EIO: the system's reason; the file ends before.
 */
hps_status hps_file_read(int fd, const char *path, int64_t offset, int64_t bytes, void *buffer);
hps_status hps_file_write(int fd, const char *path, int64_t offset, int64_t bytes, const void *buffer);

#endif
