/*
 * A shuffle that cannot be done ends on every rank with the same line, writes nothing under the output's name and leaves
 * no .tmp: rows that are not finite, values too large, too little memory, unnamed activations, files of two models,
 * an output that exists or cannot be written, a full disk, a rank whose writes fail.
 *
 * ranks: 1 2 3
 */
#include "hpsae/store/shuffle.h"
#include "hpsae/store/store.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

#include <math.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { ROWS = 500, D = 16 };

static char directory[SCRATCH_PATH];
static int rank, size;
static hps_config config;
static char paths[3][SCRATCH_PATH + 64], output[SCRATCH_PATH + 64];

/* Sets the configuration: this output, these inputs. */
static void configure(const char *to, int count, const char *const *inputs)
{
    static char *items[3] = {paths[0], paths[1], paths[2]};
    static char nothing[] = "";

    snprintf(output, sizeof(output), "%s/%s", directory, to);
    for (int i = 0; i < count; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", directory, inputs[i]);
    }
    config = (hps_config){.shuffle = {.input = {.items = items, .count = count},
                                      .output = output,
                                      .dataset = nothing,
                                      .hook = nothing,
                                      .seed = 1,
                                      .memory = 8,
                                      .dtype = HPS_STORE_KEEP}};
    MPI_Barrier(MPI_COMM_WORLD);
}

static void configure_one(const char *to, const char *input)
{
    configure(to, 1, &input);
}

static bool there(const char *path, const char *suffix)
{
    char full[SCRATCH_PATH + 96];

    snprintf(full, sizeof(full), "%s%s", path, suffix);
    return access(full, F_OK) == 0;
}

static void refused(const char *name, hps_status code, const char *words)
{
    const bool before = there(output, "");

    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, false) == code);
    CHECK(fixture_said(words));
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(there(output, "") == before && !there(output, ".tmp"));
    CHECK(hps_memory_arrays() == 0);
    MPI_Barrier(MPI_COMM_WORLD);
    tap_case(name);
}

/* float32 activations, some words of them replaced. */
static void write_with(const char *name, int count, const int64_t *rows, float value, const char *model)
{
    static float words[ROWS * D];
    const hsize_t shape[2] = {ROWS, D};

    if (rank == 0) {
        fixture_words(HPS_F32, 0, ROWS, D, words);
        for (int i = 0; i < count; i++) {
            words[rows[i] * D + rows[i] % D] = value;
        }
        const hid_t file = fixture_create(scratch_path(directory, name));
        H5Dclose(fixture_dataset(file, "/activations/hook", H5T_NATIVE_FLOAT, 2, shape, 0, words));
        hps_h5_set_text(file, "model_name", model);
        H5Fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static const int64_t bad_rows[] = {17, 255, 499};

static void not_finite(void)
{
    const char *const two[] = {"good.h5", "nan.h5"};

    write_with("good.h5", 0, NULL, 0, "a");
    write_with("nan.h5", 3, bad_rows, NAN, "a");
    write_with("infinite.h5", 1, bad_rows, -INFINITY, "a");
    configure_one("out.h5", "nan.h5");
    refused("NaN", HPS_EFORMAT, "nan.h5: row 17 holds NaN or infinity (3 such rows in 500); set data.skip_bad_rows");
    configure_one("out.h5", "infinite.h5");
    refused("infinity", HPS_EFORMAT, "infinite.h5: row 17 holds NaN or infinity (1 such row in 500); set");
    configure("out.h5", 2, two);
    refused("NaN in the second file", HPS_EFORMAT, "nan.h5: row 17 holds NaN or infinity (3 such rows in 1000)");
    configure_one("out.h5", "nan.h5");
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, true) == HPS_EFORMAT && fixture_said("row 17 holds NaN"));
    tap_case("a dry run finds them too");
}

static void write_gradients(const char *name)
{
    static float words[ROWS * D];
    const hsize_t shape[2] = {ROWS, D};

    if (rank == 0) {
        const hid_t file = fixture_create(scratch_path(directory, name));
        fixture_words(HPS_F32, 0, ROWS, D, words);
        H5Dclose(fixture_dataset(file, "/activations/hook", H5T_NATIVE_FLOAT, 2, shape, 0, words));
        words[41 * D] = NAN;
        H5Dclose(fixture_dataset(file, "/gradients/hook", H5T_NATIVE_FLOAT, 2, shape, 0, words));
        H5Fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Without its bad rows the input is a shorter one, and gives the bytes that the shorter one gives. */
static void skipped(void)
{
    static float words[ROWS * D];
    const hsize_t shape[2] = {ROWS - 3, D};
    float found[D], expected[D];
    hps_store *store, *shorter;
    char *path[1] = {output};

    if (rank == 0) {
        int64_t to = 0;
        for (int64_t row = 0; row < ROWS; row++) {
            if (row != bad_rows[0] && row != bad_rows[1] && row != bad_rows[2]) {
                fixture_words(HPS_F32, row, 1, D, words + to++ * D);
            }
        }
        const hid_t file = fixture_create(scratch_path(directory, "shorter.h5"));
        H5Dclose(fixture_dataset(file, "/activations/hook", H5T_NATIVE_FLOAT, 2, shape, 0, words));
        H5Fclose(file);
    }
    configure_one("skipped.h5", "nan.h5");
    config.data.skip_bad_rows = true;
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, false) == HPS_OK);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, path, "", &store) == HPS_OK);
    configure_one("not-skipped.h5", "shorter.h5");
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, false) == HPS_OK);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, path, "", &shorter) == HPS_OK);
    if (store != NULL && shorter != NULL) {
        CHECK(hps_store_about(store)->rows == ROWS - 3 && hps_store_about(shorter)->rows == ROWS - 3);
        CHECK(hps_store_about(store)->mean_sq_norm == hps_store_about(shorter)->mean_sq_norm);
        for (int64_t row = 0; row < ROWS - 3; row++) {
            CHECK(hps_store_read(store, row, 1, found) == HPS_OK &&
                  hps_store_read(shorter, row, 1, expected) == HPS_OK);
            CHECK(memcmp(found, expected, sizeof(found)) == 0);
        }
    }
    hps_store_close(&store);
    hps_store_close(&shorter);
    tap_case("bad rows are left out when that is asked for");
}

static void all_bad(void)
{
    static float words[2 * D];
    const hsize_t shape[2] = {2, D};

    words[0] = words[2 * D - 1] = NAN;
    if (rank == 0) {
        const hid_t file = fixture_create(scratch_path(directory, "all.h5"));
        H5Dclose(fixture_dataset(file, "/activations/hook", H5T_NATIVE_FLOAT, 2, shape, 0, words));
        H5Fclose(file);
    }
    configure_one("out.h5", "all.h5");
    config.data.skip_bad_rows = true;
    refused("every row is bad", HPS_EFORMAT, "all.h5: every row holds NaN or infinity, none is left");
}

static void configuration(void)
{
    const char *const models[] = {"good.h5", "other.h5"};

    write_with("large.h5", 1, bad_rows, 1e6f, "a");
    configure_one("out.h5", "large.h5");
    config.shuffle.dtype = HPS_STORE_FLOAT16;
    refused("a value too large for the dtype", HPS_ECONFIG, "large.h5: row 17 holds a value too large for float16");
    configure_one("out.h5", "good.h5");
    config.shuffle.memory = 0.01;
    refused("too little memory", HPS_ECONFIG, "shuffle.memory: 0.0 MiB a rank are too little for 500 rows of 64 bytes");
    if (rank == 0) {
        char npy[128 + 64] = "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }";
        npy[8] = 118;
        fixture_file(scratch_path(directory, "plain.npy"), npy, 192);
    }
    configure_one("out.h5", "plain.npy");
    refused("activations without a name", HPS_ECONFIG, "does not name its activations; set shuffle.hook");
    write_with("other.h5", 0, NULL, 0, "b");
    configure("out.h5", 2, models);
    refused("files of two models", HPS_EFORMAT, "other.h5: activations of b, those before are of a");
}

static void outputs(void)
{
    if (rank == 0) {
        fixture_file(scratch_path(directory, "taken.h5"), "something else", 14);
    }
    configure_one("taken.h5", "good.h5");
    refused("an output that exists", HPS_ECONFIG, "taken.h5: exists already");
    configure_one("good.h5", "good.h5");
    refused("an output that is the input", HPS_ECONFIG, "good.h5: exists already");
    configure_one("taken.h5/below/out.h5", "good.h5");
    refused("an output below a file", HPS_EIO, "taken.h5");
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, true) == HPS_EIO && fixture_said("is not a directory"));
    tap_case("a dry run sees that too");
    if (rank == 0) {
        fixture_file(scratch_path(directory, "stale.h5.tmp"), "half", 4);
    }
    configure_one("stale.h5", "good.h5");
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, false) == HPS_OK);
    CHECK(there(output, "") && !there(output, ".tmp"));
    tap_case("a stale .tmp is replaced");
}

/* The one rank may write no file beyond 20 kB: its writes fail in the middle, by themselves. */
static void one_rank_cannot_write(int victim)
{
    struct rlimit limit, small;
    char words[64];

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 20000;
    configure_one("limited.h5", "good.h5");
    if (rank == victim) {
        setrlimit(RLIMIT_FSIZE, &small);
    }
    snprintf(words, sizeof(words), "rank %d: ", victim);
    refused("one rank's writes fail", HPS_EIO, victim > 0 ? words : "limited.h5.tmp: ");
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(fixture_said("ile too large"));
}

static void full_disk(void)
{
    const char *small = scratch_path(directory, "small");
    int mounted = 0;

    if (rank == 0) {
        mkdir(small, 0777);
        mounted = mount("tmpfs", small, "tmpfs", 0, "size=64k") == 0;
    }
    MPI_Bcast(&mounted, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (!mounted) {
        tap_case("a full disk # SKIP no right to mount one");
        return;
    }
    configure_one("small/out.h5", "good.h5");
    refused("a full disk", HPS_EIO, "small/out.h5.tmp: no room for ");
    CHECK(hps_shuffle(MPI_COMM_WORLD, &config, true) == HPS_EIO && fixture_said("small/out.h5: no room for "));
    tap_case("a dry run sees the full disk too");
    if (rank == 0) {
        umount(small);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    scratch_make(directory);

    not_finite();
    write_gradients("gradient.h5");
    configure_one("out.h5", "gradient.h5");
    refused("NaN in the gradients", HPS_EFORMAT, "gradient.h5: row 41 holds NaN or infinity");
    skipped();
    all_bad();
    configuration();
    outputs();
    for (int victim = 0; victim < size; victim++) {
        one_rank_cannot_write(victim);
    }
    full_disk();
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
