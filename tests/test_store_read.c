/*
 * A store gives every row as it was stored, on any rank: all dtypes and byte orders, contiguous, chunked and filtered
 * files, one file, many, and directories, in blocks that cross files.
 *
 * ranks: 1 2 3
 */
#include "hpsae/store/store.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

#include <math.h>
#include <sys/stat.h>

enum { D = 37 };

static char directory[SCRATCH_PATH];
static int rank;

static bool holds_rows(hps_store *store, int64_t row, int64_t count)
{
    const hps_store_info *info = hps_store_about(store);
    const size_t bytes = (size_t)(count * D) * hps_dtype_size(info->dtype);
    char *expected = malloc(bytes + 1), *found = malloc(bytes + 1);

    fixture_words(info->dtype, row, count, D, expected);
    const bool same = hps_store_read(store, row, count, found) == HPS_OK && memcmp(expected, found, bytes) == 0;
    free(expected);
    free(found);
    return same;
}

static void read_pieces(hps_store *store, int64_t rows)
{
    CHECK(hps_store_about(store)->rows == rows && hps_store_about(store)->d == D);
    CHECK(holds_rows(store, 0, rows));
    CHECK(holds_rows(store, rows - 1, 1));
    CHECK(holds_rows(store, rank % rows, 0));
    for (int64_t row = rank; row + 13 <= rows; row += 7) {
        CHECK(holds_rows(store, row, 13));
    }
    char word[8 * D];
    CHECK(hps_store_read(store, rows, 1, word) == HPS_EARG);
    CHECK(hps_store_read(store, -1, 1, word) == HPS_EARG);
    CHECK(hps_store_read(store, 0, INT64_MAX, word) == HPS_EARG);
}

static void one_file(hps_dtype dtype, hsize_t chunk_rows)
{
    const char *path = scratch_path(directory, "one.h5");
    char *paths[] = {(char *)(uintptr_t)path};
    hps_store *store;

    if (rank == 0) {
        fixture_store(path, dtype, 0, 100, D, chunk_rows);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store) == HPS_OK);
    if (store != NULL) {
        const hps_store_info *info = hps_store_about(store);
        CHECK(info->dtype == dtype && strcmp(info->hook, "hook") == 0 && info->model_name[0] == '\0');
        CHECK(!info->shuffled && !info->has_statistics);
        read_pieces(store, 100);
    }
    hps_store_close(&store);
    MPI_Barrier(MPI_COMM_WORLD);
    tap_case(chunk_rows > 0 ? "chunked and compressed" : "contiguous");
}

static void write_big_endian(const char *path)
{
    const hsize_t shape[2] = {50, D};
    const hid_t file = fixture_create(path);
    const hid_t dataset = fixture_dataset(file, "/activations/hook", H5T_IEEE_F32BE, 2, shape, 0, NULL);
    float values[50 * D];

    fixture_words(HPS_F32, 0, 50, D, values);
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
    H5Fclose(file);
}

static void big_endian(void)
{
    const char *path = scratch_path(directory, "big.h5");
    char *paths[] = {(char *)(uintptr_t)path};
    hps_store *store;

    if (rank == 0) {
        write_big_endian(path);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store) == HPS_OK);
    if (store != NULL) {
        read_pieces(store, 50);
    }
    hps_store_close(&store);
    tap_case("big-endian numbers arrive in the machine's order");
}

/* Uneven files, one of them chunked; named out of order, the directory sorts them. */
static void many_files(void)
{
    char many[SCRATCH_PATH];
    char *paths[] = {many};
    hps_store *store;

    snprintf(many, sizeof(many), "%.480s/many", directory);
    if (rank == 0) {
        mkdir(many, 0777);
        fixture_store(scratch_path(many, "part-2.h5"), HPS_BF16, 41, 59, D, 0);
        fixture_store(scratch_path(many, "part-1.h5"), HPS_BF16, 40, 1, D, 0);
        fixture_store(scratch_path(many, "part-0.h5"), HPS_BF16, 0, 40, D, 16);
        fixture_file(scratch_path(many, "notes.txt"), "not a store", 11);
        fixture_file(scratch_path(many, "part-3.h5.tmp"), "half a store", 12);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "hook", &store) == HPS_OK);
    if (store != NULL) {
        read_pieces(store, 100);
    }
    hps_store_close(&store);
    tap_case("a directory of files is one store in the order of names");
}

static void write_with_statistics(const char *path, int64_t first, int64_t rows, double mean_sq_norm)
{
    double mean[D];
    const hid_t file = fixture_create(path);
    const hid_t dataset = fixture_activations(file, "/activations/hook", HPS_F16, first, rows, D, 0);

    for (int c = 0; c < D; c++) {
        mean[c] = c * (double)rows;
    }
    hps_h5_set_reals(dataset, "mean", D, mean);
    hps_h5_set_real(dataset, "mean_sq_norm", mean_sq_norm);
    hps_h5_set_int(dataset, "n_tokens", rows);
    hps_h5_set_int(file, "shuffled", 1);
    hps_h5_set_text(file, "model_name", "a model");
    H5Dclose(dataset);
    H5Fclose(file);
}

static void statistics(void)
{
    const char *a = scratch_path(directory, "a.h5"), *b = scratch_path(directory, "b.h5");
    char *paths[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b};
    hps_store *store;

    if (rank == 0) {
        write_with_statistics(a, 0, 30, 1e9);
        write_with_statistics(b, 30, 10, 2e9);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_store_open(MPI_COMM_WORLD, 2, paths, "", &store) == HPS_OK);
    if (store != NULL) {
        const hps_store_info *info = hps_store_about(store);
        CHECK(info->has_statistics && info->shuffled && strcmp(info->model_name, "a model") == 0);
        CHECK(fabs(info->mean_sq_norm / 1.25e9 - 1) < 1e-12);
        CHECK(fabs(info->mean[2] - 2 * (0.75 * 30 + 0.25 * 10)) < 1e-9);
    }
    hps_store_close(&store);
    tap_case("statistics of several files are weighted by their rows");
}

static void by_path(void)
{
    const char *path = scratch_path(directory, "path.h5");
    char *paths[] = {(char *)(uintptr_t)path};
    const char *const names[] = {"/deep/down/acts", "deep/down/acts", ""};
    hps_store *store;

    if (rank == 0) {
        const hid_t file = fixture_create(path);
        H5Dclose(fixture_activations(file, "/deep/down/acts", HPS_F64, 0, 20, D, 0));
        H5Fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < 3; i++) {
        CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, names[i], &store) == HPS_OK);
        if (store != NULL) {
            CHECK(strcmp(hps_store_about(store)->hook, "deep/down/acts") == 0);
            read_pieces(store, 20);
        }
        hps_store_close(&store);
    }
    tap_case("any dataset path");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    scratch_make(directory);

    for (hps_dtype dtype = HPS_F16; dtype <= HPS_F64; dtype++) {
        one_file(dtype, 0);
        one_file(dtype, 33);
    }
    big_endian();
    many_files();
    statistics();
    by_path();
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
