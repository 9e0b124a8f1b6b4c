/*
 * The shuffle: an external one in two passes over the data, for stores of any size.
 *
 * The place of every row follows from a permutation that is evaluated pointwise (permutation.h), so there is no table to
 * hold, and seed and number of rows decide alone.  The output is divided into slabs that fit a rank's memory.  Pass one
 * reads the input from first to last, every rank its share, and writes each row into the slab of its place; pass two
 * reads each slab, puts its rows in order and writes it back.  The output file itself is what rows are exchanged through:
 * it has the room, all ranks reach it, and nothing need be held in memory on either side of an exchange.  All
 * reads and writes are pieces of the file of up to some MiB (pass one: memory / slabs), twice each byte; taking rows
 * from their random places one by one would save a pass only while the input stays in the page cache, and fall to some MB/s
 * where it does not.
 */
#include "hpsae/store/shuffle.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/store/hdf5.h"
#include "shuffle_parts.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const suffixes[] = {".h5", ".hdf5", ".npy", ".safetensors", NULL};

/* FNV-1a: tells inputs apart, and is no secret. */
static void hash_bytes(uint64_t *hash, const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        *hash = (*hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    }
}

static void hash_number(uint64_t *hash, int64_t number)
{
    hash_bytes(hash, &number, sizeof(number));
}

/* What the output depends on: every input file's name, size and time of change, and the keys of the configuration. */
static void take_fingerprint(const hps_shuffle_job *job, const hps_config *config, char text[32])
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (int64_t i = 0; i < job->sources.count; i++) {
        const hps_source *source = &job->sources.items[i];
        const char *name = strrchr(source->path, '/') != NULL ? strrchr(source->path, '/') + 1 : source->path;
        struct stat about = {0};

        fstat(source->fd, &about);
        hash_bytes(&hash, name, strlen(name) + 1);
        hash_bytes(&hash, source->dataset, strlen(source->dataset) + 1);
        hash_number(&hash, about.st_size);
        hash_number(&hash, about.st_mtim.tv_sec);
        hash_number(&hash, about.st_mtim.tv_nsec);
    }
    hash_bytes(&hash, job->columns.hook, strlen(job->columns.hook) + 1);
    hash_number(&hash, config->shuffle.seed);
    hash_number(&hash, job->columns.items[0].dtype);
    hash_number(&hash, job->skip_bad);
    snprintf(text, 32, "%016llx", (unsigned long long)hash);
}

static void name_sources(const hps_sources *sources, char text[1024])
{
    size_t used = 0;

    for (int64_t i = 0; i < sources->count && used < 900; i++) {
        const char *path = sources->items[i].path, *slash = strrchr(path, '/');
        const char *name = slash != NULL ? slash + 1 : path;
        used += (size_t)snprintf(text + used, 1024 - used, "%s%.100s", i > 0 ? ", " : "", name);
    }
    if (used >= 900) {
        snprintf(text + 900, 124, ", ...");
    }
}

static void log_input(const hps_shuffle_job *job)
{
    const hps_sources *sources = &job->sources;
    char beside[512] = "";
    size_t used = 0;

    for (int64_t c = 1; c < job->columns.count && used < sizeof(beside) - 1; c++) {
        const int more = snprintf(beside + used, sizeof(beside) - used, "%s%s", c > 1 ? ", " : "; along go ",
                                  job->columns.items[c].name + 1);
        used = used + (size_t)more < sizeof(beside) ? used + (size_t)more : sizeof(beside) - 1;
    }
    hps_log("shuffle", "%lld file%s, %s, %lld rows of %lld %s, %.1f MB%s", (long long)sources->count,
            sources->count == 1 ? "" : "s", job->columns.hook, (long long)sources->rows, (long long)sources->d,
            hps_dtype_name(sources->items[0].dtype), (double)sources->rows * (double)job->columns.in_bytes / 1e6,
            beside);
}

static void log_plan(const hps_shuffle_job *job, bool dry_run)
{
    const double bytes = (double)job->rows * (double)job->columns.out_bytes;

    hps_log("shuffle", "%s %lld rows as %s, %.1f MB, in two passes over %lld slabs of %lld rows, at most %g MiB a rank",
            dry_run ? "dry run, nothing is written: would write" : "writing", (long long)job->rows,
            hps_dtype_name(job->columns.items[0].dtype), bytes / 1e6, (long long)job->plan.slabs,
            (long long)job->plan.slab_rows, (double)job->memory / 1048576);
}

static hps_status lay_out(hps_shuffle_job *job, const char *fingerprint)
{
    hps_output *output = &job->output;
    const int64_t left_out = job->sources.rows - job->rows;
    char sources[1024];

    name_sources(&job->sources, sources);
    HPS_TRY(hps_columns_lay_out(&job->columns, job->rows, output));
    HPS_TRY(hps_h5_set_int(output->file, "shuffled", 1));
    HPS_TRY(hps_h5_set_int(output->file, "shuffle_seed", (int64_t)job->seed));
    HPS_TRY(hps_h5_set_text(output->file, "source_files", sources));
    HPS_TRY(hps_h5_set_text(output->file, "fingerprint", fingerprint));
    return left_out > 0 ? hps_h5_set_int(output->file, "rows_left_out", left_out) : HPS_OK;
}

static hps_status move_and_count(hps_shuffle_job *job, hps_statistics *statistics)
{
    const int64_t d = job->sources.d;
    double *mean, mean_sq_norm = 0;

    HPS_TRY(hps_agree(job->comm, hps_statistics_create(job->comm, job->rows, d, job->columns.items[0].dtype,
                                                       job->plan.slab_rows, statistics)));
    HPS_TRY(hps_agree(job->comm, hps_shuffle_order(job, statistics)));
    HPS_TRY(hps_agree(job->comm, HPS_ALLOC(&mean, d, "the mean")));
    hps_statistics_finish(job->comm, statistics, mean, &mean_sq_norm);
    const hps_status status =
        hps_output_finish(&job->output, HPS_OK, job->columns.items[0].name, d, mean, mean_sq_norm);
    HPS_FREE(&mean);
    return status;
}

/* The words, and some room for names and attributes. */
static int64_t output_bytes(const hps_shuffle_job *job)
{
    return job->rows * job->columns.out_bytes + (1 << 18);
}

static hps_status write_output(hps_shuffle_job *job, const char *path, const char *fingerprint)
{
    hps_statistics statistics = {0};

    hps_permutation_create(job->seed, job->rows, &job->permutation);
    hps_status status = hps_output_create(job->comm, path, output_bytes(job), &job->output);
    if (status == HPS_OK) {
        status = hps_output_open(&job->output, job->rank == 0 ? lay_out(job, fingerprint) : HPS_OK);
    }
    if (status == HPS_OK) {
        status = hps_shuffle_partition(job);
    }
    if (status == HPS_OK) {
        status = move_and_count(job, &statistics);
    }
    hps_statistics_free(&statistics);
    if (status != HPS_OK) {
        hps_output_abandon(&job->output);
    }
    return status;
}

/* Everything up to the plan; *done: there is nothing to do. */
static hps_status prepare(hps_shuffle_job *job, const hps_config *config, bool dry_run, char fingerprint[32],
                          bool *done)
{
    const int64_t share = job->sources.rows / job->size, extra = job->sources.rows % job->size;

    job->first = job->rank * share + (job->rank < extra ? job->rank : extra);
    job->end = job->first + share + (job->rank < extra ? 1 : 0);
    job->rows = job->sources.rows;
    job->moved_before = job->first;
    HPS_TRY(hps_agree(job->comm,
                      hps_columns_open(&job->sources, config->shuffle.hook, config->shuffle.dtype, &job->columns)));
    log_input(job);
    take_fingerprint(job, config, fingerprint);
    HPS_TRY(hps_output_look(job->comm, config->shuffle.output, fingerprint, "shuffle.output", done));
    if (*done) {
        hps_log("shuffle", "%s is there already, made from this input with seed %lld; nothing to do",
                config->shuffle.output, (long long)config->shuffle.seed);
        return HPS_OK;
    }
    HPS_TRY(hps_agree(job->comm, HPS_ALLOC(&job->bad.per_file, job->sources.count, "the table of input files")));
    if (job->skip_bad || dry_run) {
        HPS_TRY(hps_shuffle_scan(job));
    }
    return hps_agree(job->comm, hps_shuffle_make_plan(job));
}

static hps_status shuffle_sources(hps_shuffle_job *job, const hps_config *config, bool dry_run)
{
    const double began = hps_elapsed();
    char fingerprint[32], took[32];
    bool done = false;

    HPS_TRY(prepare(job, config, dry_run, fingerprint, &done));
    if (done) {
        return HPS_OK;
    }
    log_plan(job, dry_run);
    if (dry_run) {
        return hps_output_try(job->comm, config->shuffle.output, output_bytes(job));
    }
    HPS_TRY(write_output(job, config->shuffle.output, fingerprint));
    const double seconds = hps_elapsed() - began, bytes = (double)job->rows * (double)job->columns.out_bytes;
    hps_log("shuffle", "%s: %lld rows, %.1f MB, in %s, %.0f MB/s", config->shuffle.output, (long long)job->rows,
            bytes / 1e6, hps_duration(seconds, took), bytes / 1e6 / (seconds > 0 ? seconds : 1));
    return HPS_OK;
}

hps_status hps_shuffle(MPI_Comm comm, const hps_config *config, bool dry_run)
{
    const hps_choice choice = {.name = config->shuffle.dataset, .key = "shuffle.dataset"};
    hps_shuffle_job job = {.comm = comm,
                           .skip_bad = config->data.skip_bad_rows,
                           .memory = (int64_t)(config->shuffle.memory * 1048576),
                           .seed = (uint64_t)config->shuffle.seed,
                           .bad = {.first = INT64_MAX}};

    HPS_MPI(MPI_Comm_rank(comm, &job.rank));
    HPS_MPI(MPI_Comm_size(comm, &job.size));
    hps_h5_start();
    hps_status status = hps_sources_open(comm, config->shuffle.input.count, config->shuffle.input.items, suffixes,
                                         choice, &job.sources);
    if (status == HPS_OK) {
        status = shuffle_sources(&job, config, dry_run);
    }
    hps_columns_close(&job.columns);
    hps_sources_close(&job.sources);
    HPS_FREE(&job.bad.per_file);
    HPS_FREE(&job.left_out);
    return status;
}
