/*
 * Small HDF5 files with activations for tests, written by one rank through the plain HDF5 interface.
 */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/base/words.h"
#include "hpsae/store/hdf5.h"

#include <fcntl.h>
#include <hdf5.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What number stands at (row, column): finite, and the same in every dtype once rounded. */
static inline float fixture_value(int64_t row, int64_t column)
{
    const uint64_t bits = hps_random_u64(7, HPS_DRAW_TEST, (uint64_t)row, (uint64_t)column);

    return (float)((int64_t)(bits % 255) - 127) / 16;
}

static inline void fixture_words(hps_dtype dtype, int64_t first, int64_t rows, int64_t d, void *words)
{
    float *values = malloc((size_t)(rows * d) * sizeof(float));

    for (int64_t i = 0; i < rows * d; i++) {
        values[i] = fixture_value(first + i / d, i % d);
    }
    hps_words_from_float(dtype, rows * d, values, words);
    free(values);
}

/* A file with no datasets. */
static inline hid_t fixture_create(const char *path)
{
    hps_h5_start();
    return H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
}

/* A dataset of any extents and type, groups made on the way; chunk_rows 0: contiguous.  data NULL: not written. */
static inline hid_t fixture_dataset(hid_t file, const char *name, hid_t type, int dimensions, const hsize_t *shape,
                                    hsize_t chunk_rows, const void *data)
{
    const hid_t space = H5Screate_simple(dimensions, shape, NULL), links = H5Pcreate(H5P_LINK_CREATE);
    const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[4] = {chunk_rows};

    for (int i = 1; i < dimensions; i++) {
        chunk[i] = shape[i];
    }
    if (chunk_rows > 0) {
        H5Pset_chunk(plist, dimensions, chunk);
        H5Pset_deflate(plist, 1);
    }
    H5Pset_create_intermediate_group(links, 1);
    const hid_t dataset = H5Dcreate2(file, name, type, space, links, plist, H5P_DEFAULT);
    if (data != NULL) {
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    }
    H5Pclose(plist);
    H5Pclose(links);
    H5Sclose(space);
    return dataset;
}

/* Activations [rows, d] of a dtype, row r holding the values of row first + r. */
static inline hid_t fixture_activations(hid_t file, const char *name, hps_dtype dtype, int64_t first, int64_t rows,
                                        int64_t d, hsize_t chunk_rows)
{
    const hsize_t shape[2] = {(hsize_t)rows, (hsize_t)d};
    const hid_t type = hps_h5_type(dtype);
    void *words = malloc((size_t)(rows * d) * hps_dtype_size(dtype) + 1);

    fixture_words(dtype, first, rows, d, words);
    const hid_t dataset = fixture_dataset(file, name, type, 2, shape, chunk_rows, rows > 0 ? words : NULL);
    if (dtype == HPS_BF16) {
        hps_h5_set_text(dataset, "logical_dtype", "bfloat16");
    }
    free(words);
    H5Tclose(type);
    return dataset;
}

/* A whole file with activations "hook". */
static inline void fixture_store(const char *path, hps_dtype dtype, int64_t first, int64_t rows, int64_t d,
                                 hsize_t chunk_rows)
{
    const hid_t file = fixture_create(path);

    H5Dclose(fixture_activations(file, "/activations/hook", dtype, first, rows, d, chunk_rows));
    H5Fclose(file);
}

/* A file of these bytes. */
static inline void fixture_file(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");

    if (file != NULL) {
        fwrite(bytes, 1, count, file);
        fclose(file);
    }
}

/* The bytes of a file; *count of them; free with free(). */
static inline char *fixture_bytes(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;

    *count = 0;
    if (file != NULL) {
        fseek(file, 0, SEEK_END);
        *count = (size_t)ftell(file);
        rewind(file);
        bytes = malloc(*count + 1);
        *count = fread(bytes, 1, *count, file);
        fclose(file);
    }
    return bytes;
}

static inline bool fixture_same_files(const char *a, const char *b)
{
    size_t na, nb;
    char *x = fixture_bytes(a, &na), *y = fixture_bytes(b, &nb);
    const bool same = x != NULL && y != NULL && na == nb && memcmp(x, y, na) == 0;

    free(x);
    free(y);
    return same;
}

/* Whether the latest message holds these words; shows it if not. */
static inline bool fixture_said(const char *words)
{
    const bool said = strstr(hps_status_message(), words) != NULL;

    if (!said) {
        fprintf(stderr, "# wanted: %s\n# said:   %s\n", words, hps_status_message());
    }
    return said;
}

#endif
