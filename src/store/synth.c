#include "hpsae/store/synth.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"
#include "output.h"
#include "planted.h"
#include "progress.h"
#include "statistics.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

static const char hook[] = "synthetic", activations[] = "/activations/synthetic";
static const int64_t piece = (int64_t)4 << 20; /* bytes written at a time */

enum { ACTIVATIONS, DICTIONARY, FREQUENCY, PARENT, PARTNER, OFFSET };

typedef struct {
    MPI_Comm comm;
    int rank, size, threads;
    int64_t rows, slab_rows, block_rows;
    hps_dtype dtype;
    hps_planted planted;
    hps_planted_scratch *scratch; /* [threads] */
    float *values;                /* [block_rows, d] */
    char *words;                  /* the same in the output's dtype */
    hps_output output;
    hps_statistics statistics;
    double active; /* features, counted over this rank's rows */
} synth_job;

static hps_dtype dtype_of(hps_store_dtype dtype)
{
    return dtype == HPS_STORE_FLOAT16 ? HPS_F16 : dtype == HPS_STORE_BFLOAT16 ? HPS_BF16 : HPS_F32;
}

/* All that the file's content depends on. */
static void take_fingerprint(const hps_config *config, char text[256])
{
    snprintf(text, 256, "synth 1: %lld %lld %lld %.17g %.17g %.17g %.17g %.17g %s %lld", (long long)config->synth.rows,
             (long long)config->synth.dim, (long long)config->synth.latents, config->synth.active, config->synth.zipf,
             config->synth.correlated, config->synth.hierarchy, config->synth.noise,
             hps_dtype_name(dtype_of(config->synth.dtype)), (long long)config->synth.seed);
}

static int64_t row_bytes(const synth_job *job)
{
    return job->planted.d * (int64_t)hps_dtype_size(job->dtype);
}

static hps_status prepare(synth_job *job, const hps_config *config)
{
    const hps_planted_sizes sizes = {.n = config->synth.latents,
                                     .d = config->synth.dim,
                                     .active = config->synth.active,
                                     .zipf = config->synth.zipf,
                                     .correlated = config->synth.correlated,
                                     .hierarchy = config->synth.hierarchy,
                                     .noise = config->synth.noise,
                                     .seed = (uint64_t)config->synth.seed};

    HPS_TRY(hps_planted_create(&sizes, &job->planted));
    job->block_rows = piece / row_bytes(job) > 1 ? piece / row_bytes(job) : 1;
    job->slab_rows = HPS_STATISTICS_BLOCK;
    while (job->slab_rows < job->block_rows && job->slab_rows * 4 * job->size < job->rows) {
        job->slab_rows *= 2;
    }
    job->block_rows = job->block_rows < job->slab_rows ? job->block_rows : job->slab_rows;
    job->threads = omp_get_max_threads();
    HPS_TRY(HPS_ALLOC(&job->values, job->block_rows * sizes.d, "a block of rows"));
    HPS_TRY(HPS_ALLOC(&job->words, job->block_rows * row_bytes(job), "a block of rows"));
    HPS_TRY(HPS_ALLOC(&job->scratch, job->threads, "a table of threads"));
    for (int t = 0; t < job->threads; t++) {
        HPS_TRY(hps_planted_scratch_create(&job->planted, &job->scratch[t]));
    }
    return hps_statistics_create(job->comm, job->rows, sizes.d, job->dtype, job->slab_rows, &job->statistics);
}

static void release(synth_job *job)
{
    for (int t = 0; job->scratch != NULL && t < job->threads; t++) {
        hps_planted_scratch_free(&job->scratch[t]);
    }
    HPS_FREE(&job->scratch);
    HPS_FREE(&job->values);
    HPS_FREE(&job->words);
    hps_statistics_free(&job->statistics);
    hps_planted_free(&job->planted);
}

/* The truth's datasets in the order of their numbers, after the activations. */
static hps_status lay_out_truth(synth_job *job)
{
    const hsize_t n = (hsize_t)job->planted.n, d = (hsize_t)job->planted.d, wide[2] = {n, d};
    const struct {
        const char *name;
        hid_t type;
        int dimensions;
        const hsize_t *shape;
    } truth[] = {{"/truth/dictionary", H5T_IEEE_F32LE, 2, wide},
                 {"/truth/frequency", H5T_IEEE_F64LE, 1, &n},
                 {"/truth/parent", H5T_STD_I32LE, 1, &n},
                 {"/truth/partner", H5T_STD_I32LE, 1, &n},
                 {"/truth/offset", H5T_IEEE_F64LE, 1, &d}};
    hid_t dataset;

    for (size_t i = 0; i < sizeof(truth) / sizeof(truth[0]); i++) {
        const hps_status status =
            hps_output_add(&job->output, truth[i].name, truth[i].type, truth[i].dimensions, truth[i].shape, &dataset);
        H5Dclose(dataset);
        HPS_TRY(status);
    }
    return HPS_OK;
}

static hps_status lay_out(synth_job *job, const hps_config *config, const char *fingerprint)
{
    const hid_t file = job->output.file;
    hid_t dataset;
    const hps_status status =
        hps_output_add_words(&job->output, activations, job->dtype, job->rows, job->planted.d, hook, &dataset);

    H5Dclose(dataset);
    HPS_TRY(status);
    HPS_TRY(lay_out_truth(job));
    HPS_TRY(hps_h5_set_text(file, "model_name", "planted dictionary"));
    HPS_TRY(hps_h5_set_int(file, "shuffled", 1));
    HPS_TRY(hps_h5_set_int(file, "shuffle_seed", config->synth.seed));
    return hps_h5_set_text(file, "fingerprint", fingerprint);
}

static hps_status write_truth(const synth_job *job)
{
    const hps_planted *p = &job->planted;

    HPS_TRY(hps_output_write(&job->output, DICTIONARY, 0, p->n, p->dictionary));
    HPS_TRY(hps_output_write(&job->output, FREQUENCY, 0, p->n, p->frequency));
    HPS_TRY(hps_output_write(&job->output, PARENT, 0, p->n, p->parent));
    HPS_TRY(hps_output_write(&job->output, PARTNER, 0, p->n, p->partner));
    return hps_output_write(&job->output, OFFSET, 0, p->d, p->offset);
}

static hps_status write_block(synth_job *job, int64_t row, int64_t count)
{
    const int64_t d = job->planted.d;
    int64_t active = 0;

#pragma omp parallel for reduction(+ : active) num_threads(job->threads) schedule(dynamic, 16)
    for (int64_t r = 0; r < count; r++) {
        active += hps_planted_row(&job->planted, row + r, &job->scratch[omp_get_thread_num()], job->values + r * d);
    }
    job->active += (double)active;
    hps_words_from_float(job->dtype, count * d, job->values, job->words);
    if (hps_words_first_nonfinite(job->dtype, count * d, job->words) >= 0) {
        return hps_fail(HPS_ECONFIG, "synth: values are too large for %s; lower synth.noise or synth.active",
                        hps_dtype_name(job->dtype));
    }
    hps_statistics_add(&job->statistics, count, job->words);
    return hps_output_write(&job->output, ACTIVATIONS, row, count, job->words);
}

static hps_status write_rows(synth_job *job)
{
    hps_progress progress;

    hps_progress_begin("synth", "writing", job->rows / job->size * row_bytes(job), job->size, &progress);
    for (int64_t slab = job->rank; slab < job->statistics.slabs; slab += job->size) {
        const int64_t first = slab * job->slab_rows, rest = job->rows - first;
        const int64_t end = first + (rest < job->slab_rows ? rest : job->slab_rows);
        hps_statistics_begin(&job->statistics, slab);
        for (int64_t row = first; row < end; row += job->block_rows) {
            const int64_t count = end - row < job->block_rows ? end - row : job->block_rows;
            HPS_TRY(write_block(job, row, count));
            hps_progress_add(&progress, count * row_bytes(job));
        }
        hps_statistics_end(&job->statistics);
    }
    return job->rank == 0 ? write_truth(job) : HPS_OK;
}

static hps_status finish(synth_job *job)
{
    double *mean, mean_sq_norm = 0;

    HPS_TRY(hps_agree(job->comm, HPS_ALLOC(&mean, job->planted.d, "the mean")));
    hps_statistics_finish(job->comm, &job->statistics, mean, &mean_sq_norm);
    const hps_status status = hps_output_finish(&job->output, HPS_OK, activations, job->planted.d, mean, mean_sq_norm);
    HPS_FREE(&mean);
    return status;
}

/* The words, the truth, and some room for names and attributes. */
static int64_t output_bytes(const synth_job *job)
{
    return job->rows * row_bytes(job) + job->planted.n * (job->planted.d * 4 + 16) + (1 << 18);
}

static hps_status write_store(synth_job *job, const hps_config *config, const char *fingerprint)
{
    hps_status status = hps_output_create(job->comm, config->synth.output, output_bytes(job), &job->output);

    if (status == HPS_OK) {
        status = hps_output_open(&job->output, job->rank == 0 ? lay_out(job, config, fingerprint) : HPS_OK);
    }
    if (status == HPS_OK) {
        status = hps_agree(job->comm, write_rows(job));
    }
    if (status == HPS_OK) {
        status = finish(job);
    }
    if (status != HPS_OK) {
        hps_output_abandon(&job->output);
    }
    return status;
}

static hps_status make_store(synth_job *job, const hps_config *config, bool dry_run)
{
    const double began = hps_elapsed(),
                 bytes = (double)job->rows * (double)config->synth.dim * (double)hps_dtype_size(job->dtype);
    char fingerprint[256], took[32];
    bool done;

    take_fingerprint(config, fingerprint);
    HPS_TRY(hps_output_look(job->comm, config->synth.output, fingerprint, "synth.output", &done));
    if (done) {
        hps_log("synth", "%s is there already, made by this configuration; nothing to do", config->synth.output);
        return HPS_OK;
    }
    HPS_TRY(hps_agree(job->comm, prepare(job, config)));
    hps_log("synth", "%s: %lld rows of %lld %s, %.1f MB, from %lld features, %g active on average",
            dry_run ? "dry run, nothing is written: would write" : "writing", (long long)job->rows,
            (long long)config->synth.dim, hps_dtype_name(job->dtype), bytes / 1e6, (long long)config->synth.latents,
            config->synth.active);
    if (dry_run) {
        return hps_output_try(job->comm, config->synth.output, output_bytes(job));
    }
    HPS_TRY(write_store(job, config, fingerprint));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &job->active, 1, MPI_DOUBLE, MPI_SUM, job->comm));
    const double seconds = hps_elapsed() - began;
    hps_log("synth", "%s: %.2f features active a row; in %s, %.0f MB/s", config->synth.output,
            job->active / (double)job->rows, hps_duration(seconds, took), bytes / 1e6 / (seconds > 0 ? seconds : 1));
    return HPS_OK;
}

hps_status hps_synth(MPI_Comm comm, const hps_config *config, bool dry_run)
{
    synth_job job = {.comm = comm, .rows = config->synth.rows, .dtype = dtype_of(config->synth.dtype)};

    HPS_MPI(MPI_Comm_rank(comm, &job.rank));
    HPS_MPI(MPI_Comm_size(comm, &job.size));
    hps_h5_start();
    const hps_status status = make_store(&job, config, dry_run);
    release(&job);
    return status;
}
