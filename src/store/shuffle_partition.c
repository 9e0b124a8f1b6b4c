/*
 * Phase one: every rank reads its rows from first to last and hands each to the slab in which its place lies.  Rows of a
 * slab arrive in the order of the input: rank by rank, for which each rank counts first what it will bring, and within
 * a rank as they are read.  So what stands in the file after this phase depends on neither ranks nor memory, and a row's
 * number need not be stored to find it again.
 */
#include "shuffle_parts.h"

#include "hpsae/base/memory.h"
#include "progress.h"

#include <string.h>

typedef struct {
    int64_t *next;   /* [slabs] row of the output to which the bucket is written next */
    int64_t *filled; /* [slabs] rows in the bucket */
    char *rows;      /* [columns][slabs, bucket_rows, out_bytes] */
} buckets;

static void free_buckets(buckets *b)
{
    HPS_FREE(&b->next);
    HPS_FREE(&b->filled);
    HPS_FREE(&b->rows);
}

static hps_status make_buckets(const hps_shuffle_job *job, buckets *b)
{
    const hps_shuffle_plan *plan = &job->plan;

    HPS_TRY(HPS_ALLOC(&b->next, plan->slabs, "the table of slabs"));
    HPS_TRY(HPS_ALLOC(&b->filled, plan->slabs, "the table of slabs"));
    return HPS_ALLOC(&b->rows, plan->slabs * plan->bucket_rows * job->columns.out_bytes, "rows on their way");
}

/* Where this rank's first row of each slab goes. */
static void find_starts(const hps_shuffle_job *job, buckets *b)
{
    const int64_t slabs = job->plan.slabs, bad = job->left_out != NULL ? job->bad.rows : 0;
    const int64_t moved = job->end - job->first - bad;

    for (int64_t i = 0; i < moved; i++) {
        b->filled[hps_permutation_place(&job->permutation, job->moved_before + i) / job->plan.slab_rows]++;
    }
    /* Counts of slabs fit an int in every piece of this size. */
    const int64_t most = 1 << 20;
    for (int64_t s = 0; s < slabs; s += most) {
        const int count = (int)(slabs - s < most ? slabs - s : most);
        HPS_MPI(MPI_Exscan(b->filled + s, b->next + s, count, MPI_INT64_T, MPI_SUM, job->comm));
    }
    for (int64_t s = 0; s < slabs; s++) {
        b->next[s] = (job->rank == 0 ? 0 : b->next[s]) + s * job->plan.slab_rows;
        b->filled[s] = 0;
    }
}

static hps_status empty_bucket(const hps_shuffle_job *job, buckets *b, int64_t slab)
{
    const int64_t all = job->plan.slabs * job->plan.bucket_rows, first = slab * job->plan.bucket_rows;
    char *rows = b->rows;

    if (b->filled[slab] == 0) {
        return HPS_OK;
    }
    for (int64_t c = 0; c < job->columns.count; c++) {
        const int64_t bytes = job->columns.items[c].out_bytes;
        HPS_TRY(hps_output_write(&job->output, (int)c, b->next[slab], b->filled[slab], rows + first * bytes));
        rows += all * bytes;
    }
    b->next[slab] += b->filled[slab];
    b->filled[slab] = 0;
    return HPS_OK;
}

static hps_status put_row(const hps_shuffle_job *job, buckets *b, const hps_row_reader *reader, int64_t r, int64_t slab)
{
    const int64_t all = job->plan.slabs * job->plan.bucket_rows;
    const int64_t at = slab * job->plan.bucket_rows + b->filled[slab];
    const char *from = reader->out;
    char *to = b->rows;

    for (int64_t c = 0; c < job->columns.count; c++) {
        const int64_t bytes = job->columns.items[c].out_bytes;
        memcpy(to + at * bytes, from + r * bytes, (size_t)bytes);
        to += all * bytes;
        from += reader->block_rows * bytes;
    }
    return ++b->filled[slab] == job->plan.bucket_rows ? empty_bucket(job, b, slab) : HPS_OK;
}

static hps_status put_block(const hps_shuffle_job *job, buckets *b, const hps_row_reader *reader, int64_t *moved)
{
    for (int64_t r = 0; r < reader->count; r++) {
        if (!hps_shuffle_leaves_out(job, reader->first + r)) {
            const int64_t place = hps_permutation_place(&job->permutation, job->moved_before + (*moved)++);
            HPS_TRY(put_row(job, b, reader, r, place / job->plan.slab_rows));
        }
    }
    return HPS_OK;
}

/* Once a bad row was met that is not to be left out, rows are only read, to count the others. */
static hps_status move_rows(hps_shuffle_job *job, buckets *b, hps_row_reader *reader, hps_bad_rows *bad)
{
    hps_progress progress;
    int64_t moved = 0;

    hps_progress_begin("shuffle", "first pass", (job->end - job->first) * job->columns.in_bytes, job->size, &progress);
    for (;;) {
        HPS_TRY(hps_row_reader_next(reader));
        if (reader->count == 0) {
            break;
        }
        if (bad->rows == 0 || job->left_out != NULL) {
            HPS_TRY(put_block(job, b, reader, &moved));
        }
        hps_progress_add(&progress, reader->count * job->columns.in_bytes);
    }
    for (int64_t s = 0; s < job->plan.slabs && (bad->rows == 0 || job->left_out != NULL); s++) {
        HPS_TRY(empty_bucket(job, b, s));
    }
    return HPS_OK;
}

hps_status hps_shuffle_partition(hps_shuffle_job *job)
{
    buckets b = {0};
    hps_row_reader reader = {0};
    /* After a scan the bad rows are known; the reader would count them again. */
    const bool scanned = job->left_out != NULL;
    const hps_bad_rows known = job->bad;

    hps_status status = make_buckets(job, &b);
    if (status == HPS_OK) {
        status =
            hps_row_reader_create(&job->columns, false, job->first, job->end, job->plan.read_rows, &job->bad, &reader);
    }
    status = hps_agree(job->comm, status);
    if (status == HPS_OK) {
        find_starts(job, &b);
        status = move_rows(job, &b, &reader, &job->bad);
    }
    hps_row_reader_free(&reader);
    free_buckets(&b);
    if (scanned) {
        job->bad.rows = known.rows;
        job->bad.first = known.first;
        return hps_output_exchange(&job->output, status);
    }
    HPS_TRY(hps_shuffle_judge(job, status));
    return hps_output_exchange(&job->output, HPS_OK);
}
