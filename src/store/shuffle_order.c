/*
 * Phase two: a slab is read whole, and its rows written back in the order of their places.  The row that comes to a place
 * is known from the permutation; sorted by row, places stand as the rows arrived.
 */
#include "shuffle_parts.h"

#include "hpsae/base/memory.h"
#include "progress.h"

#include <string.h>

typedef struct {
    uint64_t row;  /* of the input */
    int64_t place; /* within the slab */
} arrival;

typedef struct {
    arrival *a, *b;   /* [slab_rows] each */
    int32_t *came_as; /* [slab_rows] for each place the number under which its row arrived */
    char *slab;       /* [slab_rows, widest column] as they arrived */
    char *ordered;    /* [write_rows, widest column] */
} workspace;

static void free_workspace(workspace *w)
{
    HPS_FREE(&w->a);
    HPS_FREE(&w->b);
    HPS_FREE(&w->came_as);
    HPS_FREE(&w->slab);
    HPS_FREE(&w->ordered);
}

static hps_status make_workspace(const hps_shuffle_job *job, workspace *w)
{
    const int64_t rows = job->plan.slab_rows < job->rows ? job->plan.slab_rows : job->rows;
    int64_t width = 0;

    for (int64_t c = 0; c < job->columns.count; c++) {
        width = job->columns.items[c].out_bytes > width ? job->columns.items[c].out_bytes : width;
    }
    HPS_TRY(HPS_ALLOC(&w->a, rows, "the order of a slab"));
    HPS_TRY(HPS_ALLOC(&w->b, rows, "the order of a slab"));
    HPS_TRY(HPS_ALLOC(&w->came_as, rows, "the order of a slab"));
    HPS_TRY(HPS_ALLOC(&w->slab, rows * width, "the rows of a slab"));
    return HPS_ALLOC(&w->ordered, job->plan.write_rows * width, "rows to be written");
}

/* Sorts by row, least significant byte first; the rows are below `bound`.  The result stands in w->a. */
static void sort_arrivals(workspace *w, int64_t count, uint64_t bound)
{
    for (int shift = 0; shift < 64 && bound >> shift != 0; shift += 8) {
        int64_t start[257] = {0};

        for (int64_t i = 0; i < count; i++) {
            start[(w->a[i].row >> shift & 255) + 1]++;
        }
        for (int digit = 0; digit < 256; digit++) {
            start[digit + 1] += start[digit];
        }
        for (int64_t i = 0; i < count; i++) {
            w->b[start[w->a[i].row >> shift & 255]++] = w->a[i];
        }
        arrival *swap = w->a;
        w->a = w->b;
        w->b = swap;
    }
}

static void find_order(const hps_shuffle_job *job, workspace *w, int64_t first, int64_t count)
{
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        w->a[i] = (arrival){(uint64_t)hps_permutation_row(&job->permutation, first + i), i};
    }
    sort_arrivals(w, count, (uint64_t)job->rows);
    for (int64_t i = 0; i < count; i++) {
        w->came_as[w->a[i].place] = (int32_t)i;
    }
}

static hps_status order_column(const hps_shuffle_job *job, workspace *w, int c, int64_t first, int64_t count,
                               hps_statistics *statistics)
{
    const int64_t bytes = job->columns.items[c].out_bytes;

    HPS_TRY(hps_output_read(&job->output, c, first, count, w->slab));
    for (int64_t done = 0; done < count;) {
        const int64_t rest = count - done, now = rest < job->plan.write_rows ? rest : job->plan.write_rows;
#pragma omp parallel for
        for (int64_t i = 0; i < now; i++) {
            memcpy(w->ordered + i * bytes, w->slab + w->came_as[done + i] * bytes, (size_t)bytes);
        }
        HPS_TRY(hps_output_write(&job->output, c, first + done, now, w->ordered));
        if (statistics != NULL) {
            hps_statistics_add(statistics, now, w->ordered);
        }
        done += now;
    }
    return HPS_OK;
}

static hps_status order_slab(const hps_shuffle_job *job, workspace *w, int64_t slab, hps_statistics *statistics)
{
    const int64_t first = slab * job->plan.slab_rows, rest = job->rows - first;
    const int64_t count = rest < job->plan.slab_rows ? rest : job->plan.slab_rows;

    find_order(job, w, first, count);
    hps_statistics_begin(statistics, slab);
    for (int64_t c = 0; c < job->columns.count; c++) {
        HPS_TRY(order_column(job, w, (int)c, first, count, c == 0 ? statistics : NULL));
    }
    hps_statistics_end(statistics);
    return HPS_OK;
}

hps_status hps_shuffle_order(hps_shuffle_job *job, hps_statistics *statistics)
{
    const int64_t slabs = job->plan.slabs, slab_bytes = job->plan.slab_rows * job->columns.out_bytes;
    workspace w = {0};
    hps_progress progress;

    hps_progress_begin("shuffle", "second pass", (slabs / job->size + 1) * slab_bytes, job->size, &progress);
    hps_status status = make_workspace(job, &w);
    for (int64_t slab = job->rank; slab < slabs && status == HPS_OK; slab += job->size) {
        status = order_slab(job, &w, slab, statistics);
        hps_progress_add(&progress, slab_bytes);
    }
    free_workspace(&w);
    return status;
}
