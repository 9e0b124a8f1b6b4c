/* One point: trained, evaluated and recorded by a group of ranks. */
#include "sweep_lock.h"
#include "sweep_parts.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/model/train.h"
#include "hpsae/study/eval.h"

#include <stdio.h>
#include <string.h>

static const double PUBLISH_SECONDS = 5; /* at least, between two tables by one rank; the last is made in any case */

typedef struct {
    hps_sweep_run *run;
    MPI_Comm group;
    int64_t number;
    int rank, ranks;
    hps_sweep_point point;
    int lock;
    FILE *log;
    bool skips; /* it is complete already, or another process trains it */
    bool alone;
} work;

/* On the group's rank 0.  The directory, the lock, and the log. */
static hps_status open_point(work *w)
{
    char path[HPS_PATH_MAX];
    hps_point_state state;
    hps_lock_state locked;
    uint64_t hash;

    HPS_TRY(hps_directory_make(w->point.config->output));
    HPS_TRY(hps_path_join(w->point.config->output, "lock", path));
    HPS_TRY(hps_lock_take(path, false, &w->lock, &locked));
    HPS_TRY(hps_point_read(w->point.config->output, &state, &hash));
    w->skips = locked == HPS_LOCK_BUSY || state == HPS_POINT_COMPLETE;
    if (locked == HPS_LOCK_BUSY && w->alone) {
        return hps_fail(HPS_EIO, "%s: another process trains this point; leave it to that, or end it first",
                        w->point.config->output);
    }
    if (w->skips) {
        hps_log("sweep", "%s: %s", w->point.name,
                state == HPS_POINT_COMPLETE ? "was completed meanwhile" : "another process trains it");
        return HPS_OK;
    }
    HPS_TRY(hps_point_write(&w->point, HPS_POINT_RUNNING, NULL, 0, w->ranks));
    HPS_TRY(hps_path_join(w->point.config->output, "log.txt", path));
    w->log = fopen(path, "ae");
    return w->log != NULL ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be written", path);
}

static hps_status train_and_evaluate(work *w)
{
    const hps_train_member member = {.config = w->point.config, .name = "train"};
    const hps_train_job job = {.argc = w->run->options->argc,
                               .argv = w->run->options->argv,
                               .ends = {.directory = w->alone ? w->point.config->output : w->run->config->output,
                                        .asked = w->alone ? NULL : hps_sweep_queue_asked,
                                        .context = &w->run->queue}};

    HPS_TRY(hps_train(w->group, 1, &member, &job, NULL));
    return hps_study_eval(w->group, w->point.config, false, false);
}

/* On the group's rank 0. */
static void tell(const work *w, hps_status how, const char *words, double seconds)
{
    char time[32];

    hps_duration(seconds, time);
    if (how == HPS_OK) {
        hps_log("sweep", "%s: complete on %d rank%s in %s", w->point.name, w->ranks, w->ranks == 1 ? "" : "s", time);
    } else if (how == HPS_STOPPED) {
        hps_log("sweep", "%s: %s", w->point.name, words);
    } else {
        hps_warn("sweep", "%s: failed: %s", w->point.name, words);
    }
}

static void count(hps_sweep_run *run, hps_status how)
{
    if (how == HPS_OK) {
        run->complete++;
    } else if (how == HPS_STOPPED) {
        run->stopped = HPS_STOPPED;
    } else {
        run->failed++;
        run->worst = how > run->worst ? how : run->worst;
    }
}

/* On the group's rank 0.  Ends the point as `how` says; the words are those of its failure. */
static hps_status record(work *w, hps_status how, const char *words, double seconds)
{
    const hps_point_state state = how == HPS_OK         ? HPS_POINT_COMPLETE
                                  : how == HPS_STOPPED  ? HPS_POINT_WAITING
                                  : how == HPS_ENUMERIC ? HPS_POINT_DIVERGED
                                                        : HPS_POINT_FAILED;

    tell(w, how, words, seconds);
    const int64_t d = w->run->cost[w->number].size.d;
    return hps_point_write(&w->point, state, state >= HPS_POINT_FAILED ? words : NULL, d, w->ranks);
}

static hps_status publish_now_and_then(hps_sweep_run *run)
{
    const double now = hps_elapsed(), pause = PUBLISH_SECONDS + 20 * run->publishing;

    if (run->published > 0 && now - run->published < pause) {
        return HPS_OK;
    }
    const hps_status status = hps_sweep_publish(run->config->output, NULL);
    run->published = hps_elapsed();
    run->publishing = run->published - now;
    return status;
}

/* Collective over the group, on a point that is open. */
static hps_status work_on(work *w)
{
    char words[HPS_MESSAGE_MAX];
    const double begin = hps_elapsed();

    hps_log_divert(w->log);
    const hps_status how = train_and_evaluate(w);
    hps_log_divert(NULL);
    snprintf(words, sizeof(words), "%s", hps_status_message());
    const hps_status recorded =
        hps_share_status(w->group, w->rank == 0 ? record(w, how, words, hps_elapsed() - begin) : HPS_OK);
    if (how != HPS_OK) {
        return hps_fail(how, "%s", words);
    }
    return recorded;
}

static void close_point(work *w)
{
    if (w->log != NULL) {
        fclose(w->log);
    }
    hps_lock_release(&w->lock);
    hps_sweep_point_release(&w->point);
}

hps_status hps_sweep_run_point(hps_sweep_run *run, MPI_Comm group, int64_t number, bool alone)
{
    work w = {.run = run, .group = group, .number = number, .lock = -1, .alone = alone};
    const double begin = hps_elapsed();

    HPS_MPI(MPI_Comm_rank(group, &w.rank));
    HPS_MPI(MPI_Comm_size(group, &w.ranks));
    hps_status status = hps_agree(group, hps_sweep_point_make(run->config, number, &w.point));
    if (status == HPS_OK) {
        status = hps_share_status(group, w.rank == 0 ? open_point(&w) : HPS_OK);
    }
    int skips = w.skips;
    HPS_MPI(MPI_Bcast(&skips, 1, MPI_INT, 0, group));
    if (status == HPS_OK && !skips) {
        status = work_on(&w);
    }
    close_point(&w);
    run->busy += hps_elapsed() - begin;
    if (w.rank == 0 && !skips) {
        count(run, status);
        const hps_status published = publish_now_and_then(run);
        if (published != HPS_OK) {
            hps_warn("sweep", "%s", hps_status_message());
        }
    }
    run->skipped += w.rank == 0 && skips;
    return status;
}
