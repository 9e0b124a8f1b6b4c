#include "lock_holder.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A word of a file of /proc, or "". */
static void read_word(const char *path, char word[HPS_HOLDER_WORD])
{
    FILE *file = fopen(path, "re");

    word[0] = '\0';
    if (file != NULL) {
        if (fscanf(file, "%127s", word) != 1) {
            word[0] = '\0';
        }
        fclose(file);
    }
}

static void copy_variable(const char *name, char word[HPS_HOLDER_WORD])
{
    const char *text = getenv(name);

    snprintf(word, HPS_HOLDER_WORD, "%s", text != NULL ? text : "");
}

/* When a process began, -1 where it is gone or ended, 0 where that cannot be seen.  proc(5): field 3 state, 22 start. */
static int64_t start_of(int64_t process)
{
    char path[64], line[1024];

    snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)process);
    FILE *file = fopen(path, "re");
    const bool read = file != NULL && fgets(line, sizeof(line), file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    const char *field = read ? strrchr(line, ')') : NULL; /* ends the name, which may hold anything */
    if (field == NULL) {
        return kill((pid_t)process, 0) != 0 && errno == ESRCH ? -1 : 0;
    }
    field += 2;
    if (*field == 'Z' || *field == 'X') {
        return -1;
    }
    for (int i = 3; i < 22 && field != NULL; i++) {
        field = strchr(field, ' ');
        field = field == NULL ? NULL : field + 1;
    }
    return field == NULL ? 0 : strtoll(field, NULL, 10);
}

void hps_holder_self(hps_holder *self)
{
    const time_t now = time(NULL);
    struct timespec fine;
    struct tm parts;

    *self = (hps_holder){.process = getpid()};
    self->start = start_of(self->process);
    gethostname(self->host, sizeof(self->host) - 1);
    read_word("/proc/sys/kernel/random/boot_id", self->boot);
    if (readlink("/proc/self/ns/pid", self->space, sizeof(self->space) - 1) < 0) {
        self->space[0] = '\0';
    }
    gmtime_r(&now, &parts);
    strftime(self->since, sizeof(self->since), "%Y-%m-%dT%H:%M:%SZ", &parts);
    copy_variable("SLURM_CLUSTER_NAME", self->cluster);
    copy_variable("SLURM_JOB_ID", self->job);
    copy_variable("SLURM_STEP_ID", self->step);
    const char *restarts = getenv("SLURM_RESTART_COUNT");
    self->restarts = restarts == NULL ? 0 : strtoll(restarts, NULL, 10);
    clock_gettime(CLOCK_REALTIME, &fine);
    snprintf(self->token, sizeof(self->token), "%.40s-%lld-%lld.%09ld", self->host, (long long)self->process,
             (long long)fine.tv_sec, fine.tv_nsec);
}

/* The texts of a holder by their names in the file. */
enum { WORDS = 8 };
static const char *const names[WORDS] = {"host",    "boot_id", "pid_namespace", "since",
                                         "cluster", "job",     "step",          "token"};
static char *word_of(hps_holder *h, int i)
{
    char *const words[WORDS] = {h->host, h->boot, h->space, h->since, h->cluster, h->job, h->step, h->token};

    return words[i];
}

char *hps_holder_text(const hps_holder *holder)
{
    hps_holder copy = *holder;
    json_t *json = json_object();

    json_object_set_new(json, "format", json_string("hpsae lock 1"));
    for (int i = 0; i < WORDS; i++) {
        json_object_set_new(json, names[i], json_string(word_of(&copy, i)));
    }
    json_object_set_new(json, "process", json_integer(holder->process));
    json_object_set_new(json, "start", json_integer(holder->start));
    json_object_set_new(json, "restarts", json_integer(holder->restarts));
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(json);
    return text;
}

bool hps_holder_parse(const char *text, hps_holder *holder)
{
    json_t *json = json_loads(text, 0, NULL);
    const char *token = json_string_value(json_object_get(json, "token"));

    *holder = (hps_holder){0};
    for (int i = 0; i < WORDS && token != NULL; i++) {
        const char *word = json_string_value(json_object_get(json, names[i]));
        snprintf(word_of(holder, i), HPS_HOLDER_WORD, "%s", word != NULL ? word : "");
    }
    holder->process = json_integer_value(json_object_get(json, "process"));
    holder->start = json_integer_value(json_object_get(json, "start"));
    holder->restarts = json_integer_value(json_object_get(json, "restarts"));
    json_decref(json);
    return holder->token[0] != '\0';
}

static hps_holder_state ask_kernel(const hps_holder *h, const hps_holder *self)
{
    if (h->boot[0] == '\0' || strcmp(h->boot, self->boot) != 0 || strcmp(h->space, self->space) != 0 ||
        h->process < 1) {
        return HPS_HOLDER_UNKNOWN;
    }
    const int64_t start = start_of(h->process);
    return start == 0 ? HPS_HOLDER_UNKNOWN : start == h->start ? HPS_HOLDER_ALIVE : HPS_HOLDER_DEAD;
}

/* squeue's words for the states of a job (squeue(1), JOB STATE CODES). */
static hps_holder_state state_of(const char *word)
{
    static const char *const over[] = {"COMPLETED", "CANCELLED", "FAILED",      "TIMEOUT",       "NODE_FAIL",
                                       "PREEMPTED", "DEADLINE",  "BOOT_FAIL",   "OUT_OF_MEMORY", "REVOKED",
                                       "PENDING",   "REQUEUED",  "REQUEUE_FED", "REQUEUE_HOLD",  "SPECIAL_EXIT"};

    for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
        if (strcmp(word, over[i]) == 0) {
            return HPS_HOLDER_DEAD;
        }
    }
    if (strcmp(word, "SUSPENDED") == 0 || strcmp(word, "STOPPED") == 0) {
        return HPS_HOLDER_ALIVE; /* and cannot touch its file */
    }
    return strcmp(word, "COMPLETING") == 0 ? HPS_HOLDER_ENDING : HPS_HOLDER_UNKNOWN;
}

static bool is_number(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (!isdigit((unsigned char)*c)) {
            return false;
        }
    }
    return text[0] != '\0';
}

/* A job that squeue calls running may yet have lost its process: then the file's time decides. */
static hps_holder_state ask_slurm(const hps_holder *h, const hps_holder *self)
{
    char command[256], line[256] = "";

    if (!is_number(h->job) || strcmp(h->cluster, self->cluster) != 0) {
        return HPS_HOLDER_UNKNOWN;
    }
    if (strcmp(h->job, self->job) == 0) {
        return self->restarts > h->restarts ? HPS_HOLDER_DEAD : HPS_HOLDER_UNKNOWN;
    }
    snprintf(command, sizeof(command), "timeout 20 squeue --noheader --states=all --format=%%T --jobs=%s 2>&1", h->job);
    FILE *answer = popen(command, "re");
    if (answer == NULL) {
        return HPS_HOLDER_UNKNOWN;
    }
    if (fgets(line, sizeof(line), answer) != NULL) {
        line[strcspn(line, " \n")] = strstr(line, "Invalid job id") != NULL ? line[strcspn(line, " \n")] : '\0';
    }
    pclose(answer);
    return strstr(line, "Invalid job id") != NULL ? HPS_HOLDER_DEAD : state_of(line);
}

hps_holder_state hps_holder_ask(const hps_holder *holder, const hps_holder *self)
{
    const hps_holder_state state = ask_kernel(holder, self);

    return state != HPS_HOLDER_UNKNOWN ? state : ask_slurm(holder, self);
}

hps_status hps_holder_refuse(const char *path, const hps_holder *h, const hps_holder *self)
{
    char job[HPS_HOLDER_WORD + 16] = "", stop[HPS_HOLDER_WORD + 32] = "stop it";

    if (h->token[0] == '\0') {
        return hps_fail(HPS_EIO, "%s: another run is about to start there; wait for it, or choose another output",
                        path);
    }
    if (h->job[0] != '\0') {
        snprintf(job, sizeof(job), "job %s, ", h->job);
        snprintf(stop, sizeof(stop), "stop it (scancel %s)", h->job);
    }
    if (h->job[0] != '\0' && strcmp(h->job, self->job) == 0 && strcmp(h->step, self->step) == 0) {
        snprintf(stop, sizeof(stop), "or, if ranks of one job meet here: start them by srun --mpi=pmix or mpirun");
    }
    return hps_fail(HPS_EIO, "%s: in use by %sprocess %lld on %s, since %s; wait for it, %s, or choose another output",
                    path, job, (long long)h->process, h->host, h->since, stop);
}
