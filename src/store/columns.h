/*
 * What a shuffle moves: the activations, and whatever stands beside them row for row.
 */
#ifndef HPSAE_STORE_COLUMNS_H
#define HPSAE_STORE_COLUMNS_H

#include "hpsae/config/config.h"
#include "output.h"
#include "sources.h"

/* One dataset of the output, and the arrays of the input files that it is put together from. */
typedef struct {
    char name[600];              /* in the output */
    hps_array *arrays;           /* [files]; owned, those of column 0 borrowed from the sources */
    bool words;                  /* holds float words, which must be finite */
    bool floats;                 /* gradients that are laid out as float32, whatever they come in */
    hps_dtype dtype;             /* of these words in the output; column 0 is converted to it */
    int64_t in_bytes, out_bytes; /* of a row; in: the most of all files */
} hps_column;

typedef struct {
    const hps_sources *sources; /* borrowed */
    char *hook;                 /* of the output; owned */
    hps_column *items;          /* [count]; number 0 holds the activations; owned */
    int64_t count;
    char (*copied)[600]; /* [copies] datasets with a row a document, copied as they are; owned */
    int64_t copies;
    int64_t in_bytes, out_bytes; /* of a row of all columns */
} hps_columns;

/*
 * Local, the same on every rank.  The activations, in the output of that name ("": the input's) and dtype, and of HDF5 files
 * /gradients/<hook>, /tokens/<*>, /labels/<*>.  What is not in all files, or not alike in all, is left out with a warning.
 * Errors: HPS_ECONFIG (no name for the activations), HPS_EFORMAT (files of different models), HPS_ENOMEM.  Release with
 * hps_columns_close, also after an error.
 */
hps_status hps_columns_open(const hps_sources *sources, const char *hook, hps_store_dtype dtype, hps_columns *columns);
void hps_columns_close(hps_columns *columns);

/* Local, on rank 0: lays out the output for `rows` rows, with the attributes of the first file. */
hps_status hps_columns_lay_out(const hps_columns *columns, int64_t rows, hps_output *output);

/* Local.  Copies the attributes of one object to another, but those named (a list that ends with NULL). */
hps_status hps_attributes_copy(hid_t from, hid_t to, const char *const *except);

#endif
