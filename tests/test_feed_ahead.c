/*
 * Batches that were read ahead of time, and spread while other messages went, are the rows that would have been read at
 * once, whatever the file's layout; what is begun may be dropped; a row that is not finite, or a file that lost its end, is
 * told by the call that asks for the rows, in the same words on every rank, also when one rank alone met it.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/background.h"
#include "hpsae/model/feed.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

enum { ROWS = 1000, D = 37, LD = 48, BATCH = 150, BAD_ROW = 700 };

static hps_grid grid;
static int rank, ranks;

static hps_store *open_store(const char *path)
{
    char *paths[] = {(char *)(uintptr_t)path};
    hps_store *store;

    CHECK(hps_store_open(MPI_COMM_WORLD, 1, paths, "", &store) == HPS_OK);
    return store;
}

static hps_feed *new_feed(hps_store *store, bool shuffled)
{
    const hps_feed_options options = {
        .rows = ROWS - 10, .shuffled = shuffled, .seed = 3, .batch = BATCH, .norm = HPS_NORM_SCALE, .scale = 0.5};
    hps_feed *feed;

    CHECK(hps_feed_create(&grid, store, &options, &feed) == HPS_OK);
    return feed;
}

/* What a step does meanwhile: messages of its own, and now and then a nudge. */
static void compute(hps_feed *feed)
{
    double sum = rank;

    for (int i = 0; i < 5; i++) {
        MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, grid.model);
        if (i > 0) {
            hps_feed_exchange(feed);
        }
    }
}

static bool same_rows(const float *a, const float *b, int64_t count)
{
    bool same = true;

    for (int64_t t = 0; t < count; t++) {
        same = same && memcmp(a + t * LD, b + t * LD, D * sizeof(float)) == 0;
    }
    return same;
}

static void check_stream(const char *path)
{
    static float now[BATCH * LD], ahead[BATCH * LD];
    hps_store *store = open_store(path);
    hps_feed *one = new_feed(store, true), *other = new_feed(store, true);

    for (int step = 0; step < 30; step++) {
        const int64_t count = step % 4 == 3 ? 2 : BATCH, position = (int64_t)step * 131;
        hps_feed_begin(other, position, count);
        if (step % 3 != 1) {
            compute(other);
        }
        CHECK(hps_feed_batch(other, position, count, LD, ahead) == HPS_OK);
        CHECK(hps_feed_batch(one, position, count, LD, now) == HPS_OK);
        CHECK(same_rows(now, ahead, count));
    }
    hps_feed_exchange(other);
    const hps_feed_figures a = hps_feed_so_far(one), b = hps_feed_so_far(other);
    CHECK(a.bytes == b.bytes && a.bytes > 0 && a.reading > 0 && b.reading > 0 && a.waiting >= a.reading);
    hps_feed_destroy(&one);
    hps_feed_destroy(&other);
    hps_store_close(&store);
}

/* Another batch than the one begun, at each stage of it; and an end at each stage. */
static void check_dropped(const char *path)
{
    static float now[BATCH * LD], other[BATCH * LD];
    hps_store *store = open_store(path);
    hps_feed *feed = new_feed(store, true), *at_once = new_feed(store, true);

    CHECK(hps_feed_batch(at_once, 40, BATCH, LD, now) == HPS_OK);
    for (int stage = 0; stage < 3; stage++) {
        hps_feed_begin(feed, 40 + (stage < 2), BATCH - (stage == 2));
        if (stage > 0) {
            hps_feed_exchange(feed);
        }
        CHECK(hps_feed_batch(feed, 40, BATCH, LD, other) == HPS_OK && same_rows(now, other, BATCH));
    }
    hps_feed_begin(feed, 0, BATCH);
    hps_feed_begin(feed, 40, BATCH);
    CHECK(hps_feed_batch(feed, 40, BATCH, LD, other) == HPS_OK && same_rows(now, other, BATCH));
    hps_feed_begin(feed, 0, BATCH);
    hps_feed_destroy(&feed);
    hps_feed_begin(at_once, 0, BATCH);
    hps_feed_exchange(at_once);
    hps_feed_destroy(&at_once);
    hps_store_close(&store);
}

/* Fails alike with and without reading ahead; what else the feed is asked for goes well. */
static void check_failure(hps_store *store, int64_t bad, hps_status code, const char *words)
{
    static float x[BATCH * LD];
    char message[HPS_MESSAGE_MAX], first[HPS_MESSAGE_MAX];
    hps_feed *feed = new_feed(store, false);
    const int64_t position = bad - BATCH / 3;

    CHECK(hps_feed_batch(feed, position, BATCH, LD, x) == code && fixture_said(words));
    snprintf(message, sizeof(message), "%s", hps_status_message());
    for (int exchange = 0; exchange < 2; exchange++) {
        hps_feed_begin(feed, position, BATCH);
        if (exchange) {
            compute(feed);
        }
        CHECK(hps_feed_batch(feed, position, BATCH, LD, x) == code);
        CHECK(strcmp(hps_status_message(), message) == 0);
    }
    snprintf(first, sizeof(first), "%s", message);
    MPI_Bcast(first, sizeof(first), MPI_CHAR, 0, MPI_COMM_WORLD);
    CHECK(strcmp(first, message) == 0);
    CHECK((strncmp(message, "rank ", 5) == 0) == (ranks > 1));
    hps_feed_begin(feed, position, BATCH);
    hps_feed_exchange(feed);
    CHECK(hps_feed_batch(feed, 0, BATCH, LD, x) == HPS_OK);
    hps_feed_begin(feed, 0, BATCH);
    CHECK(hps_feed_batch(feed, 0, BATCH, LD, x) == HPS_OK);
    hps_feed_destroy(&feed);
}

static void check_errors(const char *path)
{
    hps_store *store = open_store(path);

    check_failure(store, BAD_ROW, HPS_EFORMAT, "row 700 of");
    tap_case("a row with a NaN");
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(rank != 0 || truncate(path, 600 * D * 4) == 0);
    MPI_Barrier(MPI_COMM_WORLD);
    check_failure(store, 600, HPS_EIO, "truncated");
    tap_case("a file that loses its end");
    hps_store_close(&store);
}

static void write_files(const char *plain, const char *packed, const char *bad)
{
    fixture_store(plain, HPS_BF16, 0, ROWS, D, 0);
    fixture_store(packed, HPS_F32, 0, ROWS, D, 50);
    const hid_t file = fixture_create(bad);
    const hsize_t shape[2] = {ROWS, D};
    static float words[ROWS * D];
    fixture_words(HPS_F32, 0, ROWS, D, words);
    words[BAD_ROW * D + 5] = NAN;
    H5Dclose(fixture_dataset(file, "/activations/hook", H5T_IEEE_F32LE, 2, shape, 0, words));
    H5Fclose(file);
}

static hps_status fail_on_purpose(void *context)
{
    return *(int *)context == 0 ? HPS_OK : hps_fail(HPS_EIO, "on purpose %d", *(int *)context);
}

static void check_background(void)
{
    hps_background b = {0};
    int number = 7;

    CHECK(hps_background_finish(&b) == HPS_OK);
    hps_background_start(&b, fail_on_purpose, &number);
    CHECK(hps_background_finish(&b) == HPS_EIO && strcmp(hps_status_message(), "on purpose 7") == 0);
    CHECK(hps_background_finish(&b) == HPS_OK);
    number = 0;
    hps_background_start(&b, fail_on_purpose, &number);
    CHECK(hps_background_finish(&b) == HPS_OK);
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH], plain[600], packed[600], bad[600];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    scratch_make(directory);
    snprintf(plain, sizeof(plain), "%s/plain.h5", directory);
    snprintf(packed, sizeof(packed), "%s/packed.h5", directory);
    snprintf(bad, sizeof(bad), "%s/bad.h5", directory);
    if (rank == 0) {
        write_files(plain, packed, bad);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    check_background();
    tap_case("work beside the main thread brings back its status and words");
    check_stream(plain);
    tap_case("plain rows: the same ahead and at once");
    check_stream(packed);
    tap_case("chunked and compressed rows: the same ahead and at once");
    check_dropped(plain);
    tap_case("what was begun may be dropped");
    check_errors(bad);
    hps_grid_destroy(&grid);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
