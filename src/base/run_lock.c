#include "hpsae/base/run_lock.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "lock_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const hps_run_lock_times hps_run_lock_usual = {.beat = 5, .patience = 60};

struct hps_run_lock {
    hps_run_lock_times times;
    hps_holder self;
    char path[HPS_PATH_MAX], mine[HPS_PATH_MAX + 64], takeover[HPS_PATH_MAX + 16];
    int file; /* ours, whatever stands at path */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t end;
    bool beating, ending;
};

/* The lock as another process left it. */
typedef struct {
    bool there;
    hps_holder holder; /* token "" where the file is not written yet */
    struct timespec touched;
} sight;

static double seconds(struct timespec time)
{
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double now_here(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return seconds(time);
}

static void nap(double length)
{
    const time_t whole = (time_t)length;
    const struct timespec time = {.tv_sec = whole, .tv_nsec = (long)(1e9 * (length - (double)whole))};

    nanosleep(&time, NULL);
}

/* Opened, not only asked for its status: NFS then shows the file as its server has it. */
static sight look(const char *path)
{
    char text[4096];
    struct stat about;
    sight seen = {.there = false};
    const int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file < 0) {
        return seen;
    }
    const ssize_t length = read(file, text, sizeof(text) - 1);
    if (fstat(file, &about) == 0) {
        seen.there = true;
        seen.touched = about.st_mtim;
        text[length < 0 ? 0 : length] = '\0';
        if (!hps_holder_parse(text, &seen.holder)) {
            seen.holder = (hps_holder){0};
        }
    }
    close(file);
    return seen;
}

static void *beat(void *argument)
{
    hps_run_lock *lock = argument;

    pthread_mutex_lock(&lock->mutex);
    while (!lock->ending) {
        struct timespec when;
        clock_gettime(CLOCK_REALTIME, &when);
        const double next = seconds(when) + lock->times.beat;
        when.tv_sec = (time_t)next;
        when.tv_nsec = (long)(1e9 * (next - (double)when.tv_sec));
        pthread_cond_timedwait(&lock->end, &lock->mutex, &when);
        futimens(lock->file, NULL);
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

/* Signals stay with the main thread.  Without a thread the lock counts as long as its process can be asked. */
static void start_beating(hps_run_lock *lock)
{
    sigset_t all, before;

    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->end, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lock->beating = pthread_create(&lock->thread, NULL, beat, lock) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_beating(hps_run_lock *lock)
{
    if (lock->beating) {
        pthread_mutex_lock(&lock->mutex);
        lock->ending = true;
        pthread_cond_signal(&lock->end);
        pthread_mutex_unlock(&lock->mutex);
        pthread_join(lock->thread, NULL);
    }
}

/* Writes our file beside the lock, and says when, by the clock of the file system. */
static hps_status prepare(hps_run_lock *lock, struct timespec *now)
{
    struct stat about;
    char *text = hps_holder_text(&lock->self);

    if (text == NULL) {
        return hps_fail(HPS_ENOMEM, "%s: no memory for it", lock->path);
    }
    const size_t length = strlen(text);
    lock->file = open(lock->mine, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    const bool written = lock->file >= 0 && write(lock->file, text, length) == (ssize_t)length &&
                         fsync(lock->file) == 0 && fstat(lock->file, &about) == 0;
    free(text);
    if (!written) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", lock->mine, strerror(errno));
    }
    *now = about.st_mtim;
    return HPS_OK;
}

static void withdraw(hps_run_lock *lock)
{
    if (lock->file >= 0) {
        close(lock->file);
        unlink(lock->mine);
    }
    lock->file = -1;
}

/* A name given to our file, which exists already or not, in one operation; where files have one name only, in two. */
static bool claim(hps_run_lock *lock)
{
    if (link(lock->mine, lock->path) == 0) {
        unlink(lock->mine);
        return true;
    }
    if (errno == EEXIST || errno == ENOENT) {
        return false;
    }
    const int file = open(lock->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0) {
        close(file);
        return rename(lock->mine, lock->path) == 0;
    }
    return false;
}

/*
 * Puts our file in place of a dead holder's.  Of several who would, the one that makes the file `lock.takeover`; who was
 * killed right then leaves it, and it counts no longer than a lock.
 */
static bool take_over(hps_run_lock *lock, const sight *dead, struct timespec now)
{
    const int guard = open(lock->takeover, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

    if (guard < 0) {
        const sight other = look(lock->takeover);
        if (other.there && seconds(now) - seconds(other.touched) > lock->times.patience) {
            unlink(lock->takeover);
        }
        return false;
    }
    close(guard);
    const sight still = look(lock->path);
    const bool taken = still.there && strcmp(still.holder.token, dead->holder.token) == 0 &&
                       seconds(still.touched) <= seconds(dead->touched) && rename(lock->mine, lock->path) == 0;
    unlink(lock->takeover);
    return taken;
}

static bool same_sight(const sight *a, const sight *b)
{
    return strcmp(a->holder.token, b->holder.token) == 0 && seconds(a->touched) <= seconds(b->touched) &&
           seconds(a->touched) >= seconds(b->touched);
}

/*
 * What is not known of the holder its file's time tells: a change, that it lives; none for `patience`, that it does not.
 * Where the file looks older than that already, two beats are enough; without them clocks that disagree would decide.
 */
static hps_holder_state judge(const hps_run_lock *lock, const sight *seen, const sight *first, double age,
                              double waited)
{
    const hps_holder_state state = hps_holder_ask(&seen->holder, &lock->self);
    const double wait = age > lock->times.patience ? 2 * lock->times.beat : lock->times.patience;

    if (state == HPS_HOLDER_ENDING) {
        return waited < lock->times.patience + lock->times.beat ? HPS_HOLDER_UNKNOWN : HPS_HOLDER_ALIVE;
    }
    if (state != HPS_HOLDER_UNKNOWN) {
        return state;
    }
    return !same_sight(seen, first) ? HPS_HOLDER_ALIVE : waited < wait ? HPS_HOLDER_UNKNOWN : HPS_HOLDER_DEAD;
}

/* One attempt: *taken, a refusal, or neither, and the caller waits. */
static hps_status attempt(hps_run_lock *lock, sight *first, double waited, bool *taken)
{
    struct timespec now = {0};

    HPS_TRY(prepare(lock, &now));
    *taken = claim(lock);
    if (*taken) {
        return HPS_OK;
    }
    const sight seen = look(lock->path);
    if (!seen.there) {
        return HPS_OK;
    }
    if (!first->there) {
        *first = seen;
    }
    const hps_holder_state state = judge(lock, &seen, first, seconds(now) - seconds(seen.touched), waited);
    if (state == HPS_HOLDER_ALIVE) {
        return hps_holder_refuse(lock->path, &seen.holder, &lock->self);
    }
    *taken = state == HPS_HOLDER_DEAD && take_over(lock, &seen, now);
    if (*taken) {
        hps_warn("run", "%s: taken over from process %lld on %s, which is gone", lock->path,
                 (long long)seen.holder.process, seen.holder.host);
    }
    return HPS_OK;
}

static hps_status take(hps_run_lock *lock)
{
    sight first = {.there = false};
    bool taken = false, said = false;
    const double start = now_here();

    for (;;) {
        const hps_status status = attempt(lock, &first, now_here() - start, &taken);
        if (status != HPS_OK || !taken) {
            withdraw(lock);
        }
        if (status != HPS_OK || taken) {
            return status;
        }
        if (!said && first.there) {
            hps_log("run", "%s: of process %lld on %s; watching whether it lives", lock->path,
                    (long long)first.holder.process, first.holder.host);
            said = true;
        }
        nap(lock->times.beat / 4);
    }
}

hps_status hps_run_lock_take(const char *directory, const hps_run_lock_times *times, hps_run_lock **lock)
{
    HPS_TRY(HPS_ALLOC(lock, 1, "lock"));
    hps_run_lock *l = *lock;
    l->times = *times;
    l->file = -1;
    hps_holder_self(&l->self);
    hps_status status = hps_path_join(directory, "lock", l->path);
    if (status == HPS_OK) {
        snprintf(l->mine, sizeof(l->mine), "%s.%.40s-%lld", l->path, l->self.host, (long long)l->self.process);
        snprintf(l->takeover, sizeof(l->takeover), "%s.takeover", l->path);
        status = take(l);
    }
    if (status != HPS_OK) {
        HPS_FREE(lock);
        return status;
    }
    start_beating(l);
    return HPS_OK;
}

hps_status hps_run_lock_check(const hps_run_lock *lock)
{
    const sight seen = look(lock->path);

    if (!seen.there || strcmp(seen.holder.token, lock->self.token) == 0) {
        return HPS_OK;
    }
    return hps_fail(HPS_EIO,
                    "%s: taken over by process %lld on %s, since %s, while this run seemed dead; it writes no more",
                    lock->path, (long long)seen.holder.process, seen.holder.host, seen.holder.since);
}

void hps_run_lock_release(hps_run_lock **lock)
{
    if (*lock == NULL) {
        return;
    }
    stop_beating(*lock);
    if (hps_run_lock_check(*lock) == HPS_OK) {
        unlink((*lock)->path);
    }
    close((*lock)->file);
    HPS_FREE(lock);
}
