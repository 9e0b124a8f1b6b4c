#include "sweep_schedule.h"

#include "hpsae/base/memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS_MAX = 32, SIZES_MAX = 2 * LEVELS_MAX, GROUPS_TRIED = 64 };

/* A group of ranks in the simulation. */
typedef struct {
    double free; /* when it is */
    int ranks, level, first;
} group;

/* The groups, as a heap: the one that is free first, of those the one of the lowest ranks, at the root. */
typedef struct {
    group *group; /* [W] */
    int count;
} heap;

typedef struct {
    int W;
    int64_t count;
    hps_sweep_ask ask;
    void *context;
    double *alone; /* [count] expected rank-seconds on as few ranks as can be: what points are sorted by */
    heap all;
    hps_sweep_schedule *best;
    hps_sweep_turn *turn; /* [count] of the schedule that is looked at */
} search;

static bool before(const group *a, const group *b)
{
    return a->free != b->free ? a->free < b->free : a->first < b->first;
}

static void push(heap *h, group g)
{
    int i = h->count++;

    for (; i > 0 && before(&g, &h->group[(i - 1) / 2]); i = (i - 1) / 2) {
        h->group[i] = h->group[(i - 1) / 2];
    }
    h->group[i] = g;
}

static group pop(heap *h)
{
    const group root = h->group[0], last = h->group[--h->count];
    int i = 0;

    for (int child = 1; child < h->count; child = 2 * i + 1) {
        if (child + 1 < h->count && before(&h->group[child + 1], &h->group[child])) {
            child++;
        }
        if (!before(&h->group[child], &last)) {
            break;
        }
        h->group[i] = h->group[child];
        i = child;
    }
    h->group[i] = last;
    return root;
}

/* Rank-seconds spent; when the last group is done in *end. */
static double simulate(search *s, int groups, double *end)
{
    double busy = 0;

    s->all.count = 0;
    *end = 0;
    for (int g = 0; g < groups; g++) {
        const int first = hps_sweep_first(s->W, groups, g);
        push(&s->all, (group){.ranks = hps_sweep_first(s->W, groups, g + 1) - first, .first = first});
    }
    for (int64_t i = 0; i < s->count; i++) {
        hps_sweep_turn *turn = &s->turn[i];
        group g = pop(&s->all);
        for (; g.level < turn->level; g.level++) {
            const int half = hps_sweep_half(g.ranks);
            if (half < g.ranks) {
                push(&s->all, (group){g.free, g.ranks - half, g.level + 1, g.first + half});
            }
            g.ranks = half;
        }
        const hps_sweep_cost cost = s->ask(s->context, turn->point, g.ranks);
        turn->ranks = cost.ranks;
        turn->cost = cost.seconds;
        busy += cost.ranks * cost.seconds;
        g.free += cost.seconds;
        *end = g.free > *end ? g.free : *end;
        push(&s->all, g);
    }
    return busy;
}

static int by_level_and_cost(const void *a, const void *b)
{
    const hps_sweep_turn *x = a, *y = b;

    if (x->level != y->level) {
        return x->level - y->level;
    }
    if (x->cost != y->cost) {
        return x->cost > y->cost ? -1 : 1;
    }
    return x->point < y->point ? -1 : 1;
}

/* Keeps the schedule if it ends earlier; one that ends as early must take fewer rank-seconds. */
static void consider(search *s, int groups, double *least)
{
    double end;

    for (int64_t i = 0; i < s->count; i++) {
        s->turn[i].cost = s->alone[s->turn[i].point];
    }
    qsort(s->turn, (size_t)s->count, sizeof(*s->turn), by_level_and_cost);
    const double busy = simulate(s, groups, &end), score = end + 1e-3 * busy / s->W;
    if (score < *least) {
        *least = score;
        s->best->groups = groups;
        s->best->seconds = end;
        s->best->idle = end > 0 ? fmax(0, 1 - busy / (s->W * end)) : 0; /* sums round */
        memcpy(s->best->turn, s->turn, (size_t)s->count * sizeof(*s->turn));
    }
}

/* The smallest rank count of a group after `level` partings of the smallest first group. */
static int least_ranks(int W, int groups, int level)
{
    int ranks = W / groups;

    while (level-- > 0) {
        ranks = ranks > 1 ? ranks / 2 : 1;
    }
    return ranks;
}

/* Every point on as few ranks as let it end within `most` seconds, and as can run it. */
static void assign(search *s, int groups, double most)
{
    for (int64_t i = 0; i < s->count; i++) {
        int level = 0;
        s->turn[i] = (hps_sweep_turn){.point = i};
        while (level < LEVELS_MAX && least_ranks(s->W, groups, level) > 1) {
            const hps_sweep_cost cost = s->ask(s->context, i, least_ranks(s->W, groups, level + 1));
            if (cost.ranks == 0 || cost.seconds > most) {
                break;
            }
            level++;
        }
        s->turn[i].level = level;
    }
}

/* Whether groups that do not part can run all points. */
static bool can_run(const search *s, int groups)
{
    bool can = true;

    for (int64_t i = 0; i < s->count && can; i++) {
        can = s->ask(s->context, i, s->W / groups).ranks > 0;
    }
    return can;
}

static void try_all(search *s, int fixed)
{
    const int few = s->W < GROUPS_TRIED ? s->W : GROUPS_TRIED;
    double least = INFINITY, total = 0;

    for (int64_t i = 0; i < s->count; i++) {
        total += s->alone[i];
    }
    if (fixed > 0) {
        int groups = s->W / fixed > 1 ? s->W / fixed : 1;
        while (groups > 1 && !can_run(s, groups)) {
            groups--;
        }
        assign(s, groups, -1);
        consider(s, groups, &least);
        return;
    }
    for (int groups = 1; groups <= few; groups++) {
        if (can_run(s, groups)) {
            assign(s, groups, -1);
            consider(s, groups, &least);
        }
    }
    for (int half = -14; half <= 6; half++) {
        assign(s, 1, pow(2, 0.5 * half) * total / s->W);
        consider(s, 1, &least);
    }
}

/* On as few ranks as can run it. */
static double rank_seconds_alone(const search *s, int64_t i)
{
    for (int ranks = 1; ranks < s->W; ranks *= 2) {
        const hps_sweep_cost cost = s->ask(s->context, i, ranks);
        if (cost.ranks > 0) {
            return cost.ranks * cost.seconds;
        }
    }
    const hps_sweep_cost cost = s->ask(s->context, i, s->W);
    return cost.ranks * cost.seconds;
}

hps_status hps_sweep_schedule_make(int W, int64_t count, int fixed, hps_sweep_ask ask, void *context,
                                   hps_sweep_schedule *schedule)
{
    search s = {.W = W, .count = count, .ask = ask, .context = context, .best = schedule};

    *schedule = (hps_sweep_schedule){.groups = 1, .count = count};
    hps_status status = HPS_ALLOC(&schedule->turn, count, "schedule");
    status = status == HPS_OK ? HPS_ALLOC(&s.turn, count, "schedule") : status;
    status = status == HPS_OK ? HPS_ALLOC(&s.alone, count, "schedule") : status;
    status = status == HPS_OK ? HPS_ALLOC(&s.all.group, W + 1, "schedule") : status;
    if (status == HPS_OK) {
        for (int64_t i = 0; i < count; i++) {
            s.alone[i] = rank_seconds_alone(&s, i);
        }
        try_all(&s, fixed);
    }
    HPS_FREE(&s.turn);
    HPS_FREE(&s.alone);
    HPS_FREE(&s.all.group);
    return status;
}

void hps_sweep_schedule_release(hps_sweep_schedule *schedule)
{
    HPS_FREE(&schedule->turn);
    schedule->count = 0;
}
