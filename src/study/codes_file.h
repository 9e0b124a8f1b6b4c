/*
 * The file of sparse codes, as one process writes it: rows appended one by one, in blocks whose size does not depend on
 * how the rows came, so that the bytes depend on the codes alone.
 */
#ifndef HPSAE_STUDY_CODES_FILE_H
#define HPSAE_STUDY_CODES_FILE_H

#include "hpsae/base/file.h"
#include "hpsae/kernels/kernels.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

/* What the file says about its codes; borrowed strings. */
typedef struct {
    int64_t rows, latents, k, first_row;
    const char *hook, *model_name, *select;
    double threshold; /* in the units of the values; negative: none */
    uint64_t checksum;
    double scale; /* values are divided by it */
    bool order;
    const char *ensemble; /* method; NULL: codes of one dictionary, and the rest is not set */
    int members;
    const int64_t *offset;    /* [members + 1] latents of member j: offset[j] .. offset[j + 1] - 1 */
    const double *thresholds; /* [members] as threshold; NULL: none */
} hps_codes_about;

typedef struct hps_codes_file hps_codes_file;

/*
 * Local.  Whether a file of codes may be written there: nothing stands there, or older codes.  Errors: HPS_EIO,
 * HPS_EFORMAT when it is another file.
 */
hps_status hps_codes_look(const char *path);

/*
 * Local.  Begins PATH.tmp, making the directory.  Room is taken before it is written to: a full disk is an error of
 * ours, not the library's, which would not survive it.  Errors: HPS_EIO, HPS_ENOMEM.  End with hps_codes_finish.
 */
hps_status hps_codes_begin(const char *path, const hps_codes_about *about, hps_codes_file **file);

/* Local.  Appends one row: its candidates by value, descending.  Errors: HPS_EIO. */
hps_status hps_codes_add(hps_codes_file *file, int64_t count, const hps_candidate *slots);

/* Local.  Values appended so far. */
int64_t hps_codes_values(const hps_codes_file *file);

/*
 * Local.  Writes what is left, closes the file, gives it its name; *bytes: its size.  When `so_far` is a failure,
 * removes it and returns that.  Frees *file, which may be NULL.  Error: HPS_EIO; the older file is then as it was.
 */
hps_status hps_codes_finish(hps_codes_file **file, hps_status so_far, int64_t *bytes);

#endif
