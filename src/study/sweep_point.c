/* A bundle of points, mostly one: trained, evaluated and recorded by a group of ranks. */
#include "sweep_lock.h"
#include "sweep_parts.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/train.h"
#include "hpsae/study/eval.h"

#include <stdio.h>
#include <string.h>

static const double PUBLISH_SECONDS = 5; /* at least, between two tables by one rank; the last is made in any case */

/* A point while a group has it. */
typedef struct {
    int64_t number;
    hps_sweep_point point;
    int lock;
    FILE *log; /* on the group's rank 0 */
    int skips; /* it is complete already, or another process trains it */
} work;

typedef struct {
    hps_sweep_run *run;
    MPI_Comm group;
    int rank, ranks;
    work *work; /* [count] */
    int count;
    hps_train_member *member; /* [count] those that are not skipped, and their places in work */
    int *place;
    int members;
    bool alone;
    double begin;
} bundle;

/* On the group's rank 0.  The directory, the lock, and the log. */
static hps_status open_point(const bundle *b, work *w)
{
    char path[HPS_PATH_MAX];
    hps_point_state state;
    hps_lock_state locked;
    uint64_t hash;

    HPS_TRY(hps_directory_make(w->point.config->output));
    HPS_TRY(hps_path_join(w->point.config->output, "point.lock", path));
    HPS_TRY(hps_lock_take(path, false, &w->lock, &locked));
    HPS_TRY(hps_point_read(w->point.config->output, &state, &hash));
    w->skips = locked == HPS_LOCK_BUSY || state == HPS_POINT_COMPLETE;
    if (locked == HPS_LOCK_BUSY && b->alone) {
        return hps_fail(HPS_EIO, "%s: another process trains this point; leave it to that, or end it first",
                        w->point.config->output);
    }
    if (w->skips) {
        hps_log("sweep", "%s: %s", w->point.name,
                state == HPS_POINT_COMPLETE ? "was completed meanwhile" : "another process trains it");
        return HPS_OK;
    }
    HPS_TRY(hps_point_write(&w->point, HPS_POINT_RUNNING, NULL, 0, b->ranks));
    HPS_TRY(hps_path_join(w->point.config->output, "log.txt", path));
    w->log = fopen(path, "ae");
    return w->log != NULL ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be written", path);
}

static void close_point(work *w)
{
    if (w->log != NULL) {
        fclose(w->log);
        w->log = NULL;
    }
    hps_lock_release(&w->lock);
    hps_sweep_point_release(&w->point);
}

/* On the group's rank 0. */
static void tell(const bundle *b, const work *w, hps_status how, const char *words)
{
    char time[32];

    hps_duration(hps_elapsed() - b->begin, time);
    if (how == HPS_OK) {
        hps_log("sweep", "%s: complete on %d rank%s in %s", w->point.name, b->ranks, b->ranks == 1 ? "" : "s", time);
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

/* On the group's rank 0.  Ends the point as `how` says, in words of its failure. */
static hps_status record(const bundle *b, const work *w, hps_status how, const char *words)
{
    const hps_point_state state = how == HPS_OK         ? HPS_POINT_COMPLETE
                                  : how == HPS_STOPPED  ? HPS_POINT_WAITING
                                  : how == HPS_ENUMERIC ? HPS_POINT_DIVERGED
                                                        : HPS_POINT_FAILED;

    tell(b, w, how, words);
    return hps_point_write(&w->point, state, state >= HPS_POINT_FAILED ? words : NULL, b->run->cost[w->number].size.d,
                           b->ranks);
}

/* Collective over the group.  Records what came of a point, and counts it. */
static hps_status end_point(bundle *b, work *w, hps_status how)
{
    char words[HPS_MESSAGE_MAX];

    snprintf(words, sizeof(words), "%s", hps_status_message());
    const hps_status recorded = hps_share_status(b->group, b->rank == 0 ? record(b, w, how, words) : HPS_OK);
    const hps_status status = how != HPS_OK ? hps_fail(how, "%s", words) : recorded;
    if (b->rank == 0) {
        count(b->run, status);
    }
    return status;
}

static hps_status train(const bundle *b, int members, const hps_train_member *member)
{
    const hps_train_job job = {.argc = b->run->options->argc,
                               .argv = b->run->options->argv,
                               .threads_from = b->run->options->threads_from,
                               .ends = {.directory = b->alone ? member->config->output : b->run->config->output,
                                        .asked = b->alone ? NULL : hps_sweep_queue_asked,
                                        .context = &b->run->queue}};

    return hps_train(b->group, members, member, &job, NULL);
}

/* Collective over the group.  One member after the training, which `how` tells of: what is complete is evaluated. */
static hps_status finish_member(bundle *b, int m, hps_status how)
{
    work *w = &b->work[b->place[m]];

    hps_log_divert(w->log);
    if (how == HPS_OK) {
        how = hps_study_eval(b->group, w->point.config, false, false);
    }
    if (how == HPS_OK) {
        /* A kill between the last checkpoint and its pruning leaves what no later call would look at. */
        how = hps_checkpoint_prune(b->group, w->point.config->output, w->point.config->train.checkpoint.keep);
    }
    hps_log_divert(NULL);
    return end_point(b, w, how);
}

static hps_status larger(hps_status a, hps_status b)
{
    return a > b ? a : b;
}

/*
 * Collective over the group.  Trains the members at once.  When that fails it is not known whose fault it was, and each goes on
 * by itself from where it stands.
 */
static hps_status train_members(bundle *b)
{
    hps_status worst = HPS_OK;
    bool stopped = false;

    hps_log_divert(b->work[b->place[0]].log);
    const hps_status together = train(b, b->members, b->member);
    hps_log_divert(NULL);
    const bool apart = together > HPS_STOPPED && b->members > 1;
    for (int m = 0; m < b->members; m++) {
        hps_status how = together;
        if (apart && !stopped) {
            hps_log_divert(b->work[b->place[m]].log);
            how = train(b, 1, &b->member[m]);
            hps_log_divert(NULL);
        } else if (apart) {
            how = hps_fail(HPS_STOPPED, "stopped before it was gone on with");
        }
        stopped = stopped || how == HPS_STOPPED;
        worst = larger(worst, finish_member(b, m, how));
    }
    return worst;
}

/* Collective over the group.  Opens all points; those that cannot be opened have failed. */
static hps_status open_points(bundle *b)
{
    hps_status worst = HPS_OK;

    for (int i = 0; i < b->count; i++) {
        work *w = &b->work[i];
        hps_status status = hps_agree(b->group, hps_sweep_point_make(b->run->config, w->number, &w->point));
        if (status == HPS_OK) {
            status = hps_share_status(b->group, b->rank == 0 ? open_point(b, w) : HPS_OK);
            HPS_MPI(MPI_Bcast(&w->skips, 1, MPI_INT, 0, b->group));
        }
        if (status != HPS_OK && b->rank == 0) {
            hps_warn("sweep", "point %lld: %s", (long long)w->number, hps_status_message());
            count(b->run, status);
        } else if (status == HPS_OK && !w->skips) {
            b->place[b->members] = i;
            b->member[b->members++] = (hps_train_member){.config = w->point.config, .name = w->point.name};
        }
        worst = larger(worst, status);
    }
    return worst;
}

static hps_status allocate(bundle *b, const int64_t *number)
{
    HPS_TRY(HPS_ALLOC(&b->work, b->count, "points"));
    HPS_TRY(HPS_ALLOC(&b->member, b->count, "points"));
    HPS_TRY(HPS_ALLOC(&b->place, b->count, "points"));
    for (int i = 0; i < b->count; i++) {
        b->work[i] = (work){.number = number[i], .lock = -1};
    }
    return HPS_OK;
}

static void release(bundle *b)
{
    for (int i = 0; b->place != NULL && i < b->count; i++) {
        close_point(&b->work[i]);
    }
    HPS_FREE(&b->work);
    HPS_FREE(&b->member);
    HPS_FREE(&b->place);
}

static void publish_now_and_then(hps_sweep_run *run)
{
    const double now = hps_elapsed(), pause = PUBLISH_SECONDS + 20 * run->publishing;

    if (run->published > 0 && now - run->published < pause) {
        return;
    }
    if (hps_sweep_publish(run->config->output, NULL) != HPS_OK) {
        hps_warn("sweep", "%s", hps_status_message());
    }
    run->published = hps_elapsed();
    run->publishing = run->published - now;
}

hps_status hps_sweep_run_bundle(hps_sweep_run *run, MPI_Comm group, int64_t which, bool alone)
{
    const int64_t first = run->bundle[which];
    bundle b = {.run = run,
                .group = group,
                .count = (int)(run->bundle[which + 1] - first),
                .alone = alone,
                .begin = hps_elapsed()};
    char words[HPS_MESSAGE_MAX];

    HPS_MPI(MPI_Comm_rank(group, &b.rank));
    HPS_MPI(MPI_Comm_size(group, &b.ranks));
    hps_status status = hps_agree(group, allocate(&b, &run->todo[first]));
    if (status == HPS_OK) {
        status = open_points(&b);
    }
    if (b.members > 0) {
        status = larger(status, train_members(&b));
    }
    snprintf(words, sizeof(words), "%s", hps_status_message());
    release(&b);
    run->busy += hps_elapsed() - b.begin;
    if (b.rank == 0) {
        publish_now_and_then(run);
    }
    return status == HPS_OK ? HPS_OK : hps_fail(status, "%s", words);
}
