#include "shuffle_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "progress.h"

static void mark_left_out(hps_shuffle_job *job, const hps_row_reader *reader)
{
    for (int64_t r = 0; r < reader->count; r++) {
        if (reader->is_bad[r]) {
            const int64_t at = reader->first + r - job->first;
            job->left_out[at / 8] = (uint8_t)(job->left_out[at / 8] | 1 << at % 8);
        }
    }
}

static hps_status scan_rows(hps_shuffle_job *job)
{
    const int64_t rows = job->end - job->first, row_bytes = job->columns.items[0].in_bytes;
    const int64_t block = (job->memory / 4 < 8 << 20 ? job->memory / 4 : 8 << 20) / hps_row_reader_bytes(&job->columns);
    hps_row_reader reader = {0};
    hps_progress progress;

    HPS_TRY(HPS_ALLOC(&job->left_out, rows / 8 + 1, "a bit a row"));
    hps_progress_begin("shuffle", "checking", rows * row_bytes, job->size, &progress);
    hps_status status =
        hps_row_reader_create(&job->columns, true, job->first, job->end, block > 1 ? block : 1, &job->bad, &reader);
    while (status == HPS_OK) {
        status = hps_row_reader_next(&reader);
        if (status != HPS_OK || reader.count == 0) {
            break;
        }
        mark_left_out(job, &reader);
        hps_progress_add(&progress, reader.count * row_bytes);
    }
    hps_row_reader_free(&reader);
    return status;
}

hps_status hps_shuffle_scan(hps_shuffle_job *job)
{
    return hps_shuffle_judge(job, scan_rows(job));
}

static void log_files(const hps_shuffle_job *job)
{
    enum { FILES_TOLD = 10 };
    int64_t told = 0;

    for (int64_t i = 0; i < job->sources.count; i++) {
        if (job->bad.per_file[i] > 0 && told++ < FILES_TOLD) {
            hps_log("shuffle", "%s: NaN or infinity in %lld of %lld rows%s", job->sources.items[i].path,
                    (long long)job->bad.per_file[i], (long long)job->sources.items[i].array.rows,
                    job->skip_bad ? ", which are left out" : "");
        }
    }
    if (told > FILES_TOLD) {
        hps_log("shuffle", "and in %lld more files", (long long)(told - FILES_TOLD));
    }
}

hps_status hps_shuffle_judge(hps_shuffle_job *job, hps_status mine)
{
    int64_t total = job->bad.rows, moved = job->end - job->first - job->bad.rows;

    HPS_TRY(hps_agree(job->comm, mine));
    job->moved_before = 0;
    HPS_MPI(MPI_Exscan(&moved, &job->moved_before, 1, MPI_INT64_T, MPI_SUM, job->comm));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_INT64_T, MPI_SUM, job->comm));
    job->rows = job->sources.rows - total;
    if (total == 0) {
        return HPS_OK;
    }
    for (int64_t i = 0; i < job->sources.count; i++) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &job->bad.per_file[i], 1, MPI_INT64_T, MPI_SUM, job->comm));
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &job->bad.first, 1, MPI_INT64_T, MPI_MIN, job->comm));
    log_files(job);
    const int64_t file = hps_sources_find(&job->sources, job->bad.first);
    if (!job->skip_bad) {
        return hps_fail(HPS_EFORMAT,
                        "%s: row %lld holds NaN or infinity (%lld such row%s in %lld); set "
                        "data.skip_bad_rows to leave them out",
                        job->sources.items[file].path, (long long)(job->bad.first - job->sources.first[file]),
                        (long long)total, total == 1 ? "" : "s", (long long)job->sources.rows);
    }
    return job->rows > 0
               ? HPS_OK
               : hps_fail(HPS_EFORMAT, "%s: every row holds NaN or infinity, none is left", job->sources.items[0].path);
}
