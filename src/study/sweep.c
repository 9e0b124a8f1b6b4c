#include "hpsae/study/sweep.h"

#include "sweep_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/model/wish.h"

#include <string.h>

/* Ranks that take turns together; comm is owned, but the whole world's. */
typedef struct {
    MPI_Comm comm;
    int level, rank, size;
} group;

static void describe(group *g)
{
    HPS_MPI(MPI_Comm_rank(g->comm, &g->rank));
    HPS_MPI(MPI_Comm_size(g->comm, &g->size));
}

static void split(group *g, int color)
{
    MPI_Comm part;

    HPS_MPI(MPI_Comm_split(g->comm, color, g->rank, &part));
    HPS_MPI(MPI_Comm_free(&g->comm));
    g->comm = part;
    describe(g);
}

/* The group in which this rank begins. */
static group first_group(const hps_sweep_run *run)
{
    group g = {.comm = MPI_COMM_NULL};
    int color = 0;

    HPS_MPI(MPI_Comm_dup(run->world, &g.comm));
    describe(&g);
    while (hps_sweep_first(run->size, run->schedule.groups, color + 1) <= run->rank) {
        color++;
    }
    split(&g, color);
    return g;
}

/* On the group's rank 0.  Why no further turn should be taken; HPS_GO_ON if none. */
static hps_wish wish_now(hps_sweep_run *run)
{
    const hps_wish_sources sources = {
        .directory = run->config->output, .asked = hps_sweep_queue_asked, .context = &run->queue};

    return hps_wish_now(0, &sources, run->config->train.max_minutes, 0, 0);
}

/* On the group's rank 0.  The next turn; -1: none is left, or an end was asked for. */
static int64_t take_turn(hps_sweep_run *run)
{
    const hps_wish wish = run->stopped == HPS_OK ? wish_now(run) : HPS_GO_ON;

    if (wish > HPS_SAVE) {
        run->stopped = hps_fail(HPS_STOPPED, "stopped between two points: %s", hps_wish_words(wish));
        hps_sweep_queue_stop(&run->queue);
    }
    if (run->stopped != HPS_OK) {
        return -1;
    }
    const int64_t turn = hps_sweep_queue_next(&run->queue);
    return turn < run->schedule.count ? turn : -1;
}

/* Collective over the group: what its rank 0 says. */
static int64_t hear(const group *g, int64_t said)
{
    hps_sweep_meet(g->comm);
    HPS_MPI(MPI_Bcast(&said, 1, MPI_INT64_T, 0, g->comm));
    return said;
}

/*
 * Collective over the group.  The next turn of this rank's group, after that has parted into groups of the size that the
 * turn is meant for; -1: none.
 */
static int64_t next_turn(hps_sweep_run *run, group *g)
{
    int64_t turn = hear(g, g->rank == 0 ? take_turn(run) : 0);

    while (turn >= 0 && run->schedule.turn[turn].level > g->level) {
        const int half = hps_sweep_half(g->size);
        const bool second = g->rank >= half;
        g->level++;
        if (half == g->size) {
            continue;
        }
        split(g, second);
        if (second) {
            turn = hear(g, g->rank == 0 ? take_turn(run) : 0);
        }
    }
    return turn;
}

/* Collective over the group: its first `ranks` ranks take the turn, the others sleep meanwhile. */
static void run_turn(hps_sweep_run *run, const group *g, int64_t bundle, int ranks)
{
    MPI_Comm part = g->comm;

    if (ranks < g->size) {
        HPS_MPI(MPI_Comm_split(g->comm, g->rank < ranks ? 0 : MPI_UNDEFINED, g->rank, &part));
    }
    if (part != MPI_COMM_NULL) {
        hps_sweep_run_bundle(run, part, bundle, false);
    }
    if (part != MPI_COMM_NULL && ranks < g->size) {
        HPS_MPI(MPI_Comm_free(&part));
    }
    if (run->stopped != HPS_OK && g->rank == 0) {
        hps_sweep_queue_stop(&run->queue);
    }
    hps_sweep_meet(g->comm);
}

static void take_turns(hps_sweep_run *run)
{
    group g = first_group(run);
    const bool spoke = hps_log_let(g.rank == 0);
    int64_t turn;

    while ((turn = next_turn(run, &g)) >= 0) {
        const int64_t bundle = run->schedule.turn[turn].point;
        hps_log_let(g.rank == 0);
        run_turn(run, &g, bundle, hps_sweep_cost_of(run, bundle, g.size).ranks);
    }
    hps_log_let(spoke);
    HPS_MPI(MPI_Comm_free(&g.comm));
}

static void introduce(const hps_sweep_run *run)
{
    int64_t complete = 0, diverged = 0;
    char time[32];

    for (int64_t i = 0; i < run->points; i++) {
        complete += run->state[i] == HPS_POINT_COMPLETE;
        diverged += run->state[i] == HPS_POINT_DIVERGED;
    }
    hps_log("sweep", "%lld points: %lld complete, %lld diverged, %lld to train", (long long)run->points,
            (long long)complete, (long long)diverged, (long long)run->todos);
    if (run->todos > 0) {
        const hps_sweep_schedule *s = &run->schedule;
        hps_log("sweep", "%d ranks begin as %d group%s; expected %s, ranks idle %.1f %%, by %s figures", run->size,
                s->groups, s->groups == 1 ? "" : "s", hps_duration(s->seconds, time), 100 * s->idle,
                run->machine.assumed ? "assumed" : "measured");
    }
}

/* Collective over world.  What the groups did, on every rank. */
static void add_up(hps_sweep_run *run, double seconds)
{
    int64_t sums[] = {run->complete, run->failed};
    int worst[] = {(int)run->worst, (int)run->stopped};
    double busy = run->busy;
    char time[32];

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_INT64_T, MPI_SUM, run->world));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, worst, 2, MPI_INT, MPI_MAX, run->world));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &busy, 1, MPI_DOUBLE, MPI_SUM, run->world));
    run->complete = sums[0];
    run->failed = sums[1];
    run->worst = (hps_status)worst[0];
    run->stopped = (hps_status)worst[1];
    hps_log("sweep", "%lld points completed, %lld failed, in %s; ranks idle %.1f %% (expected %.1f)",
            (long long)run->complete, (long long)run->failed, hps_duration(seconds, time),
            seconds > 0 ? 100 * (1 - busy / (run->size * seconds)) : 0, 100 * run->schedule.idle);
}

/* Points that diverged before are failures of this call too: the table lacks them. */
static int64_t diverged_before(const hps_sweep_run *run)
{
    int64_t count = 0;

    for (int64_t i = 0; i < run->points; i++) {
        count += run->state[i] == HPS_POINT_DIVERGED && (run->options->point < 0 || run->options->point == i);
    }
    return count;
}

static hps_status verdict(const hps_sweep_run *run)
{
    const int64_t failed = run->failed + diverged_before(run), of = run->options->point < 0 ? run->points : 1;

    if (run->stopped != HPS_OK) {
        return hps_fail(HPS_STOPPED, "stopped early; the same command goes on from here");
    }
    if (failed > 0) {
        return hps_fail(run->failed > 0 ? run->worst : HPS_ENUMERIC,
                        "%lld of %lld points failed; %s/sweep.json says why", (long long)failed, (long long)of,
                        run->config->output);
    }
    return HPS_OK;
}

/* All points, by groups. */
static hps_status run_all(hps_sweep_run *run)
{
    const double begin = hps_elapsed();

    if (run->todos == 0) {
        hps_log("sweep", "nothing to do");
        return verdict(run);
    }
    hps_sweep_queue_create(run->world, &run->queue);
    take_turns(run);
    hps_sweep_meet(run->world);
    add_up(run, hps_elapsed() - begin);
    hps_sweep_queue_destroy(&run->queue);
    HPS_TRY(hps_share_status(run->world, run->rank == 0 ? hps_sweep_publish(run->config->output, NULL) : HPS_OK));
    if (run->stopped != HPS_OK && run->rank == 0) {
        const hps_wish_sources here = {.directory = run->config->output};
        hps_wish_obeyed(&here);
    }
    return verdict(run);
}

/* One point, by all ranks. */
static hps_status run_one(hps_sweep_run *run)
{
    hps_status status = HPS_OK;

    if (run->todos > 0) {
        status = hps_sweep_run_bundle(run, run->world, 0, true);
    }
    HPS_TRY(hps_share_status(run->world, run->rank == 0 ? hps_sweep_publish(run->config->output, NULL) : HPS_OK));
    return run->todos > 0 ? status : verdict(run);
}

static hps_status run_points(hps_sweep_run *run)
{
    hps_wish_listen();
    const hps_status status = run->options->point < 0 ? run_all(run) : run_one(run);
    hps_wish_restore();
    return status;
}

hps_status hps_study_sweep(MPI_Comm world, const hps_config *config, const hps_sweep_options *options)
{
    hps_sweep_run run = {.world = world, .config = config, .options = options};

    hps_status status = hps_sweep_prepare(&run);
    if (status == HPS_OK) {
        introduce(&run);
        if (options->dry_run) {
            status = hps_share_status(world, run.rank == 0 ? hps_sweep_list(&run) : HPS_OK);
            hps_log("sweep", "dry run: nothing was written");
        } else {
            status = run_points(&run);
        }
    }
    hps_sweep_release(&run);
    return status;
}
