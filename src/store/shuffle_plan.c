#include "shuffle_parts.h"

#include <stdlib.h>

static const int64_t piece = (int64_t)4 << 20; /* bytes that one read or write should have */

/* To sort the rows of a slab: two arrays of (row, index), and the place of each row. */
static const int64_t sort_bytes = 2 * 16 + 4;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t at_least_one(int64_t a)
{
    return a > 1 ? a : 1;
}

static int64_t widest(const hps_columns *columns)
{
    int64_t most = 1;

    for (int64_t c = 0; c < columns->count; c++) {
        most = columns->items[c].out_bytes > most ? columns->items[c].out_bytes : most;
    }
    return most;
}

/* Bytes of phase two with slabs of that many rows. */
static int64_t order_bytes(const hps_shuffle_job *job, int64_t slab_rows, int64_t write_rows)
{
    const int64_t width = widest(&job->columns);

    return slab_rows * (width + sort_bytes) + write_rows * width +
           hps_statistics_bytes(job->rows, job->sources.d, slab_rows, job->size);
}

/* Bytes of phase one. */
static int64_t partition_bytes(const hps_shuffle_job *job, const hps_shuffle_plan *plan)
{
    return plan->read_rows * hps_row_reader_bytes(&job->columns) +
           plan->slabs * (plan->bucket_rows * job->columns.out_bytes + 3 * (int64_t)sizeof(int64_t));
}

/* The largest slabs that fit, but small enough that every rank has several of them. */
static int64_t choose_slab(const hps_shuffle_job *job, int64_t memory, int64_t write_rows)
{
    int64_t slab_rows = HPS_STATISTICS_BLOCK;

    while (slab_rows < job->rows && slab_rows < (int64_t)1 << 29 &&
           order_bytes(job, 2 * slab_rows, write_rows) <= memory &&
           (2 * slab_rows * 4 * job->size <= job->rows || slab_rows * job->columns.out_bytes < piece)) {
        slab_rows *= 2;
    }
    return slab_rows;
}

hps_status hps_shuffle_make_plan(hps_shuffle_job *job)
{
    hps_shuffle_plan *plan = &job->plan;
    const int64_t here = job->sources.rows / job->size + 1, bitmap = job->left_out != NULL ? here / 8 + 1 : 0;
    const int64_t memory = job->memory - bitmap, width = widest(&job->columns);

    plan->write_rows = at_least_one(least(piece, memory / 8) / width);
    plan->slab_rows = choose_slab(job, memory, plan->write_rows);
    plan->slabs = at_least_one((job->rows - 1) / plan->slab_rows + 1);
    plan->read_rows = least(here, at_least_one(least(2 * piece, memory / 4) / hps_row_reader_bytes(&job->columns)));
    plan->bucket_rows = 1;
    const int64_t rest = memory - partition_bytes(job, plan);
    if (rest > 0) {
        plan->bucket_rows += rest / plan->slabs / job->columns.out_bytes;
    }
    plan->bucket_rows = least(plan->bucket_rows, least(here, least(plan->slab_rows, at_least_one(2 * piece / width))));

    const int64_t order = order_bytes(job, plan->slab_rows, plan->write_rows), partition = partition_bytes(job, plan);
    const int64_t need = bitmap + (order > partition ? order : partition);
    if (need > job->memory) {
        return hps_fail(HPS_ECONFIG,
                        "shuffle.memory: %.1f MiB a rank are too little for %lld rows of %lld bytes; %.1f MiB "
                        "would do",
                        (double)job->memory / 1048576, (long long)job->rows, (long long)job->columns.out_bytes,
                        (double)need / 1048576 + 0.1);
    }
    return HPS_OK;
}
