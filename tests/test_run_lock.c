/*
 * One run at a time in a directory: a second is refused with a line that names the first; a lock whose process is dead, on
 * this host or on one that cannot be asked, is taken over, by one process alone of many that want it; who lost his lock
 * learns of it.
 *
 * ranks: 1
 * seconds: 60
 */
#include "hpsae/base/run_lock.h"

#include "hpsae/base/file.h"
#include "scratch.h"
#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const hps_run_lock_times quick = {.beat = 0.1, .patience = 0.6};
static char directory[SCRATCH_PATH];
static double written; /* when the foreign lock was */

static const char *file_of_lock(void)
{
    return scratch_path(directory, "lock");
}

static bool is_there(void)
{
    return access(file_of_lock(), F_OK) == 0;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void nap(double seconds)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * seconds)}, NULL);
}

/* The lock of a process on a host that cannot be asked, last touched `age` seconds ago. */
static void write_foreign(const char *extra, int age)
{
    char text[1024];
    struct timespec times[2];

    written = now();
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= age;
    times[1] = times[0];
    snprintf(
        text, sizeof(text),
        "{\"format\": \"hpsae lock 1\", \"host\": \"elsewhere\", \"boot_id\": \"another\", \"process\": 77, \"since\": "
        "\"2024-01-01T00:00:00Z\", \"token\": \"theirs\"%s}\n",
        extra);
    CHECK(hps_file_replace(file_of_lock(), text, strlen(text)) == HPS_OK);
    CHECK(utimensat(AT_FDCWD, file_of_lock(), times, 0) == 0);
}

/* A process that takes the lock, says so by *report and stays. */
static pid_t start_holder(int *report)
{
    int ends[2];

    CHECK(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        hps_run_lock *lock;
        const bool taken = hps_run_lock_take(directory, &quick, &lock) == HPS_OK;
        const ssize_t wrote = write(ends[1], taken ? "y" : "n", 1);
        close(ends[1]);
        if (taken && wrote == 1) {
            pause();
        }
        _exit(0);
    }
    close(ends[1]);
    *report = ends[0];
    return child;
}

static void one_at_a_time(void)
{
    hps_run_lock *lock, *second;
    char process[32];

    CHECK(hps_run_lock_take(directory, &quick, &lock) == HPS_OK);
    CHECK(is_there() && hps_run_lock_check(lock) == HPS_OK);
    CHECK(hps_run_lock_take(directory, &quick, &second) == HPS_EIO);
    snprintf(process, sizeof(process), "process %ld on ", (long)getpid());
    CHECK(strstr(hps_status_message(), process) != NULL && strstr(hps_status_message(), "in use by ") != NULL);
    hps_run_lock_release(&lock);
    CHECK(!is_there() && lock == NULL);
    CHECK(hps_run_lock_take(directory, &quick, &lock) == HPS_OK);
    hps_run_lock_release(&lock);
    tap_case("a second run is refused as long as the first has not ended");
}

static void killed_here(void)
{
    hps_run_lock *lock;
    char word = 0;
    int report;
    const pid_t child = start_holder(&report);

    CHECK(read(report, &word, 1) == 1 && word == 'y');
    CHECK(hps_run_lock_take(directory, &quick, &lock) == HPS_EIO);
    kill(child, SIGKILL);
    const double begin = now();
    while (hps_run_lock_take(directory, &quick, &lock) != HPS_OK && now() - begin < 5) {
        nap(0.01);
    }
    CHECK(lock != NULL && hps_run_lock_check(lock) == HPS_OK);
    waitpid(child, NULL, 0); /* till here it was a zombie: that counts as gone */
    hps_run_lock_release(&lock);
    CHECK(!is_there());
    close(report);
    tap_case("the lock of a process that was killed on this host is taken over");
}

static void one_of_many(void)
{
    enum { MANY = 12 };
    pid_t children[MANY];
    int reports[MANY], winners = 0;

    for (int round = 0; round < 5; round++) {
        write_foreign("", 3600);
        winners = 0;
        for (int i = 0; i < MANY; i++) {
            children[i] = start_holder(&reports[i]);
        }
        for (int i = 0; i < MANY; i++) {
            char word = 0;
            CHECK(read(reports[i], &word, 1) == 1);
            winners += word == 'y';
            close(reports[i]);
        }
        CHECK(winners == 1);
        for (int i = 0; i < MANY; i++) {
            kill(children[i], SIGKILL);
            waitpid(children[i], NULL, 0);
        }
    }
    unlink(file_of_lock());
    tap_case("of twelve that find a dead lock one takes it over");
}

/* Whether the foreign lock is taken over; *took: how long after it was written. */
static bool taken_over(double *took)
{
    hps_run_lock *lock;
    const bool taken = hps_run_lock_take(directory, &quick, &lock) == HPS_OK;

    *took = now() - written;
    if (taken) {
        hps_run_lock_release(&lock);
    }
    return taken;
}

static void elsewhere(void)
{
    double took;

    write_foreign("", 0);
    CHECK(taken_over(&took) && took >= quick.patience);
    write_foreign("", 3600);
    CHECK(taken_over(&took) && took >= 2 * quick.beat);
    write_foreign("", -3600); /* clocks that disagree: only standing still counts */
    CHECK(taken_over(&took) && took >= quick.patience);
    tap_case("where the host cannot be asked, a lock that is not touched is dead");

    write_foreign("", 3600);
    const pid_t child = fork();
    for (int i = 0; i < 1000 && child == 0; i++) {
        utimensat(AT_FDCWD, file_of_lock(), NULL, 0);
        nap(quick.beat);
    }
    if (child == 0) {
        _exit(0);
    }
    nap(2 * quick.beat);
    CHECK(!taken_over(&took));
    CHECK(strstr(hps_status_message(), "process 77 on elsewhere, since 2024-01-01T00:00:00Z") != NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    unlink(file_of_lock());
    tap_case("and one that is touched is held");
}

static void torn(void)
{
    double took;

    CHECK(hps_file_replace(file_of_lock(), "{", 1) == HPS_OK);
    CHECK(taken_over(&took) && took >= quick.patience);
    tap_case("a lock that was never written whole ends like any other");
}

static void requeued(void)
{
    double took;

    setenv("SLURM_JOB_ID", "12", 1);
    setenv("SLURM_RESTART_COUNT", "2", 1);
    setenv("SLURM_CLUSTER_NAME", "c", 1);
    write_foreign(", \"job\": \"12\", \"cluster\": \"c\", \"restarts\": 1", 0);
    CHECK(taken_over(&took) && took < quick.patience);
    write_foreign(", \"job\": \"12\", \"cluster\": \"other\", \"restarts\": 1", 0);
    CHECK(taken_over(&took) && took >= quick.patience);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
    unsetenv("SLURM_CLUSTER_NAME");
    tap_case("a job that was requeued takes its own lock over at once");
}

static void lost(void)
{
    hps_run_lock *lock;

    CHECK(hps_run_lock_take(directory, &quick, &lock) == HPS_OK);
    write_foreign("", 0);
    CHECK(hps_run_lock_check(lock) == HPS_EIO && strstr(hps_status_message(), "elsewhere") != NULL);
    hps_run_lock_release(&lock);
    CHECK(is_there());
    unlink(file_of_lock());
    tap_case("who lost the lock learns of it and leaves the other's alone");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    scratch_make(directory);
    one_at_a_time();
    killed_here();
    one_of_many();
    elsewhere();
    torn();
    requeued();
    lost();
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
