/*
 * A shuffle moves every row once, with its tokens, labels and gradients, and writes the same bytes on any number of ranks
 * and with any memory, which its buffers never exceed, though the store be ten times as large.
 *
 * ranks: 1 2 3
 */
#include "hpsae/store/shuffle.h"
#include "hpsae/store/store.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

#include <math.h>

enum { ROWS = 30011, D = 96, FIRST_ROWS = 20000 };

static char directory[SCRATCH_PATH];
static int rank, size;

/* What the input says of row r besides its activations. */
static void write_beside(hid_t file, int64_t first, int64_t rows)
{
    const hsize_t line[1] = {(hsize_t)rows}, pair[2] = {(hsize_t)rows, 2}, documents[1] = {7};
    const int32_t labels[7] = {4, 5, 6, -1, 0, 1, 2};
    int32_t *id = malloc((size_t)rows * 2 * sizeof(*id));
    int64_t *document = malloc((size_t)rows * sizeof(*document));
    hid_t dataset;

    for (int64_t r = 0; r < rows; r++) {
        document[r] = first + r;
    }
    H5Dclose(fixture_dataset(file, "/tokens/document", H5T_STD_I64LE, 1, line, 0, document));
    for (int64_t r = 0; r < 2 * rows; r++) {
        id[r] = (int32_t)(2 * first + r);
    }
    H5Dclose(fixture_dataset(file, "/labels/pair", H5T_STD_I32LE, 2, pair, 0, id));
    dataset = fixture_dataset(file, "/labels/of_document", H5T_STD_I32LE, 1, documents, 0, labels);
    hps_h5_set_text(dataset, "classes", "many");
    H5Dclose(dataset);
    dataset = fixture_activations(file, "/gradients/hook", HPS_F32, 1000000 + first, rows, 3, 512);
    hps_h5_set_real(dataset, "rms_norm", 0.25);
    H5Dclose(dataset);
    free(id);
    free(document);
}

static void write_input(const char *path, int64_t first, int64_t rows)
{
    const hid_t file = fixture_create(path);

    H5Dclose(fixture_activations(file, "/activations/hook", HPS_F16, first, rows, D, 0));
    write_beside(file, first, rows);
    hps_h5_set_text(file, "model_name", "a model");
    hps_h5_set_int(file, "context_size", 128);
    H5Fclose(file);
}

/* Input: two files in a directory; output under this name. */
static hps_status shuffle(MPI_Comm comm, const char *output, double memory, int64_t seed, bool dry_run)
{
    char input[SCRATCH_PATH + 8], path[SCRATCH_PATH + 64];
    char *inputs[1] = {input};
    hps_config *config = calloc(1, sizeof(*config));

    snprintf(input, sizeof(input), "%s/input", directory);
    snprintf(path, sizeof(path), "%s/%s", directory, output);
    config->shuffle.input.items = inputs;
    config->shuffle.input.count = 1;
    config->shuffle.output = path;
    config->shuffle.dataset = config->shuffle.hook = (char[]){""};
    config->shuffle.seed = seed;
    config->shuffle.memory = memory;
    config->shuffle.dtype = HPS_STORE_KEEP;
    const hps_status status = hps_shuffle(comm, config, dry_run);
    if (status != HPS_OK) {
        fprintf(stderr, "# %s\n", hps_status_message());
    }
    free(config);
    return status;
}

static void bounded_memory(void)
{
    const double store = (double)ROWS * (D * 2 + 8 + 8 + 12) / 1048576;
    const int64_t before = hps_memory_peak();

    CHECK(shuffle(MPI_COMM_WORLD, "whole.h5", store / 10 / size, 1, false) == HPS_OK);
    /* Above the buffers: names, tables of files and datasets. */
    CHECK(hps_memory_peak() - before < (int64_t)(store / 10 / size * 1048576) + (256 << 10));
    CHECK(hps_memory_arrays() == 0);
    tap_case("a store ten times the memory of all ranks");
}

static void same_bytes(void)
{
    char name[64], alone[64], whole[SCRATCH_PATH + 64];
    MPI_Comm part;

    snprintf(whole, sizeof(whole), "%s/whole.h5", directory);
    for (int i = 0; i < 3; i++) {
        static const double memory[] = {1, 4, 1024};
        snprintf(name, sizeof(name), "memory-%d.h5", i);
        CHECK(shuffle(MPI_COMM_WORLD, name, memory[i], 1, false) == HPS_OK);
        CHECK(rank != 0 || fixture_same_files(whole, scratch_path(directory, name)));
    }
    tap_case("the same bytes with any memory");
    /* Each rank alone, and all but one together. */
    snprintf(alone, sizeof(alone), "alone-%d.h5", rank);
    CHECK(shuffle(MPI_COMM_SELF, alone, 2, 1, false) == HPS_OK);
    CHECK(fixture_same_files(whole, scratch_path(directory, alone)));
    MPI_Comm_split(MPI_COMM_WORLD, rank > 0, rank, &part);
    snprintf(name, sizeof(name), "part-%d.h5", rank > 0);
    CHECK(shuffle(part, name, 3, 1, false) == HPS_OK);
    CHECK(fixture_same_files(whole, scratch_path(directory, name)));
    MPI_Comm_free(&part);
    tap_case("the same bytes on any number of ranks");
}

static void read_all(hid_t file, const char *name, hid_t type, void *data)
{
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);

    CHECK(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(dataset);
}

/* Every row of the output is the row of the input that its document number names, and comes once. */
static void rows_stay_together(void)
{
    const char *path = scratch_path(directory, "whole.h5");
    hid_t file;
    int64_t *document = malloc(ROWS * sizeof(*document)), wrong = 0, moved = 0;
    int32_t *pair = malloc(ROWS * 2 * sizeof(*pair)), labels[7] = {0};
    uint16_t *words = malloc(sizeof(*words) * ROWS * D), expected[D];
    float *gradients = malloc(sizeof(*gradients) * ROWS * 3), gradient[3];
    char *seen = calloc(ROWS, 1);

    CHECK(hps_h5_open(path, &file) == HPS_OK);
    read_all(file, "/tokens/document", H5T_NATIVE_INT64, document);
    read_all(file, "/labels/pair", H5T_NATIVE_INT32, pair);
    read_all(file, "/labels/of_document", H5T_NATIVE_INT32, labels);
    read_all(file, "/gradients/hook", H5T_NATIVE_FLOAT, gradients);
    const hid_t type = hps_h5_type(HPS_F16);
    read_all(file, "/activations/hook", type, words);
    for (int64_t r = 0; r < ROWS; r++) {
        const int64_t from = document[r];
        const bool once = from >= 0 && from < ROWS && !seen[from];
        fixture_words(HPS_F16, from, 1, D, expected);
        fixture_words(HPS_F32, 1000000 + from, 1, 3, gradient);
        wrong += once && memcmp(expected, words + r * D, sizeof(expected)) == 0 && pair[2 * r] == 2 * from &&
                         pair[2 * r + 1] == 2 * from + 1 && memcmp(gradient, gradients + 3 * r, sizeof(gradient)) == 0
                     ? 0
                     : 1;
        moved += llabs((long long)(from - r)) > ROWS / 20 ? 1 : 0;
        if (once) {
            seen[from] = 1;
        }
    }
    CHECK(wrong == 0);
    CHECK(moved > ROWS * 8 / 10); /* of a random order 0.9 */
    CHECK(labels[0] == 4 && labels[3] == -1 && labels[6] == 2);
    H5Tclose(type);
    H5Fclose(file);
    free(document);
    free(pair);
    free(words);
    free(gradients);
    free(seen);
    tap_case("rows keep what stood beside them, and are moved far");
}

static void attributes_and_statistics(void)
{
    char path[SCRATCH_PATH + 64];
    char *paths[] = {path}, *text = NULL;
    double sum = 0, square = 0, norm = 0;
    int64_t number = 0;
    hps_store *store;
    hid_t file;

    snprintf(path, sizeof(path), "%s/whole.h5", directory);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store) == HPS_OK);
    const hps_store_info *info = hps_store_about(store);
    CHECK(info->has_statistics && info->shuffled && info->rows == ROWS && strcmp(info->model_name, "a model") == 0);
    for (int64_t r = 0; r < ROWS; r++) {
        sum += (double)fixture_value(r, 5);
        for (int64_t c = 0; c < D; c++) {
            square += (double)fixture_value(r, c) * (double)fixture_value(r, c);
        }
    }
    CHECK(fabs(info->mean[5] - sum / ROWS) < 1e-12 && fabs(info->mean_sq_norm * ROWS / square - 1) < 1e-12);
    hps_store_close(&store);

    CHECK(hps_h5_open(path, &file) == HPS_OK);
    CHECK(hps_h5_get_int(file, "context_size", &number) && number == 128);
    CHECK(hps_h5_get_int(file, "shuffle_seed", &number) && number == 1);
    CHECK(hps_h5_get_int(file, "complete", &number) && number == 1);
    CHECK(hps_h5_get_text(file, "format", &text) && strcmp(text, "hpsae-activations") == 0);
    HPS_FREE(&text);
    const hid_t dataset = H5Dopen2(file, "/gradients/hook", H5P_DEFAULT);
    CHECK(hps_h5_get_reals(dataset, "rms_norm", 1, &norm) && norm == 0.25);
    H5Dclose(dataset);
    H5Fclose(file);
    tap_case("attributes go along, statistics are right");
}

static void again(void)
{
    const char *path = scratch_path(directory, "whole.h5");
    char other[SCRATCH_PATH + 64];

    CHECK(shuffle(MPI_COMM_WORLD, "whole.h5", 1, 1, false) == HPS_OK);
    CHECK(shuffle(MPI_COMM_WORLD, "seed-2.h5", 1, 2, true) == HPS_OK);
    CHECK(access(scratch_path(directory, "seed-2.h5"), F_OK) != 0);
    CHECK(access(scratch_path(directory, "seed-2.h5.tmp"), F_OK) != 0);
    CHECK(shuffle(MPI_COMM_WORLD, "new/deep/seed-2.h5", 1, 2, false) == HPS_OK);
    snprintf(other, sizeof(other), "%s/new/deep/seed-2.h5", directory);
    CHECK(access(other, F_OK) == 0 && !fixture_same_files(path, other));
    CHECK(shuffle(MPI_COMM_WORLD, "whole.h5", 1, 2, false) == HPS_ECONFIG && fixture_said("whole.h5: exists already"));
    tap_case("what is there stays; a dry run writes nothing; another seed is another order");
}

int main(int argc, char **argv)
{
    char input[SCRATCH_PATH + 8];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    scratch_make(directory);
    snprintf(input, sizeof(input), "%s/input", directory);
    if (rank == 0) {
        mkdir(input, 0777);
        write_input(scratch_path(input, "a.h5"), 0, FIRST_ROWS);
        write_input(scratch_path(input, "b.h5"), FIRST_ROWS, ROWS - FIRST_ROWS);
    }
    MPI_Barrier(MPI_COMM_WORLD);

    bounded_memory();
    same_bytes();
    rows_stay_together();
    attributes_and_statistics();
    again();
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
