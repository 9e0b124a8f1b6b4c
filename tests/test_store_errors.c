/*
 * Stores that cannot be read are refused on every rank alike, with one line that names file and fault; also when one
 * rank alone has the trouble.
 *
 * ranks: 1 2 3
 */
#include "hpsae/store/store.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

#include <math.h>
#include <sys/stat.h>

enum { D = 8, ROWS = 12 };

static char directory[SCRATCH_PATH];
static int rank, size;

/* Opens these files and expects the failure. */
static void refused(const char *name, int count, const char *const *files, const char *hook, hps_status code,
                    const char *words)
{
    char *paths[3];
    hps_store *store;

    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < count; i++) {
        paths[i] = (char *)(uintptr_t)scratch_path(directory, files[i]);
    }
    CHECK(hps_store_open(MPI_COMM_WORLD, count, paths, hook, &store) == code);
    CHECK(store == NULL);
    CHECK(fixture_said(words));
    CHECK(strncmp(hps_status_message(), "rank ", 5) != 0);
    CHECK(hps_memory_arrays() == 0);
    hps_store_close(&store);
    MPI_Barrier(MPI_COMM_WORLD);
    tap_case(name);
}

static void refused_one(const char *name, const char *file, const char *hook, hps_status code, const char *words)
{
    refused(name, 1, &file, hook, code, words);
}

static void write_plain(const char *name, hps_dtype dtype, int64_t d)
{
    if (rank == 0) {
        fixture_store(scratch_path(directory, name), dtype, 0, ROWS, d, 0);
    }
}

static void no_file(void)
{
    refused_one("a missing file", "none.h5", "", HPS_EIO, "none.h5: cannot be opened: No such file");
    if (rank == 0) {
        mkdir(scratch_path(directory, "empty"), 0777);
        fixture_file(scratch_path(directory, "text.h5"), "activations", 11);
        fixture_file(scratch_path(directory, "nothing.h5"), "", 0);
    }
    refused_one("an empty directory", "empty", "", HPS_EFORMAT, "no file in this directory ends in .h5");
    refused_one("a text file", "text.h5", "", HPS_EFORMAT, "text.h5: not an HDF5 file");
    refused_one("an empty file", "nothing.h5", "", HPS_EFORMAT, "nothing.h5: empty file");
}

static void truncated(void)
{
    write_plain("whole.h5", HPS_F32, D);
    if (rank == 0) {
        size_t count;
        char *bytes = fixture_bytes(scratch_path(directory, "whole.h5"), &count);
        fixture_file(scratch_path(directory, "short.h5"), bytes, count - 40);
        fixture_file(scratch_path(directory, "head.h5"), bytes, 40);
        free(bytes);
    }
    refused_one("a file whose end is missing", "short.h5", "", HPS_EFORMAT, "short.h5: truncated");
    refused_one("a file of which only the head is left", "head.h5", "", HPS_EFORMAT, "head.h5: damaged or truncated");
}

static void hooks(void)
{
    if (rank == 0) {
        const hid_t file = fixture_create(scratch_path(directory, "two.h5"));
        H5Dclose(fixture_activations(file, "/activations/early", HPS_F32, 0, ROWS, D, 0));
        H5Dclose(fixture_activations(file, "/activations/late", HPS_F32, 0, ROWS, D, 0));
        H5Fclose(file);
        H5Fclose(fixture_create(scratch_path(directory, "bare.h5")));
    }
    refused_one("several hooks and no choice", "two.h5", "", HPS_EFORMAT,
                "two.h5: has several datasets of activations: early, late; choose one with data.hook");
    refused_one("a hook that is not there", "two.h5", "middle", HPS_EFORMAT,
                "two.h5: no dataset middle; it has: early, late; set data.hook");
    refused_one("no activations", "bare.h5", "", HPS_EFORMAT, "bare.h5: no dataset under /activations");
    refused_one("a group in place of a dataset", "two.h5", "/activations", HPS_EFORMAT, "is not a dataset");
}

static void write_shape(const char *name, hid_t type, int dimensions, const hsize_t *shape)
{
    static const double zeros[4096];

    if (rank == 0) {
        const hid_t file = fixture_create(scratch_path(directory, name));
        H5Dclose(fixture_dataset(file, "/activations/hook", type, dimensions, shape, 0, zeros));
        H5Fclose(file);
    }
}

static void shapes_and_types(void)
{
    const hsize_t cube[3] = {4, 5, 6}, line[1] = {20}, none[2] = {0, 6}, table[2] = {4, 5};

    write_shape("cube.h5", H5T_NATIVE_FLOAT, 3, cube);
    refused_one("three dimensions", "cube.h5", "", HPS_EFORMAT, "has 3 dimensions; activations are [rows, d]");
    write_shape("line.h5", H5T_NATIVE_FLOAT, 1, line);
    refused_one("one dimension", "line.h5", "", HPS_EFORMAT, "has 1 dimension; activations are [rows, d]");
    write_shape("none.h5", H5T_NATIVE_FLOAT, 2, none);
    refused_one("no rows", "none.h5", "", HPS_EFORMAT, "is empty, of shape [0, 6]");
    write_shape("int.h5", H5T_NATIVE_INT, 2, table);
    refused_one("integers", "int.h5", "", HPS_EFORMAT, "holds 32-bit integers; activations are");
    write_shape("u16.h5", H5T_NATIVE_UINT16, 2, table);
    refused_one("words that do not say bfloat16", "u16.h5", "", HPS_EFORMAT, "without logical_dtype = \"bfloat16\"");
    if (rank == 0) {
        const hid_t file = fixture_create(scratch_path(directory, "unwritten.h5"));
        H5Dclose(fixture_dataset(file, "/activations/hook", H5T_NATIVE_FLOAT, 2, table, 0, NULL));
        H5Fclose(file);
    }
    refused_one("a dataset never written", "unwritten.h5", "", HPS_EFORMAT, "created and never written");
}

static void disagreement(void)
{
    const char *const widths[] = {"eight.h5", "nine.h5"}, *const types[] = {"eight.h5", "half.h5"};

    write_plain("eight.h5", HPS_F32, D);
    write_plain("nine.h5", HPS_F32, D + 1);
    write_plain("half.h5", HPS_F16, D);
    refused("files of different d", 2, widths, "", HPS_EFORMAT, "nine.h5: d is 9, in ");
    refused("files of different dtype", 2, types, "", HPS_EFORMAT, "must have one dtype");
}

/* One attribute of the dataset or the file is wrong. */
static void with_attributes(const char *name, double first_mean, int mean_count, double mean_sq_norm, int64_t n_tokens,
                            int64_t complete)
{
    double mean[D + 1] = {first_mean};

    if (rank == 0) {
        const hid_t file = fixture_create(scratch_path(directory, name));
        const hid_t dataset = fixture_activations(file, "/activations/hook", HPS_F32, 0, ROWS, D, 0);
        hps_h5_set_reals(dataset, "mean", mean_count, mean);
        hps_h5_set_real(dataset, "mean_sq_norm", mean_sq_norm);
        hps_h5_set_int(dataset, "n_tokens", n_tokens);
        hps_h5_set_int(file, "complete", complete);
        H5Dclose(dataset);
        H5Fclose(file);
    }
}

static void attributes(void)
{
    with_attributes("long.h5", 1, D + 1, 5, ROWS, 1);
    refused_one("a mean of the wrong length", "long.h5", "", HPS_EFORMAT, "must have both attributes mean (8 numbers)");
    with_attributes("nan.h5", NAN, D, 5, ROWS, 1);
    refused_one("a mean that is not a number", "nan.h5", "", HPS_EFORMAT, "statistics of /activations/hook cannot be");
    with_attributes("norm.h5", 3, D, 5, ROWS, 1);
    refused_one("a mean square below the squared mean", "norm.h5", "", HPS_EFORMAT, "|mean|^2 is 9, mean_sq_norm 5");
    with_attributes("infinite.h5", 3, D, INFINITY, ROWS, 1);
    refused_one("an infinite mean square", "infinite.h5", "", HPS_EFORMAT, "cannot be");
    with_attributes("count.h5", 1, D, 5, ROWS + 1, 1);
    refused_one("a count of tokens that is not the rows'", "count.h5", "", HPS_EFORMAT, "n_tokens says 13, ");
    with_attributes("torn.h5", 1, D, 5, ROWS, 0);
    refused_one("a file that was never finished", "torn.h5", "", HPS_EFORMAT, "torn.h5: torn: ");
}

static void one_rank_alone(void)
{
    char here[SCRATCH_PATH + 64], words[64];
    char *paths[] = {here};
    hps_store *store;

    write_plain("here.h5", HPS_F32, D);
    if (rank == 0) {
        fixture_store(scratch_path(directory, "other.h5"), HPS_F32, 0, ROWS + 1, D, 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int victim = 0; victim < size; victim++) {
        snprintf(here, sizeof(here), "%s", scratch_path(directory, rank == victim ? "gone.h5" : "here.h5"));
        snprintf(words, sizeof(words), "rank %d: ", victim);
        CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store) == HPS_EIO);
        CHECK(store == NULL && fixture_said("gone.h5: cannot be opened") && (size == 1 || fixture_said(words)));
        tap_case("one rank alone cannot open the file");
    }
    snprintf(here, sizeof(here), "%s", scratch_path(directory, rank == size - 1 ? "other.h5" : "here.h5"));
    const hps_status status = hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store);
    CHECK(size == 1 ? status == HPS_OK : status == HPS_EIO && fixture_said("ranks see different files"));
    hps_store_close(&store);
    tap_case("ranks that see different files");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    scratch_make(directory);

    no_file();
    truncated();
    hooks();
    shapes_and_types();
    disagreement();
    attributes();
    one_rank_alone();

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
