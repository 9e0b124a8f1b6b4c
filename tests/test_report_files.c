/*
 * metrics.jsonl keeps what a resumed run does not write again and loses torn lines; run.json tells how a run ended; files
 * and directories appear whole or not at all, with one line of failure.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "scratch.h"
#include "tap.h"

#include <stdbool.h>

static char directory[SCRATCH_PATH];
static int rank;

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(scratch_path(directory, name), "w");

    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static bool holds(const char *name, const char *text)
{
    char content[1024] = "";
    FILE *file = fopen(scratch_path(directory, name), "r");

    if (file == NULL) {
        return false;
    }
    content[fread(content, 1, sizeof(content) - 1, file)] = '\0';
    fclose(file);
    return strcmp(content, text) == 0;
}

/* Opens, appends one line of step 30, closes. */
static void append(const char *name, int64_t step)
{
    hps_metrics *metrics = NULL;

    CHECK(hps_metrics_open(scratch_path(directory, name), step, &metrics) == HPS_OK);
    if (metrics != NULL) {
        CHECK(hps_metrics_line(metrics, json_pack("{s:i,s:o}", "step", 30, "nan", hps_json_real(0.0 / 0.0))) == HPS_OK);
        CHECK(hps_metrics_line(metrics, NULL) == HPS_ENOMEM);
    }
    hps_metrics_close(&metrics);
    CHECK(metrics == NULL);
}

#define NEW "{\"step\":30,\"nan\":null}\n"

static void metrics_are_cut(void)
{
    if (rank == 0) {
        append("new.jsonl", -1);
        CHECK(holds("new.jsonl", NEW));
        write_text("later.jsonl", "{\"step\":10}\n{\"step\":20}\n{\"step\":40}\n");
        append("later.jsonl", 20);
        CHECK(holds("later.jsonl", "{\"step\":10}\n{\"step\":20}\n" NEW));
        write_text("torn.jsonl", "{\"step\":10}\n{\"step\":2");
        append("torn.jsonl", 20);
        CHECK(holds("torn.jsonl", "{\"step\":10}\n" NEW));
        write_text("mangled.jsonl", "{\"step\":10}\n[3]\n{\"step\":20}\n");
        append("mangled.jsonl", 20);
        CHECK(holds("mangled.jsonl", "{\"step\":10}\n" NEW));
        append("later.jsonl", -1);
        CHECK(holds("later.jsonl", NEW));
    }
    tap_case("metrics are cut to what a resumed run keeps");
}

static void metrics_say_what_fails(void)
{
    hps_metrics *metrics = NULL;
    char message[HPS_MESSAGE_MAX];

    if (rank == 0) {
        const char *path = scratch_path(directory, "none/metrics.jsonl");
        CHECK(hps_metrics_open(path, -1, &metrics) == HPS_EIO && metrics == NULL);
        snprintf(message, sizeof(message), "%s: cannot be written: No such file or directory", path);
        CHECK(strcmp(hps_status_message(), message) == 0);
    }
    tap_case("metrics that cannot be written are one line of failure");
}

/* A run that ends with `how`; the text of its status. */
static void ends_with(const char *name, hps_status how, const char *expected)
{
    char *argv[] = {(char *)(uintptr_t) "hpsae", (char *)(uintptr_t) "\xff"}, path[SCRATCH_PATH + 32];
    hps_run *run = NULL;
    int size;

    MPI_Comm_size(MPI_COMM_WORLD, &size);
    snprintf(path, sizeof(path), "%s/a/b/%s", directory, name);
    CHECK(hps_run_begin(MPI_COMM_WORLD, path, 2, argv, &run) == HPS_OK);
    if (run != NULL) {
        hps_run_note(run, "checksum", json_string("0123"));
        hps_fail(how, "disk on fire");
        CHECK(hps_run_end(&run, how) == how && run == NULL);
    }
    if (rank == 0) {
        json_t *json = json_load_file(scratch_path(path, "run.json"), 0, NULL);
        CHECK(strcmp(json_string_value(json_object_get(json, "status")), expected) == 0);
        CHECK(json_integer_value(json_object_get(json, "ranks")) == size);
        CHECK(json_object_size(json_object_get(json, "hosts")) >= 1);
        CHECK(json_is_null(json_array_get(json_object_get(json, "command_line"), 1)));
        CHECK(strcmp(json_string_value(json_object_get(json, "checksum")), "0123") == 0);
        json_decref(json);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void runs_end(void)
{
    ends_with("good", HPS_OK, "complete");
    ends_with("stopped", HPS_STOPPED, "stopped");
    ends_with("failed", HPS_EIO, "failed: disk on fire");
    CHECK(strcmp(hps_status_message(), "disk on fire") == 0);
    tap_case("run.json tells how a run ended");
}

static void a_run_needs_its_directory(void)
{
    char *argv[] = {(char *)(uintptr_t) "hpsae"}, below[SCRATCH_PATH + 16], message[HPS_MESSAGE_MAX];
    hps_run *run = NULL;

    if (rank == 0) {
        write_text("file", "x");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    snprintf(below, sizeof(below), "%s/file/run", directory);
    CHECK(hps_run_begin(MPI_COMM_WORLD, below, 1, argv, &run) == HPS_EIO && run == NULL);
    snprintf(message, sizeof(message), "%s/file: is not a directory; choose another path", directory);
    CHECK(strcmp(hps_status_message(), message) == 0);
    CHECK(hps_run_end(&run, HPS_EIO) == HPS_EIO);
    tap_case("a run whose directory cannot be made says so on every rank");
}

static void files_are_replaced_whole(void)
{
    if (rank == 0) {
        const char *path = scratch_path(directory, "text");
        CHECK(hps_file_replace(path, "first", 5) == HPS_OK && holds("text", "first"));
        CHECK(hps_file_replace(path, "second", 6) == HPS_OK && holds("text", "second"));
        CHECK(hps_file_replace(directory, "x", 1) == HPS_EIO);
        CHECK(access(scratch_path(directory, "text.tmp"), F_OK) != 0);
        char beside[SCRATCH_PATH + 8];
        snprintf(beside, sizeof(beside), "%s.tmp", directory);
        CHECK(access(beside, F_OK) != 0);
    }
    tap_case("files are replaced whole or not at all");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    scratch_make(directory);

    metrics_are_cut();
    metrics_say_what_fails();
    runs_end();
    a_run_needs_its_directory();
    files_are_replaced_whole();
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory is given back");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
