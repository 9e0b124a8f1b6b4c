/*
 * The parts of a shuffle, see shuffle.c.
 */
#ifndef HPSAE_STORE_SHUFFLE_PARTS_H
#define HPSAE_STORE_SHUFFLE_PARTS_H

#include "columns.h"
#include "output.h"
#include "permutation.h"
#include "row_reader.h"
#include "statistics.h"

/* Sizes, the same on every rank. */
typedef struct {
    int64_t slab_rows, slabs; /* rows of the output that are put in order at a time: 256 times a power of two */
    int64_t read_rows;        /* read at a time */
    int64_t bucket_rows;      /* gathered for a slab before they are written */
    int64_t write_rows;       /* written at a time when a slab is put in order */
} hps_shuffle_plan;

typedef struct {
    MPI_Comm comm;
    int rank, size;
    bool skip_bad;
    int64_t memory; /* bytes for all buffers of a rank */
    uint64_t seed;
    hps_sources sources;
    hps_columns columns;
    int64_t first, end;   /* input rows that this rank reads */
    int64_t rows;         /* of the output */
    int64_t moved_before; /* rows of lower ranks that go into the output */
    hps_bad_rows bad;
    uint8_t *left_out; /* [ceil((end - first) / 8)] a bit a row that is left out; NULL when none is */
    hps_shuffle_plan plan;
    hps_permutation permutation;
    hps_output output;
} hps_shuffle_job;

/* Local.  Whether input row `row` (first <= row < end) is left out. */
static inline bool hps_shuffle_leaves_out(const hps_shuffle_job *job, int64_t row)
{
    const int64_t at = row - job->first;

    return job->left_out != NULL && (job->left_out[at / 8] >> (at % 8) & 1) != 0;
}

/* Local.  Finds the sizes that keep to job->memory.  Error: HPS_ECONFIG with the least memory that would do. */
hps_status hps_shuffle_make_plan(hps_shuffle_job *job);

/* Collective.  Reads all that could be bad, fills job->bad and job->left_out; then judges as below. */
hps_status hps_shuffle_scan(hps_shuffle_job *job);

/*
 * Collective.  `mine`: how reading went.  Logs bad rows by file.  Errors: HPS_EFORMAT when there are any and they are not
 * to be skipped, or when no other is left.  Sets job->rows and job->moved_before.
 */
hps_status hps_shuffle_judge(hps_shuffle_job *job, hps_status mine);

/* Collective.  Phase one: every row goes to the slab of its place. */
hps_status hps_shuffle_partition(hps_shuffle_job *job);

/* Local.  Phase two: the slabs of this rank are put in order, and their statistics taken. */
hps_status hps_shuffle_order(hps_shuffle_job *job, hps_statistics *statistics);

#endif
