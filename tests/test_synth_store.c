/*
 * A synthetic store is the same bytes on any number of ranks and threads; its truth is what was asked for (unit
 * directions, frequencies of the Zipf law with the mean asked for, parents, partners); and its rows are made of it: a
 * feature is active as often as its frequency says, its parent whenever it is, its partner as often as stated.
 *
 * ranks: 1 2 3
 */
#include "../src/store/planted.h"
#include "hpsae/store/store.h"
#include "hpsae/store/synth.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

#include <math.h>
#include <omp.h>

enum { ROWS = 3001, D = 24, N = 301 };

static char directory[SCRATCH_PATH], output[SCRATCH_PATH + 64];
static hps_config config;
static int rank;

static hps_status synth(MPI_Comm comm, const char *name, bool dry_run)
{
    snprintf(output, sizeof(output), "%s/%s", directory, name);
    config.synth.output = output;
    return hps_synth(comm, &config, dry_run);
}

static void configure(hps_store_dtype dtype)
{
    config = (hps_config){.synth = {.rows = ROWS,
                                    .dim = D,
                                    .latents = N,
                                    .active = 6,
                                    .zipf = 1,
                                    .correlated = 0.3,
                                    .hierarchy = 0.25,
                                    .noise = 0.01,
                                    .dtype = dtype,
                                    .seed = 9}};
}

static void same_bytes(void)
{
    char name[64], whole[SCRATCH_PATH + 64];

    configure(HPS_STORE_FLOAT32);
    snprintf(whole, sizeof(whole), "%s/whole.h5", directory);
    CHECK(synth(MPI_COMM_WORLD, "whole.h5", false) == HPS_OK);
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        snprintf(name, sizeof(name), "alone-%d-%d.h5", rank, threads);
        CHECK(synth(MPI_COMM_SELF, name, false) == HPS_OK);
        CHECK(fixture_same_files(whole, output));
    }
    omp_set_num_threads(1);
    tap_case("the same bytes on any number of ranks and threads");
}

static void reads_as_a_store(void)
{
    char *paths[1] = {output};
    hps_store *store;
    float row[D];
    double sum = 0;

    snprintf(output, sizeof(output), "%s/whole.h5", directory);
    CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store) == HPS_OK);
    const hps_store_info *info = hps_store_about(store);
    CHECK(info->rows == ROWS && info->d == D && info->shuffled && info->has_statistics);
    CHECK(strcmp(info->hook, "synthetic") == 0 && info->dtype == HPS_F32);
    for (int64_t r = 0; r < ROWS; r++) {
        CHECK(hps_store_read(store, r, 1, row) == HPS_OK);
        sum += (double)row[3];
    }
    CHECK(fabs(info->mean[3] - sum / ROWS) < 1e-12);
    hps_store_close(&store);
    tap_case("it reads as a store with statistics");
}

static void plant(hps_planted *planted)
{
    const hps_planted_sizes sizes = {.n = config.synth.latents,
                                     .d = config.synth.dim,
                                     .active = config.synth.active,
                                     .zipf = config.synth.zipf,
                                     .correlated = config.synth.correlated,
                                     .hierarchy = config.synth.hierarchy,
                                     .noise = config.synth.noise,
                                     .seed = (uint64_t)config.synth.seed};

    CHECK(hps_planted_create(&sizes, planted) == HPS_OK);
}

static bool same_dataset(hid_t file, const char *name, hid_t type, size_t bytes, const void *expected)
{
    void *found = malloc(bytes);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const bool same = H5Dget_storage_size(dataset) == bytes &&
                      H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0 &&
                      memcmp(found, expected, bytes) == 0;

    H5Dclose(dataset);
    free(found);
    return same;
}

static void truth_is_in_the_file(const hps_planted *p)
{
    hid_t file;

    CHECK(hps_h5_open(scratch_path(directory, "whole.h5"), &file) == HPS_OK);
    CHECK(same_dataset(file, "/truth/dictionary", H5T_NATIVE_FLOAT, N * D * 4, p->dictionary));
    CHECK(same_dataset(file, "/truth/frequency", H5T_NATIVE_DOUBLE, N * 8, p->frequency));
    CHECK(same_dataset(file, "/truth/parent", H5T_NATIVE_INT32, N * 4, p->parent));
    CHECK(same_dataset(file, "/truth/partner", H5T_NATIVE_INT32, N * 4, p->partner));
    CHECK(same_dataset(file, "/truth/offset", H5T_NATIVE_DOUBLE, D * 8, p->offset));
    H5Fclose(file);
    tap_case("the truth stands beside the activations");
}

static void truth_is_as_asked(const hps_planted *p)
{
    int64_t children = 0, paired = 0;
    double sum = 0;

    for (int64_t i = 0; i < N; i++) {
        double square = 0;
        for (int64_t c = 0; c < D; c++) {
            square += (double)p->dictionary[i * D + c] * (double)p->dictionary[i * D + c];
        }
        CHECK(fabs(square - 1) < 1e-6);
        CHECK(p->frequency[i] > 0 && p->frequency[i] <= 0.5);
        sum += p->frequency[i];
        children += p->parent[i] >= 0 ? 1 : 0;
        paired += p->partner[i] >= 0 ? 1 : 0;
        CHECK(p->parent[i] < i && p->partner[i] != i && (p->parent[i] < 0 || p->partner[i] < 0));
        CHECK(p->parent[i] < 0 || p->parent[p->parent[i]] < 0);
        CHECK(p->parent[i] < 0 || p->frequency[i] <= 0.5 * p->frequency[p->parent[i]]);
        CHECK(p->partner[i] < 0 || p->partner[p->partner[i]] == i);
    }
    CHECK(fabs(sum - 6) < 1e-9);
    CHECK(children >= 74 && children <= 75 && paired >= 88 && paired <= 90);
    /* The law itself, where nothing caps it. */
    CHECK(fabs(p->frequency[99] * 100 / (p->frequency[299] * 300) - 1) < 1e-9);
    tap_case("the truth is as asked for");
}

/* Counts over many rows; a count is off by more than 5 standard deviations once in two million. */
static void rows_follow_the_truth(const hps_planted *p)
{
    const int64_t rows = getenv("TEST_QUICK") != NULL ? 2000 : 40000;
    hps_planted_scratch scratch;
    int64_t alone[N] = {0}, both[N] = {0};
    float x[D];

    CHECK(hps_planted_scratch_create(p, &scratch) == HPS_OK);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t count = hps_planted_row(p, row, &scratch, x);
        for (int64_t a = 0; a < count; a++) {
            const int64_t i = scratch.active[a];
            alone[i]++;
            both[i] += p->partner[i] >= 0 && scratch.drawn[p->partner[i]] == row + 1 ? 1 : 0;
            CHECK(p->parent[i] < 0 || scratch.drawn[p->parent[i]] == row + 1);
            for (int64_t b = 0; b < a; b++) {
                CHECK(scratch.active[b] != i);
            }
        }
    }
    for (int64_t i = 0; i < N; i++) {
        const double f = p->frequency[i], n = (double)rows;
        CHECK(fabs((double)alone[i] - f * n) < 5 * sqrt(f * (1 - f) * n) + 1);
        if (p->partner[i] >= 0 && p->partner[i] < i) {
            const double leaders = (double)alone[p->partner[i]], q = p->with[i];
            CHECK(fabs((double)both[i] - q * leaders) < 5 * sqrt(q * (1 - q) * leaders) + 1);
            CHECK(q > 2 * f);
        }
    }
    hps_planted_scratch_free(&scratch);
    tap_case("rows follow the frequencies, parents and partners");
}

/* Without noise a row less its offset lies in the span of the active directions: magnitudes solve it. */
static void rows_are_sums(void)
{
    hps_planted p;
    hps_planted_scratch scratch;
    float x[D];
    int tried = 0;

    config.synth.noise = 0;
    plant(&p);
    CHECK(hps_planted_scratch_create(&p, &scratch) == HPS_OK);
    for (int64_t row = 0; row < 2000; row++) {
        if (hps_planted_row(&p, row, &scratch, x) == 1) {
            const float *direction = p.dictionary + scratch.active[0] * D;
            double magnitude = 0, left = 0;
            for (int64_t c = 0; c < D; c++) {
                magnitude += ((double)x[c] - p.offset[c]) * (double)direction[c];
            }
            for (int64_t c = 0; c < D; c++) {
                left += fabs((double)x[c] - p.offset[c] - magnitude * (double)direction[c]);
            }
            CHECK(magnitude >= 0.5 - 1e-5 && left < 1e-4);
            tried++;
        }
    }
    CHECK(tried > 10);
    hps_planted_scratch_free(&scratch);
    hps_planted_free(&p);
    configure(HPS_STORE_FLOAT32);
    tap_case("a row is its offset and its features");
}

static void other_cases(void)
{
    static const hps_store_dtype dtypes[] = {HPS_STORE_FLOAT16, HPS_STORE_BFLOAT16};

    for (int i = 0; i < 2; i++) {
        configure(dtypes[i]);
        CHECK(synth(MPI_COMM_WORLD, i == 0 ? "half.h5" : "brain.h5", false) == HPS_OK);
    }
    configure(HPS_STORE_FLOAT32);
    CHECK(synth(MPI_COMM_WORLD, "whole.h5", false) == HPS_OK);
    CHECK(synth(MPI_COMM_WORLD, "dry.h5", true) == HPS_OK && access(output, F_OK) != 0);
    config.synth.seed++;
    CHECK(synth(MPI_COMM_WORLD, "whole.h5", false) == HPS_ECONFIG && fixture_said("whole.h5: exists already"));
    config.synth.active = 149;
    CHECK(synth(MPI_COMM_WORLD, "many.h5", false) == HPS_ECONFIG &&
          fixture_said("synth.active: 149 features a token are"));
    configure(HPS_STORE_FLOAT16);
    config.synth.noise = 1e7;
    CHECK(synth(MPI_COMM_WORLD, "loud.h5", false) == HPS_ECONFIG && fixture_said("too large for float16"));
    configure(HPS_STORE_FLOAT32);
    config.synth.correlated = config.synth.hierarchy = 0.6;
    CHECK(synth(MPI_COMM_WORLD, "all.h5", false) == HPS_ECONFIG && fixture_said("more than all features"));
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(access(scratch_path(directory, "loud.h5.tmp"), F_OK) != 0);
    configure(HPS_STORE_FLOAT32);
    config.synth.latents = config.synth.rows = config.synth.dim = 1;
    config.synth.active = 0.25;
    CHECK(synth(MPI_COMM_WORLD, "least.h5", false) == HPS_OK);
    tap_case("16-bit words; what is there; what cannot be; the least there is");
}

int main(int argc, char **argv)
{
    hps_planted planted;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    scratch_make(directory);

    same_bytes();
    reads_as_a_store();
    plant(&planted);
    truth_is_in_the_file(&planted);
    truth_is_as_asked(&planted);
    rows_follow_the_truth(&planted);
    hps_planted_free(&planted);
    rows_are_sums();
    other_cases();
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
