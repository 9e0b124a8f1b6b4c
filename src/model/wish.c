#include "hpsae/model/wish.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t signalled;
static int listeners;
static struct sigaction old_term, old_usr1;

static void note_signal(int number)
{
    (void)number;
    signalled = 1;
}

void hps_wish_listen(void)
{
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};

    if (listeners++ > 0) {
        return;
    }
    sigemptyset(&action.sa_mask);
    signalled = 0;
    sigaction(SIGTERM, &action, &old_term);
    sigaction(SIGUSR1, &action, &old_usr1);
}

void hps_wish_restore(void)
{
    if (--listeners > 0) {
        return;
    }
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGUSR1, &old_usr1, NULL);
}

/* Looked for once a second: a parallel file system need not be asked every step. */
static bool stop_file(const char *directory)
{
    static double looked;
    char path[HPS_PATH_MAX];

    if (hps_elapsed() - looked < 1 && looked > 0) {
        return false;
    }
    looked = hps_elapsed();
    return hps_path_join(directory, "stop", path) == HPS_OK && access(path, F_OK) == 0;
}

hps_wish hps_wish_now(int rank, const hps_wish_sources *sources, double max_minutes, double save_seconds,
                      double last_save)
{
    if (signalled) {
        return HPS_STOP_SIGNAL;
    }
    if (rank != 0) {
        return HPS_GO_ON;
    }
    if (stop_file(sources->directory)) {
        return HPS_STOP_FILE;
    }
    if (max_minutes > 0 && hps_elapsed() >= 60 * max_minutes) {
        return HPS_STOP_TIME;
    }
    if (sources->asked != NULL && sources->asked(sources->context)) {
        return HPS_STOP_OTHER;
    }
    return save_seconds > 0 && hps_elapsed() - last_save >= save_seconds ? HPS_SAVE : HPS_GO_ON;
}

void hps_wish_obeyed(const hps_wish_sources *sources)
{
    char path[HPS_PATH_MAX];

    if (hps_path_join(sources->directory, "stop", path) == HPS_OK) {
        unlink(path);
    }
}

const char *hps_wish_words(hps_wish wish)
{
    static const char *const words[] = {
        [HPS_GO_ON] = "nothing",
        [HPS_SAVE] = "a checkpoint is due",
        [HPS_STOP_OTHER] = "another part of the job ended early",
        [HPS_STOP_TIME] = "train.max_minutes has passed",
        [HPS_STOP_FILE] = "there is a file `stop` in the output directory",
        [HPS_STOP_SIGNAL] = "a signal asked for it",
    };

    return words[wish];
}
