#include "hpsae/store/whitening.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/ordered_product.h"
#include "hpsae/store/hdf5.h"
#include "progress.h"
#include "row_reader.h"
#include "statistics.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Rows: of a slab, which one rank writes; in memory; that a thread multiplies at a time. */
enum { SLAB = 4096, BLOCK = 512, STRIP = 32 };

/* What the map is kept as, behind the columns. */
enum { MEAN, MAP, INVERSE, MAPS };

static const char *const suffixes[] = {".h5", ".hdf5", NULL};

typedef struct {
    MPI_Comm comm;
    int rank, size;
    const hps_whitened_copy *about;
    const hps_whitening *map;
    hps_sources sources;
    hps_columns columns;
    int64_t gradients; /* their column; 0: none */
    hps_output output;
    hps_statistics statistics, gradient_statistics;
    hps_bad_rows bad;
    float *rows, *result;      /* [BLOCK, d] gradients on their way in; whitened rows */
    double *centred, *product; /* [BLOCK, d] */
} whitening_job;

/* Bytes of a row in the copy. */
static int64_t row_bytes(const whitening_job *job)
{
    return job->columns.out_bytes + (job->gradients > 0 ? job->sources.d * (int64_t)sizeof(float) : 0);
}

int64_t hps_whitened_bytes(int64_t rows, int64_t d)
{
    return BLOCK * d * (int64_t)(4 * sizeof(float) + 2 * sizeof(double)) +
           2 * hps_statistics_bytes(rows, d, SLAB, 1); /* on one rank, which has most */
}

hps_status hps_whitened_look(MPI_Comm comm, const char *path, const char *fingerprint, bool *done)
{
    return hps_output_look(comm, path, fingerprint, "pca.whiten", done);
}

static hps_status allocate(whitening_job *job)
{
    const int64_t d = job->sources.d, rows = job->sources.rows;

    HPS_TRY(HPS_ALLOC(&job->rows, job->gradients > 0 ? BLOCK * d : 0, "rows"));
    HPS_TRY(HPS_ALLOC(&job->result, BLOCK * d, "rows"));
    HPS_TRY(HPS_ALLOC(&job->centred, BLOCK * d, "rows"));
    HPS_TRY(HPS_ALLOC(&job->product, BLOCK * d, "rows"));
    HPS_TRY(HPS_ALLOC(&job->bad.per_file, job->sources.count, "the table of input files"));
    if (job->gradients > 0) {
        HPS_TRY(hps_statistics_create(job->comm, rows, d, HPS_F32, SLAB, &job->gradient_statistics));
    }
    return hps_statistics_create(job->comm, rows, d, HPS_F32, SLAB, &job->statistics);
}

static void release(whitening_job *job)
{
    hps_statistics_free(&job->statistics);
    hps_statistics_free(&job->gradient_statistics);
    HPS_FREE(&job->rows);
    HPS_FREE(&job->result);
    HPS_FREE(&job->centred);
    HPS_FREE(&job->product);
    HPS_FREE(&job->bad.per_file);
    hps_columns_close(&job->columns);
    hps_sources_close(&job->sources);
}

/* Gradients are of the activations, so they have their columns. */
static hps_status take_gradients(whitening_job *job)
{
    for (int64_t c = 1; c < job->columns.count; c++) {
        hps_column *column = &job->columns.items[c];
        if (strncmp(column->name, "/gradients/", 11) != 0) {
            continue;
        }
        if (!column->words || column->in_bytes != job->sources.d * (int64_t)hps_dtype_size(column->dtype)) {
            return hps_fail(HPS_EFORMAT, "%s: %s is not rows of %lld float numbers, as the activations are",
                            job->sources.items[0].path, column->name, (long long)job->sources.d);
        }
        column->floats = true;
        job->gradients = c;
    }
    return HPS_OK;
}

/* Collective. */
static hps_status open_columns(whitening_job *job)
{
    const hps_list *store = job->about->store;
    const hps_choice choice = {.name = job->about->hook, .key = "data.hook"};

    HPS_TRY(hps_sources_open(job->comm, store->count, store->items, suffixes, choice, &job->sources));
    hps_status status = hps_columns_open(&job->sources, "", HPS_STORE_FLOAT32, &job->columns);
    return hps_agree(job->comm, status == HPS_OK ? take_gradients(job) : status);
}

/* Rank 0. */
static hps_status lay_out_map(whitening_job *job)
{
    const hsize_t size[2] = {(hsize_t)job->map->d, (hsize_t)job->map->d};
    static const char *const names[] = {
        [MEAN] = "/whitening/mean", [MAP] = "/whitening/W", [INVERSE] = "/whitening/inverse"};
    hid_t dataset;

    for (int i = 0; i < MAPS; i++) {
        const hps_status status =
            hps_output_add(&job->output, names[i], H5T_IEEE_F64LE, i == MEAN ? 1 : 2, size, &dataset);
        H5Dclose(dataset);
        HPS_TRY(status);
    }
    return HPS_OK;
}

static hps_status set_hash(hid_t file, const char *name, uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    return hps_h5_set_text(file, name, text);
}

static bool all_shuffled(const hps_sources *sources)
{
    bool shuffled = true;

    for (int64_t i = 0; i < sources->count; i++) {
        int64_t flag = 0;
        shuffled = hps_h5_get_int(sources->items[i].file, "shuffled", &flag) && flag != 0 && shuffled;
    }
    return shuffled;
}

/* Rank 0. */
static hps_status lay_out(whitening_job *job)
{
    const hps_whitened_copy *about = job->about;
    const hid_t file = job->output.file;

    HPS_TRY(hps_columns_lay_out(&job->columns, job->sources.rows, &job->output));
    HPS_TRY(lay_out_map(job));
    HPS_TRY(hps_h5_set_int(file, "shuffled", all_shuffled(&job->sources) ? 1 : 0));
    HPS_TRY(hps_h5_set_text(file, "fingerprint", about->fingerprint));
    HPS_TRY(set_hash(file, "whitening", hps_whitening_identity(job->map)));
    HPS_TRY(set_hash(file, "whitening_store", about->identity));
    HPS_TRY(hps_h5_set_int(file, "whitening_first", about->first));
    HPS_TRY(hps_h5_set_int(file, "whitening_rows", about->rows));
    return hps_h5_set_real(file, "whitening_shrink", about->shrink);
}

/* Rank 0. */
static hps_status write_map(const whitening_job *job)
{
    const int first = (int)job->columns.count;
    const int64_t d = job->map->d;

    HPS_TRY(hps_output_write(&job->output, first + MEAN, 0, d, job->map->mean));
    HPS_TRY(hps_output_write(&job->output, first + MAP, 0, d, job->map->W));
    return hps_output_write(&job->output, first + INVERSE, 0, d, job->map->inverse);
}

/* result = map (x - mean), a row after the other; mean NULL: 0. */
static void transform(const whitening_job *job, int64_t count, const float *x, const double *mean, const double *map)
{
    const int64_t d = job->map->d;

#pragma omp parallel for schedule(dynamic) num_threads(job->about->threads)
    for (int64_t first = 0; first < count; first += STRIP) {
        const int64_t rows = count - first < STRIP ? count - first : STRIP;
        double *in = job->centred + first * d, *out = job->product + first * d;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < d; j++) {
                in[i * d + j] = (double)x[(first + i) * d + j] - (mean != NULL ? mean[j] : 0);
            }
        }
        memset(out, 0, (size_t)(rows * d) * sizeof(double));
        hps_ordered_product(rows, d, d, in, d, 1, map, d, out, d);
        for (int64_t i = 0; i < rows * d; i++) {
            job->result[first * d + i] = (float)out[i];
        }
    }
}

static hps_status refuse_row(const whitening_job *job, int64_t row, const char *dataset, const char *what)
{
    const int64_t file = hps_sources_find(&job->sources, row);

    return hps_fail(HPS_EFORMAT, "%s: row %lld of %s %s", job->sources.items[file].path,
                    (long long)(row - job->sources.first[file]), dataset, what);
}

/* Whitened rows, which stand in `result`, of a column. */
static hps_status put(whitening_job *job, int64_t column, hps_statistics *statistics, int64_t row, int64_t count)
{
    const int64_t d = job->map->d, bad = hps_words_first_nonfinite(HPS_F32, count * d, job->result);

    if (bad >= 0) {
        return refuse_row(job, row + bad / d, job->columns.items[column].name,
                          "is too large for float32 once whitened; set a larger pca.shrink");
    }
    hps_statistics_add(statistics, count, job->result);
    return hps_output_write(&job->output, (int)column, row, count, job->result);
}

static hps_status write_gradients(whitening_job *job, const hps_row_reader *reader)
{
    const int64_t c = job->gradients, count = reader->count;

    hps_words_to_float(job->columns.items[c].dtype, count * job->map->d, hps_row_reader_column(reader, c), job->rows);
    transform(job, count, job->rows, NULL, job->map->inverse);
    return put(job, c, &job->gradient_statistics, reader->first, count);
}

static hps_status write_block(whitening_job *job, const hps_row_reader *reader)
{
    if (job->bad.rows > 0) {
        return refuse_row(job, job->bad.first, job->columns.hook,
                          "holds a NaN or an infinity; run `hpsae shuffle` with data.skip_bad_rows: true");
    }
    transform(job, reader->count, (const float *)(const void *)reader->out, job->map->mean, job->map->W);
    HPS_TRY(put(job, 0, &job->statistics, reader->first, reader->count));
    for (int64_t c = 1; c < job->columns.count; c++) {
        HPS_TRY(c == job->gradients ? write_gradients(job, reader)
                                    : hps_output_write(&job->output, (int)c, reader->first, reader->count,
                                                       hps_row_reader_column(reader, c)));
    }
    return HPS_OK;
}

static hps_status write_slab(whitening_job *job, int64_t slab, hps_progress *progress)
{
    const int64_t first = slab * SLAB, rest = job->sources.rows - first;
    hps_row_reader reader;

    hps_status status = hps_row_reader_create(&job->columns, false, first, first + (rest < SLAB ? rest : SLAB), BLOCK,
                                              &job->bad, &reader);
    hps_statistics_begin(&job->statistics, slab);
    if (job->gradients > 0) {
        hps_statistics_begin(&job->gradient_statistics, slab);
    }
    while (status == HPS_OK) {
        status = hps_row_reader_next(&reader);
        if (status != HPS_OK || reader.count == 0) {
            break;
        }
        status = write_block(job, &reader);
        hps_progress_add(progress, reader.count * row_bytes(job));
    }
    hps_row_reader_free(&reader);
    HPS_TRY(status);
    hps_statistics_end(&job->statistics);
    if (job->gradients > 0) {
        hps_statistics_end(&job->gradient_statistics);
    }
    return HPS_OK;
}

static hps_status write_rows(whitening_job *job)
{
    hps_progress progress;

    hps_progress_begin("pca", "whitening", job->sources.rows / job->size * row_bytes(job), job->size, &progress);
    for (int64_t slab = job->rank; slab < job->statistics.slabs; slab += job->size) {
        HPS_TRY(write_slab(job, slab, &progress));
    }
    return job->rank == 0 ? write_map(job) : HPS_OK;
}

/* Collective. */
static hps_status conclude(whitening_job *job)
{
    double *mean, square = 0;

    HPS_TRY(hps_agree(job->comm, HPS_ALLOC(&mean, job->sources.d, "the mean")));
    if (job->gradients > 0) {
        hps_statistics_finish(job->comm, &job->gradient_statistics, mean, &square);
        job->output.rms_norm = sqrt(square);
    }
    hps_statistics_finish(job->comm, &job->statistics, mean, &square);
    const hps_status status =
        hps_output_finish(&job->output, HPS_OK, job->columns.items[0].name, job->sources.d, mean, square);
    HPS_FREE(&mean);
    return status;
}

/* Collective.  The words, the map, and some room for names and attributes. */
static hps_status write_file(whitening_job *job)
{
    const int64_t d = job->map->d;
    const int64_t bytes = job->sources.rows * row_bytes(job) + (2 * d + 1) * d * (int64_t)sizeof(double) + (1 << 18);

    hps_status status = hps_output_create(job->comm, job->about->path, bytes, &job->output);
    job->output.gradients = job->gradients > 0 ? job->columns.items[job->gradients].name : NULL;
    if (status == HPS_OK) {
        status = hps_output_open(&job->output, job->rank == 0 ? lay_out(job) : HPS_OK);
    }
    if (status == HPS_OK) {
        status = hps_agree(job->comm, write_rows(job));
    }
    if (status == HPS_OK) {
        status = conclude(job);
    }
    if (status != HPS_OK) {
        hps_output_abandon(&job->output);
    }
    return status;
}

hps_status hps_whitened_write(MPI_Comm comm, const hps_whitened_copy *copy, const hps_whitening *whitening)
{
    whitening_job job = {.comm = comm, .about = copy, .map = whitening, .bad = {.first = INT64_MAX}};

    HPS_MPI(MPI_Comm_rank(comm, &job.rank));
    HPS_MPI(MPI_Comm_size(comm, &job.size));
    hps_h5_start();
    hps_status status = open_columns(&job);
    if (status == HPS_OK) {
        status = hps_agree(comm, allocate(&job));
    }
    if (status == HPS_OK) {
        status = write_file(&job);
    }
    release(&job);
    return status;
}
