#include "sweep_parts.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/groups_choice.h"

#include <inttypes.h>
#include <string.h>

static const char *const words[] = {[HPS_POINT_WAITING] = "waiting",
                                    [HPS_POINT_RUNNING] = "waiting",
                                    [HPS_POINT_COMPLETE] = "complete",
                                    [HPS_POINT_FAILED] = "failed",
                                    [HPS_POINT_DIVERGED] = "diverged"};

hps_sweep_cost hps_sweep_cost_of(void *context, int64_t bundle, int ranks)
{
    const hps_sweep_run *run = context;
    const int64_t first = run->bundle[bundle];

    return hps_sweep_cost_on(&run->machine, run->cost, run->bundle[bundle + 1] - first, &run->todo[first], ranks,
                             run->per_node, run->config->sweep.ranks != HPS_AUTO_INT || run->options->point >= 0);
}

static bool same_store(const hps_config *a, const hps_config *b)
{
    bool same = a->data.store.count == b->data.store.count && strcmp(a->data.hook, b->data.hook) == 0;

    for (int64_t i = 0; same && i < a->data.store.count; i++) {
        same = strcmp(a->data.store.items[i], b->data.store.items[i]) == 0;
    }
    return same;
}

/* Opens the point's store, unless the one before has the same. */
static hps_status open_store(const hps_sweep_point *point, hps_config **last, hps_store **store)
{
    const hps_config *c = point->config;

    if (*last != NULL && same_store(*last, c)) {
        return HPS_OK;
    }
    hps_store_close(store);
    hps_config_destroy(last);
    HPS_TRY(hps_config_copy(c, last));
    return hps_sweep_point_blame(
        point, hps_store_open(MPI_COMM_NULL, c->data.store.count, c->data.store.items, c->data.hook, store));
}

/* A point that was trained with other values is not the one that is asked for. */
static hps_status check_hash(const hps_sweep_point *point, uint64_t there)
{
    const char *output = point->config->output;
    hps_config *other = NULL;
    char path[HPS_PATH_MAX], text[512];

    if (there == hps_config_hash(point->config)) {
        return HPS_OK;
    }
    HPS_TRY(hps_path_join(output, "used.yaml", path));
    const bool known = hps_config_read(MPI_COMM_NULL, "", path, 0, NULL, &other) == HPS_OK &&
                       hps_config_difference(point->config, other, text, sizeof(text));
    hps_config_destroy(&other);
    return hps_fail(
        HPS_ECONFIG,
        "%s: was trained with another configuration (%s); give it back its values, or choose another output", output,
        known ? text : "its used.yaml does not say in what");
}

/* On rank 0.  State, cost and entry in sweep.json of one point. */
static hps_status look_at(hps_sweep_run *run, const hps_sweep_point *point, int64_t i, const hps_store_info *info,
                          json_t *entries)
{
    hps_config *c = point->config;
    hps_point_state state;
    uint64_t hash;

    HPS_TRY(hps_config_resolve(c, info->d, info->hook));
    HPS_TRY(hps_point_read(c->output, &state, &hash));
    if (state == HPS_POINT_COMPLETE) {
        HPS_TRY(check_hash(point, hash));
    }
    run->state[i] = (unsigned char)state;
    run->cost[i] = hps_sweep_size_of(c, info);
    if (c->train.groups > run->size) {
        return hps_sweep_point_blame(
            point,
            hps_config_fail(c, "train.groups", "%lld, but there are %d ranks; allowed: at most that, or more ranks",
                            (long long)c->train.groups, run->size));
    }
    json_array_append_new(entries, json_pack("{s:s,s:o,s:s,s:n}", "name", point->name, "set", hps_point_set(point),
                                             "status", "waiting", "reason"));
    return HPS_OK;
}

static hps_status look_at_all(hps_sweep_run *run, json_t *entries)
{
    hps_config *last = NULL;
    hps_store *store = NULL;
    hps_status status = HPS_OK;

    for (int64_t i = 0; i < run->points && status == HPS_OK; i++) {
        hps_sweep_point point;
        status = hps_sweep_point_make(run->config, i, &point);
        if (status == HPS_OK) {
            status = open_store(&point, &last, &store);
            status = status == HPS_OK ? look_at(run, &point, i, hps_store_about(store), entries) : status;
            hps_sweep_point_release(&point);
        }
    }
    hps_store_close(&store);
    hps_config_destroy(&last);
    return status;
}

/* On rank 0. */
static hps_status find_points(hps_sweep_run *run)
{
    json_t *entries = json_array();

    hps_status status = hps_calibration_for(run->config, true, &run->machine);
    if (status == HPS_OK) {
        status = look_at_all(run, entries);
    }
    if (status == HPS_OK && !run->options->dry_run) {
        status = hps_directory_make(run->config->output);
        status = status == HPS_OK ? hps_sweep_publish(run->config->output, entries) : status;
    }
    json_decref(entries);
    return status;
}

static hps_status allocate(hps_sweep_run *run)
{
    HPS_TRY(HPS_ALLOC(&run->state, run->points, "points of the sweep"));
    HPS_TRY(HPS_ALLOC(&run->cost, run->points, "points of the sweep"));
    HPS_TRY(HPS_ALLOC(&run->bundle, run->points + 1, "points of the sweep"));
    return HPS_ALLOC(&run->todo, run->points, "points of the sweep");
}

/* What rank 0 found, on every rank. */
static void share(hps_sweep_run *run)
{
    hps_cost_measurement *measured = run->machine.measured;

    HPS_MPI(MPI_Bcast(run->state, hps_count(run->points), MPI_BYTE, 0, run->world));
    HPS_MPI(MPI_Bcast(run->cost, hps_count(run->points * (int64_t)sizeof(*run->cost)), MPI_BYTE, 0, run->world));
    HPS_MPI(MPI_Bcast(&run->machine, sizeof(run->machine), MPI_BYTE, 0, run->world));
    run->machine.measured = measured; /* which the prediction does not need */
}

static void choose_points(hps_sweep_run *run)
{
    for (int64_t i = 0; i < run->points; i++) {
        const bool done = run->state[i] == HPS_POINT_COMPLETE || run->state[i] == HPS_POINT_DIVERGED;
        if (!done && (run->options->point < 0 || run->options->point == i)) {
            run->todo[run->todos++] = i;
        }
    }
}

/*
 * Points of the same batches, as many as go together, in the order of the first of each.  `taken` is 0 for every point of
 * todo; on the end run->todo is in the order of the bundles.
 */
static void make_bundles(hps_sweep_run *run, int64_t *order, unsigned char *taken)
{
    int64_t placed = 0;

    for (int64_t i = 0; i < run->todos; i++) {
        int64_t room = taken[i] ? 0 : run->config->sweep.together;
        if (room > 0) {
            run->bundle[run->bundles++] = placed;
        }
        for (int64_t j = i; j < run->todos && room > 0; j++) {
            if (!taken[j] && run->cost[run->todo[j]].batches == run->cost[run->todo[i]].batches) {
                taken[j] = 1;
                order[placed++] = run->todo[j];
                room--;
            }
        }
    }
    run->bundle[run->bundles] = placed;
    memcpy(run->todo, order, (size_t)run->todos * sizeof(*order));
}

static hps_status bundle_points(hps_sweep_run *run)
{
    unsigned char *taken = NULL;
    int64_t *order = NULL;

    hps_status status = HPS_ALLOC(&taken, run->todos, "points of the sweep");
    status = status == HPS_OK ? HPS_ALLOC(&order, run->todos, "points of the sweep") : status;
    if (status == HPS_OK) {
        make_bundles(run, order, taken);
    }
    HPS_FREE(&taken);
    HPS_FREE(&order);
    return status;
}

static void count_ranks_of_a_node(hps_sweep_run *run)
{
    MPI_Comm host;

    HPS_MPI(MPI_Comm_split_type(run->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host));
    HPS_MPI(MPI_Comm_size(host, &run->per_node));
    HPS_MPI(MPI_Comm_free(&host));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &run->per_node, 1, MPI_INT, MPI_MAX, run->world));
}

/* Ranks of a group as asked for; 0: not said. */
static int group_ranks(const hps_sweep_run *run)
{
    const int64_t fixed = run->options->point >= 0 ? run->size : run->config->sweep.ranks;

    return fixed == HPS_AUTO_INT ? 0 : fixed < run->size ? (int)fixed : run->size;
}

hps_status hps_sweep_prepare(hps_sweep_run *run)
{
    HPS_MPI(MPI_Comm_rank(run->world, &run->rank));
    HPS_MPI(MPI_Comm_size(run->world, &run->size));
    run->points = hps_sweep_points(run->config);
    if (run->options->point >= run->points) {
        return hps_fail(HPS_EARG, "--point %lld: the sweep has %lld points; allowed: 0 to %lld",
                        (long long)run->options->point, (long long)run->points, (long long)run->points - 1);
    }
    count_ranks_of_a_node(run);
    HPS_TRY(hps_agree(run->world, allocate(run)));
    HPS_TRY(hps_share_status(run->world, run->rank == 0 ? find_points(run) : HPS_OK));
    share(run);
    choose_points(run);
    HPS_TRY(hps_agree(run->world, bundle_points(run)));
    return hps_agree(run->world, hps_sweep_schedule_make(run->size, run->bundles, group_ranks(run), hps_sweep_cost_of,
                                                         run, &run->schedule));
}

void hps_sweep_release(hps_sweep_run *run)
{
    hps_sweep_schedule_release(&run->schedule);
    hps_calibration_release(&run->machine);
    HPS_FREE(&run->state);
    HPS_FREE(&run->cost);
    HPS_FREE(&run->todo);
    HPS_FREE(&run->bundle);
}

hps_status hps_sweep_list(const hps_sweep_run *run)
{
    int64_t *turn = NULL; /* of each point, from 1 */
    char time[32];

    HPS_TRY(HPS_ALLOC(&turn, run->points, "points of the sweep"));
    for (int64_t i = 0; i < run->schedule.count; i++) {
        const int64_t bundle = run->schedule.turn[i].point;
        for (int64_t j = run->bundle[bundle]; j < run->bundle[bundle + 1]; j++) {
            turn[run->todo[j]] = i + 1;
        }
    }
    hps_status status = HPS_OK;
    for (int64_t i = 0; i < run->points && status == HPS_OK; i++) {
        hps_sweep_point point;
        status = hps_sweep_point_make(run->config, i, &point);
        if (status == HPS_OK && turn[i] > 0) {
            const hps_sweep_turn *t = &run->schedule.turn[turn[i] - 1];
            const int64_t with = run->bundle[t->point + 1] - run->bundle[t->point] - 1;
            char others[48] = "";
            snprintf(others, sizeof(others), with > 0 ? " with %lld other%s" : "", (long long)with,
                     with == 1 ? "" : "s");
            hps_log("sweep", "%6lld  %s: %s, %d rank%s, %s%s", (long long)i, point.name, words[run->state[i]], t->ranks,
                    t->ranks == 1 ? "" : "s", hps_duration(t->cost, time), others);
        } else if (status == HPS_OK) {
            hps_log("sweep", "%6lld  %s: %s", (long long)i, point.name, words[run->state[i]]);
        }
        hps_sweep_point_release(&point);
    }
    HPS_FREE(&turn);
    return status;
}
