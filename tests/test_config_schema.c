/*
 * A configuration is read with its defaults, overrides, `auto` and number forms; what is written reads back the same;
 * the hash follows the keys that a run's bits depend on and no others; what is wrong with a file is said in one line
 * with its place, the same on every rank.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/memory.h"
#include "hpsae/config/config.h"
#include "scratch.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRAIN "output: o\ndata: {store: s.h5}\nmodel: {latents: 64, k: 4}\ntrain: {tokens: 1e5}\n"

/* The file c.yaml holds these bytes, seen by rank 0, which alone reads it. */
static void write_file(const char *bytes, size_t length)
{
    int rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        FILE *file = fopen("c.yaml", "wb");
        CHECK(file != NULL && fwrite(bytes, 1, length, file) == length && fclose(file) == 0);
    }
}

static hps_status read_with(const char *command, const char *text, int count, const char *const *overrides,
                            hps_config **config)
{
    write_file(text, strlen(text));
    return hps_config_read(MPI_COMM_WORLD, command, "c.yaml", count, overrides, config);
}

static void defaults_and_forms(void)
{
    const char *const overrides[] = {"train.lr=1e-3", "train.lr=2e-3", "data.store=[a.h5, b c.h5]", "data.hook="};
    hps_config *c = NULL;

    CHECK(read_with("train", TRAIN "grid: {threads: 0x10}\n", 4, overrides, &c) == HPS_OK);
    if (c != NULL) {
        CHECK(c->model.latents == 64 && c->model.k == 4 && c->train.tokens == 100000);
        CHECK(c->train.batch == 4096 && c->train.aux.k == HPS_AUTO_INT && c->train.epsilon == 6.25e-10);
        CHECK(c->train.lr == 2e-3 && c->grid.threads == 16 && c->data.scale == HPS_SCALE_DATASET);
        CHECK(c->data.store.count == 2 && strcmp(c->data.store.items[1], "b c.h5") == 0);
        CHECK(strcmp(c->output, "o") == 0 && strcmp(c->train.resume, "auto") == 0);
    }
    hps_config_destroy(&c);
    CHECK(c == NULL && hps_memory_arrays() == 0);
    tap_case("defaults, overrides and number forms");
}

static void auto_is_resolved(void)
{
    static const struct {
        int64_t d, k;
    } nearest[] = {{576, 256}, {61, 32}, {768, 256}, {776, 512}, {2, 1}, {1 << 20, 4096}};
    hps_config *c = NULL;

    for (size_t i = 0; i < sizeof(nearest) / sizeof(nearest[0]); i++) {
        CHECK(read_with("train", TRAIN "", 1, (const char *const[]){"model.latents=4096"}, &c) == HPS_OK);
        CHECK(c != NULL && hps_config_resolve(c, nearest[i].d, "blocks.1") == HPS_OK);
        CHECK(c != NULL && c->train.aux.k == nearest[i].k && c->train.lr == 4e-4);
        CHECK(c != NULL && strcmp(c->data.hook, "blocks.1") == 0);
        hps_config_destroy(&c);
    }
    CHECK(read_with("train", TRAIN, 1, (const char *const[]){"train.groups=auto"}, &c) == HPS_OK);
    CHECK(c != NULL && hps_config_resolve(c, 64, "") == HPS_OK && c->train.groups == HPS_AUTO_INT);
    CHECK(c != NULL && strcmp(c->train.calibration, "") == 0);
    hps_config_destroy(&c);
    tap_case("auto is resolved from the sizes");
}

static void written_reads_back(void)
{
    const char *const overrides[] = {"output=a \"b\\ c: #\xc3\xa9", "train.lr=0.1", "data.holdout=0.3333333333333333",
                                     "data.store=[x, 'y', null]",   "eval.model=~", "train.beta2=0.9999999999999999"};
    hps_config *c = NULL, *again = NULL;
    char *text = NULL, *twice = NULL, difference[256];

    CHECK(read_with("train", TRAIN, 6, overrides, &c) == HPS_OK);
    CHECK(c != NULL && hps_config_text(c, &text) == HPS_OK);
    CHECK(text != NULL && hps_config_read_text("used.yaml", text, &again) == HPS_OK);
    CHECK(again != NULL && hps_config_text(again, &twice) == HPS_OK);
    CHECK(twice != NULL && strcmp(text, twice) == 0);
    if (again != NULL) {
        CHECK(strcmp(again->output, "a \"b\\ c: #\xc3\xa9") == 0 && strcmp(again->eval.model, "~") == 0);
        CHECK(strcmp(again->data.store.items[2], "null") == 0 && again->train.lr == 0.1);
        CHECK(hps_config_hash(c) == hps_config_hash(again));
        CHECK(!hps_config_difference(c, again, difference, sizeof(difference)));
    }
    HPS_FREE(&text);
    HPS_FREE(&twice);
    hps_config_destroy(&c);
    hps_config_destroy(&again);
    tap_case("what is written reads back the same");
}

static void hash_follows_the_bits(void)
{
    static const char *const same[] = {"output=p",           "data.store=t.h5",     "train.checkpoint.keep=5",
                                       "grid.threads=3",     "kernels.backend=ref", "train.max_minutes=3",
                                       "train.resume=never", "train.log_steps=7",   "train.batch=4096",
                                       "train.groups=1",     "train.calibration=m"};
    static const char *const other[] = {"model.k=5",      "train.seed=2",  "train.lr=1e-4",  "data.scale=none",
                                        "data.holdout=1", "train.aux.k=0", "train.groups=2", "train.tokens=2e5"};
    hps_config *c = NULL, *changed = NULL;
    char difference[256] = "";

    CHECK(read_with("train", TRAIN, 0, NULL, &c) == HPS_OK);
    for (size_t i = 0; c != NULL && i < sizeof(same) / sizeof(same[0]); i++) {
        CHECK(read_with("train", TRAIN, 1, &same[i], &changed) == HPS_OK);
        CHECK(changed != NULL && hps_config_hash(c) == hps_config_hash(changed));
        hps_config_destroy(&changed);
    }
    for (size_t i = 0; c != NULL && i < sizeof(other) / sizeof(other[0]); i++) {
        CHECK(read_with("train", TRAIN, 1, &other[i], &changed) == HPS_OK);
        CHECK(changed != NULL && hps_config_hash(c) != hps_config_hash(changed));
        CHECK(changed != NULL && hps_config_difference(c, changed, difference, sizeof(difference)));
        hps_config_destroy(&changed);
    }
    CHECK(strcmp(difference, "train.tokens: 100000 here, 200000 there") == 0);
    hps_config_destroy(&c);
    tap_case("the hash follows what a run's bits depend on");
}

static void commands_place_their_own_failures(void)
{
    hps_config *c = NULL;

    CHECK(read_with("train", TRAIN, 1, (const char *const[]){"train.batch=512"}, &c) == HPS_OK);
    if (c != NULL) {
        CHECK(hps_config_fail(c, "model.latents", "too few") == HPS_ECONFIG);
        CHECK(strcmp(hps_status_message(), "c.yaml:3:18: model.latents: too few") == 0);
        hps_config_fail(c, "train.batch", "too many");
        CHECK(strcmp(hps_status_message(), "-s train.batch=512: too many") == 0);
        hps_config_fail(c, "train.lr", "too high");
        CHECK(strcmp(hps_status_message(), "c.yaml:4:1: train.lr: too high") == 0);
    }
    hps_config_destroy(&c);
    tap_case("a command words a failure with the place of the key");
}

/* Bytes that are no configuration: refused, by all ranks alike, without a crash. */
static void garbage(void)
{
    enum { SIZE = 1500000 };
    char *bytes = malloc(SIZE);
    hps_config *c = NULL;

    for (int kind = 0; bytes != NULL && kind < 7; kind++) {
        static const char pattern[] = "[{\xff-&:\n";
        memset(bytes, pattern[kind], SIZE);
        write_file(bytes, kind % 2 == 0 ? 100000 : SIZE);
        const hps_status status = hps_config_read(MPI_COMM_WORLD, "train", "c.yaml", 0, NULL, &c);
        CHECK(status == HPS_ECONFIG && c == NULL && strncmp(hps_status_message(), "c.yaml:", 7) == 0);
        CHECK(strchr(hps_status_message(), '\n') == NULL);
    }
    free(bytes);
    for (size_t length = 0; length < sizeof(TRAIN) - 1; length++) {
        write_file(TRAIN, length);
        const hps_status status = hps_config_read(MPI_COMM_WORLD, "train", "c.yaml", 0, NULL, &c);
        CHECK(status == (c == NULL ? HPS_ECONFIG : HPS_OK));
        hps_config_destroy(&c);
    }
    CHECK(hps_memory_arrays() == 0);
    tap_case("garbage and torn files are refused in one line");
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH];

    MPI_Init(&argc, &argv);
    scratch_make(directory);
    CHECK(chdir(directory) == 0);

    defaults_and_forms();
    auto_is_resolved();
    written_reads_back();
    hash_follows_the_bits();
    commands_place_their_own_failures();
    garbage();

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
