/*
 * The file of principal components, as rank 0 writes it: beside the old one, then renamed.
 */
#ifndef HPSAE_STUDY_PCA_FILE_H
#define HPSAE_STUDY_PCA_FILE_H

#include "hpsae/base/file.h"

#include <hdf5.h>
#include <stdint.h>

typedef struct {
    const char *hook, *model_name, *scale; /* borrowed */
    int64_t d, fit_rows, first_row;
    const double *mean, *eigenvalues, *ev; /* [d] */
} hps_pca_about;

typedef struct {
    char path[HPS_PATH_MAX], temporary[HPS_PATH_MAX + 8];
    hid_t file, components;
    int64_t d;
} hps_pca_file;

/* Local.  Begins PATH.tmp, making the directory and taking the room.  Error: HPS_EIO.  End with hps_pca_file_finish. */
hps_status hps_pca_file_begin(const char *path, const hps_pca_about *about, hps_pca_file *file);

/* Local.  Components [first, first + count), row [count, d].  Error: HPS_EIO. */
hps_status hps_pca_file_add(hps_pca_file *file, int64_t first, int64_t count, const double *row);

/* Local.  Closes the file and gives it its name, or removes it when `so_far` is a failure.  Error: HPS_EIO. */
hps_status hps_pca_file_finish(hps_pca_file *file, hps_status so_far);

#endif
