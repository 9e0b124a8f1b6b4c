#include "hpsae/base/build.h"
#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/base/run_lock.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct hps_run {
    MPI_Comm comm; /* borrowed */
    int rank;
    json_t *json;       /* rank 0 only, else NULL */
    hps_run_lock *lock; /* likewise */
    double start;
    char path[HPS_PATH_MAX];
};

void hps_run_note(hps_run *run, const char *key, json_t *value)
{
    if (run->json != NULL) {
        json_object_set_new(run->json, key, value);
    } else {
        json_decref(value);
    }
}

/* Text of unknown origin: what is not UTF-8 becomes null. */
static json_t *text_or_null(const char *text)
{
    json_t *string = text == NULL ? NULL : json_string(text);

    return string == NULL ? json_null() : string;
}

static void note_time(hps_run *run, const char *key)
{
    const time_t now = time(NULL);
    struct tm parts;
    char text[32];

    gmtime_r(&now, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    hps_run_note(run, key, json_string(text));
}

static void note_build(hps_run *run)
{
    hps_fact facts[HPS_BUILD_FACTS];

    hps_build_facts(facts);
    for (int i = 0; i < HPS_BUILD_FACTS; i++) {
        hps_run_note(run, facts[i].name, text_or_null(facts[i].text));
    }
}

static void note_command_line(hps_run *run, int argc, char *const *argv)
{
    json_t *list = json_array();

    for (int i = 0; i < argc; i++) {
        json_array_append_new(list, text_or_null(argv[i]));
    }
    hps_run_note(run, "command_line", list);
}

static void note_slurm(hps_run *run)
{
    static const char *const names[] = {"SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID",
                                        "SLURM_RESTART_COUNT", "SLURM_JOB_NODELIST"};
    json_t *slurm = json_object();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (getenv(names[i]) != NULL) {
            json_object_set_new(slurm, names[i], text_or_null(getenv(names[i])));
        }
    }
    if (json_object_size(slurm) > 0) {
        hps_run_note(run, "slurm", slurm);
    } else {
        json_decref(slurm);
    }
}

/* Collective over the run's communicator.  "hosts": {name: ranks on it}. */
static hps_status note_hosts(hps_run *run)
{
    char here[MPI_MAX_PROCESSOR_NAME] = "", *all = NULL;
    int length, size;

    HPS_MPI(MPI_Comm_size(run->comm, &size));
    HPS_MPI(MPI_Get_processor_name(here, &length));
    HPS_TRY(hps_agree(run->comm, HPS_ALLOC(&all, run->rank == 0 ? size * (int64_t)sizeof(here) : 0, "names of hosts")));
    HPS_MPI(MPI_Gather(here, sizeof(here), MPI_CHAR, all, sizeof(here), MPI_CHAR, 0, run->comm));
    json_t *hosts = json_object();
    for (int i = 0; i < size && run->rank == 0; i++) {
        const char *name = all + (size_t)i * sizeof(here);
        const json_int_t ranks = json_integer_value(json_object_get(hosts, name));
        json_object_set_new(hosts, name, json_integer(ranks + 1));
    }
    HPS_FREE(&all);
    hps_run_note(run, "ranks", json_integer(size));
    hps_run_note(run, "threads", json_integer(omp_get_max_threads()));
    hps_run_note(run, "hosts", hosts);
    return HPS_OK;
}

static hps_status save(const hps_run *run)
{
    char *text = json_dumps(run->json, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    if (text == NULL) {
        return hps_fail(HPS_ENOMEM, "%s: no memory for it", run->path);
    }
    const size_t length = strlen(text);
    text[length] = '\n';
    const hps_status status = hps_file_replace(run->path, text, length + 1);
    free(text);
    return status;
}

hps_status hps_run_save(hps_run *run)
{
    return hps_share_status(run->comm, run->rank == 0 ? save(run) : HPS_OK);
}

hps_status hps_run_check(const hps_run *run)
{
    return hps_share_status(run->comm, run->rank == 0 ? hps_run_lock_check(run->lock) : HPS_OK);
}

static hps_status open_here(const char *directory, hps_run *run)
{
    HPS_TRY(hps_path_join(directory, "run.json", run->path));
    if (run->rank != 0) {
        return HPS_OK;
    }
    HPS_TRY(hps_directory_make(directory));
    HPS_TRY(hps_run_lock_take(directory, &hps_run_lock_usual, &run->lock));
    run->json = json_object();
    return run->json == NULL ? hps_fail(HPS_ENOMEM, "%s: no memory for it", run->path) : HPS_OK;
}

static hps_status begin(const char *directory, int argc, char *const *argv, hps_run *run)
{
    HPS_TRY(hps_share_status(run->comm, open_here(directory, run)));
    hps_run_note(run, "status", json_string("running"));
    note_build(run);
    note_command_line(run, argc, argv);
    note_time(run, "started");
    note_slurm(run);
    HPS_TRY(note_hosts(run));
    return hps_run_save(run);
}

static void destroy(hps_run **run)
{
    json_decref((*run)->json);
    hps_run_lock_release(&(*run)->lock);
    HPS_FREE(run);
}

hps_status hps_run_begin(MPI_Comm comm, const char *directory, int argc, char *const *argv, hps_run **run)
{
    HPS_TRY(hps_agree(comm, HPS_ALLOC(run, 1, "report")));
    (*run)->comm = comm;
    (*run)->start = hps_elapsed();
    HPS_MPI(MPI_Comm_rank(comm, &(*run)->rank));
    const hps_status status = begin(directory, argc, argv, *run);
    if (status != HPS_OK) {
        destroy(run);
    }
    return status;
}

hps_status hps_run_end(hps_run **run, hps_status how)
{
    char words[HPS_MESSAGE_MAX], verdict[HPS_MESSAGE_MAX + 16];

    if (*run == NULL) {
        return how;
    }
    snprintf(words, sizeof(words), "%s", hps_status_message());
    snprintf(verdict, sizeof(verdict), "failed: %s", words);
    const char *status = how == HPS_OK ? "complete" : how == HPS_STOPPED ? "stopped" : verdict;
    hps_run_note(*run, "status", text_or_null(status));
    note_time(*run, "ended");
    hps_run_note(*run, "seconds", json_real(hps_elapsed() - (*run)->start));
    const hps_status saved = hps_run_check(*run) == HPS_OK ? hps_run_save(*run) : HPS_OK;
    destroy(run);
    return how == HPS_OK ? saved : hps_fail(how, "%s", words);
}
