/*
 * Reads a range of rows of all columns, block by block: finds rows that are not finite, and brings the activations to
 * the output's dtype.
 */
#ifndef HPSAE_STORE_ROW_READER_H
#define HPSAE_STORE_ROW_READER_H

#include "columns.h"

#include <stdbool.h>

/* Rows with NaN or infinity that were met. */
typedef struct {
    int64_t rows;      /* how many */
    int64_t first;     /* the first one, INT64_MAX if none */
    int64_t *per_file; /* [files]; owned by who counts */
} hps_bad_rows;

typedef struct {
    const hps_columns *columns; /* borrowed */
    hps_bad_rows *bad;          /* borrowed */
    bool only_words;            /* read only what can be bad */
    int64_t next, end, block_rows;
    int64_t first, count; /* the block that stands in the buffers */
    char *in;             /* one block of activations as stored; owned */
    float *values;        /* the same as float32; owned */
    char *out;            /* [columns][block_rows, out_bytes]; owned */
    bool *is_bad;         /* [block_rows]; owned */
} hps_row_reader;

/* Local.  Bytes a row of a block takes in the buffers. */
int64_t hps_row_reader_bytes(const hps_columns *columns);

/* Local.  Rows [first, end).  Error: HPS_ENOMEM.  Release with hps_row_reader_free, also after an error. */
hps_status hps_row_reader_create(const hps_columns *columns, bool only_words, int64_t first, int64_t end,
                                 int64_t block_rows, hps_bad_rows *bad, hps_row_reader *reader);
void hps_row_reader_free(hps_row_reader *reader);

/*
 * Local.  Reads the next block; reader->count is 0 behind the last.  Bad rows are counted and marked.  Errors: HPS_EIO,
 * HPS_ECONFIG (a finite value that the output's dtype cannot hold).
 */
hps_status hps_row_reader_next(hps_row_reader *reader);

/* Local.  The block's rows of a column, tight. */
char *hps_row_reader_column(const hps_row_reader *reader, int64_t column);

#endif
