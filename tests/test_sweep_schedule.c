/*
 * The schedule of a sweep holds every point once, on ranks that can run it; replayed by groups that take turns and part, it
 * ends when it says; with points that differ 32-fold in cost less than 15 % of the ranks' time is idle, from 1 to 512 ranks,
 * also where a point gains little from more ranks.
 *
 * ranks: 1
 */
#include "../src/study/sweep_schedule.h"
#include "hpsae/base/memory.h"
#include "tap.h"

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { POINTS_MAX = 512, RANKS_MAX = 512 };

/* Points of cost 1 to `spread`, evenly on a logarithmic scale, in an order that is none. */
typedef struct {
    int64_t count;
    double spread, serial; /* serial: share of the work of a smallest point that more ranks do not shorten */
    bool lone;             /* one point of the largest cost, all others of the smallest */
    int step;              /* ranks come in multiples of it (data groups) */
} costs;

static double work_of(const costs *c, int64_t i)
{
    const int64_t place = (i * 7 + 3) % c->count;

    if (c->lone) {
        return place == 0 ? c->spread : 1;
    }
    return c->count > 1 ? pow(c->spread, (double)place / (double)(c->count - 1)) : 1;
}

static hps_sweep_cost ask(void *context, int64_t i, int ranks)
{
    const costs *c = context;
    hps_sweep_cost best = {.ranks = 0};

    for (int m = ranks / c->step * c->step; m > 0; m = m / 2 / c->step * c->step) {
        const double seconds = work_of(c, i) / m + c->serial * (1 + 0.1 * m);
        if (best.ranks == 0 || seconds < best.seconds) {
            best = (hps_sweep_cost){seconds, m};
        }
    }
    return best;
}

/* Every rank by itself: when it is free, and which group it is in. */
typedef struct {
    double free[RANKS_MAX];
    int first[RANKS_MAX], end[RANKS_MAX], level[RANKS_MAX];
} ranks_state;

static int free_first(const ranks_state *s, int W)
{
    int best = 0;

    for (int r = 0; r < W; r++) {
        best = s->free[r] < s->free[best] ? r : best;
    }
    return s->first[best];
}

/* Makes [first, end) a group. */
static void regroup(ranks_state *s, int first, int end, int level)
{
    for (int r = first; r < end; r++) {
        s->first[r] = first;
        s->end[r] = end;
        s->level[r] = level;
    }
}

static void replay(const costs *c, int W, const hps_sweep_schedule *plan, double *end, double *busy)
{
    static ranks_state s;

    memset(&s, 0, sizeof(s));
    for (int g = 0; g < plan->groups; g++) {
        regroup(&s, hps_sweep_first(W, plan->groups, g), hps_sweep_first(W, plan->groups, g + 1), 0);
    }
    *end = *busy = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        const int first = free_first(&s, W);
        while (s.level[first] < plan->turn[i].level) {
            const int last = s.end[first], middle = first + hps_sweep_half(last - first), level = s.level[first] + 1;
            regroup(&s, first, middle, level);
            regroup(&s, middle, last, level);
        }
        const hps_sweep_cost cost = ask((void *)(uintptr_t)c, plan->turn[i].point, s.end[first] - first);
        CHECK(cost.ranks > 0);
        const double until = s.free[first] + cost.seconds;
        for (int r = first; r < s.end[first]; r++) {
            s.free[r] = until;
        }
        *busy += cost.ranks * cost.seconds;
        *end = until > *end ? until : *end;
    }
}

static int parted; /* schedules in which groups part */

static void check(const costs *c, int W, int fixed, double most_idle)
{
    bool seen[POINTS_MAX] = {false};
    hps_sweep_schedule plan;
    double end, busy;
    char name[128];

    CHECK(hps_sweep_schedule_make(W, c->count, fixed, ask, (void *)(uintptr_t)c, &plan) == HPS_OK);
    for (int64_t i = 0; i < plan.count; i++) {
        CHECK(!seen[plan.turn[i].point]);
        seen[plan.turn[i].point] = true;
        CHECK(i == 0 || plan.turn[i].level >= plan.turn[i - 1].level);
    }
    parted += plan.turn[plan.count - 1].level > 0;
    replay(c, W, &plan, &end, &busy);
    CHECK(plan.count == c->count && fabs(end - plan.seconds) <= 1e-9 * end);
    CHECK(fabs(plan.idle - (1 - busy / (W * end))) < 1e-9 && plan.idle <= most_idle);
    snprintf(name, sizeof(name), "%lld points on %d ranks%s: %d groups at first, %.1f %% idle", (long long)c->count, W,
             fixed > 0 ? ", group size given" : "", plan.groups, 100 * plan.idle);
    hps_sweep_schedule_release(&plan);
    tap_case(name);
}

int main(int argc, char **argv)
{
    static const int ranks[] = {1, 2, 3, 4, 6, 8, 16, 31, 64, 512};

    MPI_Init(&argc, &argv);
    for (size_t w = 0; w < sizeof(ranks) / sizeof(ranks[0]); w++) {
        const int W = ranks[w];
        check(&(costs){.count = 6, .spread = 32, .step = 1}, W, 0, 0.15);
        check(&(costs){.count = 20, .spread = 32, .step = 1}, W, 0, 0.15);
        check(&(costs){.count = 20, .spread = 32, .serial = 0.003, .step = 1}, W, 0, W < 100 ? 0.15 : 1);
        check(&(costs){.count = 512, .spread = 32, .serial = 0.05, .step = 1}, W, 0, W < 100 ? 0.15 : 1);
        check(&(costs){.count = 7, .spread = 32, .serial = 0.2, .step = 1}, W, 0, W < 10 ? 0.15 : 1);
        check(&(costs){.count = 33, .spread = 32, .serial = 0.05, .lone = true, .step = 1}, W, 0, W < 10 ? 0.15 : 1);
        check(&(costs){.count = 5, .spread = 1, .step = 1}, W, 0, 0.15);
        check(&(costs){.count = 1, .spread = 1, .step = 1}, W, 0, 0);
        check(&(costs){.count = 20, .spread = 32, .step = 1}, W, W > 1 ? W / 2 : 1, 1);
        if (W >= 3) {
            check(&(costs){.count = 20, .spread = 32, .step = 3}, W, 0, 1);
        }
    }
    CHECK(parted >= 5);
    tap_case("in some of them groups part");
    CHECK(hps_memory_arrays() == 0);
    tap_case("memory is given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
