/*
 * A model file that is missing, foreign, torn, truncated or damaged is recognised, on every rank alike and in words that
 * say which it is; a run directory then gives its older checkpoint, and says so.  No flipped bit goes unnoticed.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "model_fixture.h"
#include "scratch.h"
#include "tap.h"

#include <hdf5.h>
#include <sys/stat.h>
#include <utime.h>

enum { N = 100, D = 37, K = 4, SEED = 3, TRIALS = 120 };

static hps_grid grid;
static char directory[SCRATCH_PATH];

static void write_model(const char *name, unsigned roles)
{
    hps_model *model = NULL;

    CHECK(hps_model_create(&grid, N, D, K, roles, &model) == HPS_OK);
    fixture_fill(model, SEED);
    CHECK(hps_checkpoint_write(grid.model, model, "a: 1\n", 5, scratch_path(directory, name)) == HPS_OK);
    hps_model_destroy(&model);
}

/* On rank 0: a file of these bytes. */
static void put_bytes(const char *name, const void *bytes, size_t count)
{
    if (grid.p == 0) {
        FILE *file = fopen(scratch_path(directory, name), "wb");
        CHECK(file != NULL && fwrite(bytes, 1, count, file) == count && fclose(file) == 0);
    }
    MPI_Barrier(grid.model);
}

/* Both ways in must fail alike, with these words after the path. */
static void refused(const char *name, hps_status code, const char *words)
{
    const char *path = scratch_path(directory, name);
    char expected[SCRATCH_PATH + 256];
    hps_checkpoint_head head;
    hps_model *model = NULL;
    const int64_t live = hps_memory_live();

    snprintf(expected, sizeof(expected), "%s: %s", path, words);
    CHECK(hps_checkpoint_read_head(grid.model, path, &head) == code);
    CHECK(strcmp(hps_status_message(), expected) == 0);
    CHECK(hps_checkpoint_read(&grid, path, 1u << HPS_VALUE, &model) == code && model == NULL);
    CHECK(strcmp(hps_status_message(), expected) == 0);
    if (strcmp(hps_status_message(), expected) != 0 && grid.p == 0) {
        fprintf(stderr, "# said: %s\n", hps_status_message());
    }
    CHECK(hps_memory_live() == live);
}

static void set_int(const char *path, const char *name, int64_t value)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), attribute = H5Aopen(file, name, H5P_DEFAULT);

    CHECK(H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(attribute);
    H5Fclose(file);
}

static void strangers(void)
{
    refused("none.h5", HPS_EIO, "cannot be opened: No such file or directory");
    put_bytes("empty.h5", "", 0);
    refused("empty.h5", HPS_EFORMAT, "empty file; an HDF5 file is needed");
    put_bytes("text.h5", "a text that is no model, and longer than a signature\n", 53);
    refused("text.h5", HPS_EFORMAT, "not an HDF5 file, or its head is damaged");
    if (grid.p == 0) {
        H5Fclose(H5Fcreate(scratch_path(directory, "foreign.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
        mkdir(scratch_path(directory, "folder.h5"), 0777);
    }
    MPI_Barrier(grid.model);
    refused("foreign.h5", HPS_EFORMAT, "not a model of hpsae (no attribute format = \"hpsae-model\")");
    refused("folder.h5", HPS_EIO, "not a regular file");
    tap_case("missing, empty, not HDF5, foreign HDF5, not a file");
}

static void unfinished(void)
{
    struct stat about;
    char words[96];

    write_model("torn.h5", ALL_ROLES);
    write_model("short.h5", ALL_ROLES);
    write_model("newer.h5", ALL_ROLES);
    stat(scratch_path(directory, "short.h5"), &about);
    MPI_Barrier(grid.model);
    if (grid.p == 0) {
        set_int(scratch_path(directory, "torn.h5"), "complete", 0);
        set_int(scratch_path(directory, "newer.h5"), "format_version", 4);
        CHECK(truncate(scratch_path(directory, "short.h5"), about.st_size / 2) == 0);
    }
    MPI_Barrier(grid.model);
    refused("torn.h5", HPS_EFORMAT, "torn: its writing was never completed");
    refused("newer.h5", HPS_EFORMAT, "format_version 4; this program reads versions 1 to 3");
    snprintf(words, sizeof(words), "truncated, it has only %lld bytes; copy or write it again",
             (long long)about.st_size / 2);
    refused("short.h5", HPS_EFORMAT, words);
    tap_case("torn, truncated, of a newer version");
}

static void set_real(const char *path, const char *name, double value)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), attribute = H5Aopen(file, name, H5P_DEFAULT);

    CHECK(H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(attribute);
    H5Fclose(file);
}

/* The head's checksum covers the selection; what is no selection at all is named. */
static void damaged_selections(void)
{
    hps_model *model = NULL;

    CHECK(hps_model_create(&grid, N, D, K, ALL_ROLES, &model) == HPS_OK);
    fixture_fill(model, SEED);
    model->select = HPS_SELECT_BATCH_TOPK;
    model->threshold = 0.25;
    model->prefixes = 2;
    model->prefix[0] = 7;
    model->prefix[1] = N;
    CHECK(hps_checkpoint_write(grid.model, model, "", 5, scratch_path(directory, "threshold.h5")) == HPS_OK);
    CHECK(hps_checkpoint_write(grid.model, model, "", 5, scratch_path(directory, "nan.h5")) == HPS_OK);
    model->prefix[1] = N - 1;
    CHECK(hps_checkpoint_write(grid.model, model, "", 5, scratch_path(directory, "prefixes.h5")) == HPS_OK);
    hps_model_destroy(&model);
    if (grid.p == 0) {
        set_real(scratch_path(directory, "threshold.h5"), "threshold", 0.5);
        set_real(scratch_path(directory, "nan.h5"), "threshold", (double)NAN);
    }
    MPI_Barrier(grid.model);
    refused("threshold.h5", HPS_EFORMAT, "damaged: the head's checksum differs");
    refused("nan.h5", HPS_EFORMAT, "attribute threshold is missing or no number");
    refused("prefixes.h5", HPS_EFORMAT, "attribute prefixes is no list of ascending sizes that ends at n, 100");
    tap_case("another threshold, none, nested sizes that do not end at n");
}

static void roles_that_are_not_there(void)
{
    char expected[SCRATCH_PATH + 128];
    hps_model *model = NULL;

    write_model("values.h5", 1u << HPS_VALUE);
    const char *path = scratch_path(directory, "values.h5");
    snprintf(expected, sizeof(expected), "%s: has no /moment1: not a checkpoint of a training run that could go on",
             path);
    CHECK(hps_checkpoint_read(&grid, path, 1u << HPS_VALUE | 1u << HPS_MOMENT1, &model) == HPS_EFORMAT);
    CHECK(model == NULL && strcmp(hps_status_message(), expected) == 0);
    tap_case("a file of values alone is not resumed from");
}

/* Flips one bit of a good file, on rank 0; called twice it restores. */
static void flip(const char *path, int64_t bit)
{
    if (grid.p == 0) {
        FILE *file = fopen(path, "r+b");
        fseek(file, (long)(bit / 8), SEEK_SET);
        const int byte = getc(file);
        fseek(file, (long)(bit / 8), SEEK_SET);
        putc(byte ^ 1 << bit % 8, file);
        fclose(file);
    }
    MPI_Barrier(grid.model);
}

static bool all_as_written(const hps_model *model)
{
    bool same = model->k == K && model->tokens == 123456789 && model->step == 4321;

    for (int r = 0; r < HPS_ROLES; r++) {
        same = same && fixture_holds(model, SEED, r, r);
    }
    for (int64_t i = 0; i < N; i++) {
        same = same && model->fired[i] == fixture_fired(SEED, i);
    }
    return same;
}

/* Half of the flips fall anywhere, half on the first 8 KiB, where HDF5 keeps what it must understand. */
static void flipped_bits(void)
{
    const char *path = scratch_path(directory, "flip.h5");
    const uint64_t trials = getenv("TEST_QUICK") != NULL ? TRIALS / 10 : TRIALS;
    uint64_t refusals = 0;
    int unseen = 0;
    struct stat about;

    write_model("flip.h5", ALL_ROLES);
    stat(path, &about);
    for (uint64_t trial = 0; trial < trials; trial++) {
        const uint64_t draw = hps_random_u64(SEED, HPS_DRAW_TEST, 9, trial) >> 8;
        const int64_t bytes = trial % 2 == 0 ? about.st_size : 8192;
        hps_model *model = NULL;

        flip(path, (int64_t)(draw % (uint64_t)(8 * bytes)));
        if (hps_checkpoint_read(&grid, path, ALL_ROLES, &model) != HPS_OK) {
            refusals++;
        } else {
            unseen += !all_as_written(model);
        }
        hps_model_destroy(&model);
        flip(path, (int64_t)(draw % (uint64_t)(8 * bytes)));
    }
    CHECK(unseen == 0);
    CHECK(refusals > trials / 4);
    tap_case("a flipped bit is noticed, or is in no number");
}

/* What rank 0 says on stderr while a run directory is searched. */
static hps_status find(const char *run, char **path, char *said, size_t size)
{
    FILE *words = tmpfile();
    const int kept = dup(STDERR_FILENO);

    fflush(stderr);
    dup2(fileno(words), STDERR_FILENO);
    const hps_status status = hps_checkpoint_find(grid.model, scratch_path(directory, run), path);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(words);
    said[fread(said, 1, size - 1, words)] = '\0';
    fclose(words);
    return status;
}

static bool ends_with(const char *path, const char *name)
{
    return path != NULL && strlen(path) > strlen(name) && strcmp(path + strlen(path) - strlen(name), name) == 0;
}

static void the_older_is_used(void)
{
    char said[2048], *path = NULL;
    hps_model *model = NULL;

    if (grid.p == 0) {
        mkdir(scratch_path(directory, "run"), 0777);
    }
    MPI_Barrier(grid.model);
    CHECK(find("run", &path, said, sizeof(said)) == HPS_OK && path == NULL);
    write_model("run/checkpoint-000000000010.h5", ALL_ROLES);
    write_model("run/checkpoint-000000000020.h5", ALL_ROLES);
    write_model("run/checkpoint-000000000030.h5", ALL_ROLES);
    put_bytes("run/checkpoint-000000000040.h5.tmp", "torn", 4);
    put_bytes("run/checkpoint-5.h5", "not ours", 8);
    CHECK(find("run", &path, said, sizeof(said)) == HPS_OK && ends_with(path, "checkpoint-000000000030.h5"));
    CHECK(said[0] == '\0');
    free(path);
    path = NULL;

    /* 30 has a damaged number, 20 lost its tail */
    flip(scratch_path(directory, "run/checkpoint-000000000030.h5"), INT64_C(8) * 8192 + 77);
    if (grid.p == 0) {
        CHECK(truncate(scratch_path(directory, "run/checkpoint-000000000020.h5"), 20000) == 0);
    }
    MPI_Barrier(grid.model);
    CHECK(find("run", &path, said, sizeof(said)) == HPS_OK && ends_with(path, "checkpoint-000000000010.h5"));
    if (grid.p == 0) {
        CHECK(strstr(said, "030.h5: damaged: the checksum of /value/W_enc differs; it is passed over") != NULL);
        CHECK(strstr(said, "020.h5: truncated, it has only 20000 bytes; copy or write it again; it is passed") != NULL);
        CHECK(strstr(said, "000000000010.h5 is used") != NULL);
    }
    free(path);
    CHECK(hps_model_load(&grid, scratch_path(directory, "run"), &model) == HPS_OK && model != NULL);
    hps_model_destroy(&model);
    tap_case("damaged and truncated checkpoints are passed over, with a line each");
}

static void nothing_usable(void)
{
    char said[2048], *path = NULL, expected[SCRATCH_PATH + 160];

    put_bytes("run/checkpoint-000000000010.h5", "foreign", 7);
    CHECK(find("run", &path, said, sizeof(said)) == HPS_EFORMAT && path == NULL);
    snprintf(expected, sizeof(expected),
             "%s: none of its 3 checkpoints can be used; restore one, or remove them to start anew",
             scratch_path(directory, "run"));
    CHECK(strcmp(hps_status_message(), expected) == 0);
    tap_case("checkpoints of which none is usable do not count as none");
}

static bool there(const char *name)
{
    return access(scratch_path(directory, name), F_OK) == 0;
}

static void the_last_two_are_kept(void)
{
    const struct utimbuf past = {1000, 1000};

    write_model("run/checkpoint-000000000010.h5", 1u << HPS_VALUE);
    write_model("run/checkpoint-000000000015.h5", 1u << HPS_VALUE);
    if (grid.p == 0) {
        utime(scratch_path(directory, "run/checkpoint-000000000020.h5"), &past);
        utime(scratch_path(directory, "run/checkpoint-000000000030.h5"), &past);
    }
    MPI_Barrier(grid.model);
    CHECK(hps_checkpoint_prune(grid.model, scratch_path(directory, "run"), 2) == HPS_OK);
    CHECK(there("run/checkpoint-000000000010.h5") && there("run/checkpoint-000000000015.h5"));
    CHECK(!there("run/checkpoint-000000000020.h5") && !there("run/checkpoint-000000000030.h5"));
    CHECK(!there("run/checkpoint-000000000040.h5.tmp") && there("run/checkpoint-5.h5"));
    MPI_Barrier(grid.model);
    CHECK(hps_checkpoint_prune(grid.model, scratch_path(directory, "run"), 1) == HPS_OK);
    CHECK(!there("run/checkpoint-000000000010.h5") && there("run/checkpoint-000000000015.h5"));
    tap_case("the two written last are kept, other files left alone");
}

int main(int argc, char **argv)
{
    int rank;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    hps_log_start(rank == 0, false);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    scratch_make(directory);
    strangers();
    unfinished();
    damaged_selections();
    roles_that_are_not_there();
    flipped_bits();
    the_older_is_used();
    nothing_usable();
    the_last_two_are_kept();
    scratch_remove(directory);
    hps_grid_destroy(&grid);
    tap_done();
    MPI_Finalize();
    return 0;
}
