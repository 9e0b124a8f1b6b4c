/*
 * A store being written: one HDF5 file of contiguous datasets, laid out by rank 0, then filled by all ranks, each at its
 * own bytes, then given its attributes and its name.
 *
 * The words are written by pwrite at the datasets' offsets, as they are read: a failure is the system's own error on the
 * rank where it happens (MPI-IO prints to stderr by itself), and no library keeps anything that could not be written.
 * The room is reserved before the first word.  Until it is whole, the file is PATH.tmp and says complete = 0.
 */
#ifndef HPSAE_STORE_OUTPUT_H
#define HPSAE_STORE_OUTPUT_H

#include "hpsae/base/file.h"
#include "hpsae/base/status.h"
#include "hpsae/base/words.h"

#include <hdf5.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

enum { HPS_OUTPUT_DATASETS = 64 };

typedef struct {
    MPI_Comm comm; /* borrowed */
    int rank;
    char path[HPS_PATH_MAX], temporary[HPS_PATH_MAX + 8];
    hid_t file; /* on rank 0 while the file is laid out or finished */
    int fd;
    int datasets;
    int64_t begin[HPS_OUTPUT_DATASETS]; /* byte of row 0 */
    int64_t row_bytes[HPS_OUTPUT_DATASETS];
    const char *gradients; /* dataset whose attribute rms_norm is written at the end; NULL: none; borrowed */
    double rms_norm;       /* on rank 0 */
} hps_output;

/*
 * Collective over comm.  Looks at what stands at `path`: *done when it is a complete store with this fingerprint.
 * Errors: HPS_ECONFIG when something else is there, naming `key`.
 */
hps_status hps_output_look(MPI_Comm comm, const char *path, const char *fingerprint, const char *key, bool *done);

/*
 * Collective over comm.  For a dry run: whether the nearest directory that exists can be written to, and has `bytes` of
 * room.  Error: HPS_EIO.
 */
hps_status hps_output_try(MPI_Comm comm, const char *path, int64_t bytes);

/*
 * Collective over comm.  Makes the directory, removes a stale PATH.tmp, makes sure of `bytes` of room, and creates the
 * file.  On rank 0 output->file is then open for the datasets and attributes that are to be added; after that, every rank
 * calls hps_output_open.  After an error anywhere call hps_output_abandon.
 */
hps_status hps_output_create(MPI_Comm comm, const char *path, int64_t bytes, hps_output *output);

/*
 * Local, on rank 0.  Adds a contiguous dataset of `dimensions` extents, groups on the way made as needed.  *dataset is
 * open for attributes; close with H5Dclose.
 */
hps_status hps_output_add(hps_output *output, const char *name, hid_t type, int dimensions, const hsize_t *shape,
                          hid_t *dataset);

/* Local, on rank 0.  The same for activations [rows, d] of a dtype, with hook_name, n_tokens and logical_dtype. */
hps_status hps_output_add_words(hps_output *output, const char *name, hps_dtype dtype, int64_t rows, int64_t d,
                                const char *hook, hid_t *dataset);

/*
 * Collective.  `laid_out`: how rank 0 came through adding.  Closes the HDF5 file, reserves its bytes, and opens it on
 * every rank for reading and writing.
 */
hps_status hps_output_open(hps_output *output, hps_status laid_out);

/* Local.  Writes or reads rows of dataset number `dataset` (in the order of adding), tight. */
hps_status hps_output_write(const hps_output *output, int dataset, int64_t row, int64_t count, const void *words);
hps_status hps_output_read(const hps_output *output, int dataset, int64_t row, int64_t count, void *words);

/*
 * Collective.  Makes what every rank wrote visible to every other: a barrier on one host, and across hosts the files are
 * synced, closed and opened again, since some network file systems promise no more.
 */
hps_status hps_output_exchange(hps_output *output, hps_status mine);

/*
 * Collective.  Writes statistics (valid on rank 0) to the activations' dataset, marks the file complete, syncs it on all
 * ranks and gives it its name.  `mine`: how this rank came through.  After an error call hps_output_abandon.
 */
hps_status hps_output_finish(hps_output *output, hps_status mine, const char *activations, int64_t d,
                             const double *mean, double mean_sq_norm);

/* Collective.  Closes and removes the unfinished file; the message of the failure stays. */
void hps_output_abandon(hps_output *output);

#endif
