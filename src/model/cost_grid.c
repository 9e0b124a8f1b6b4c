#include "hpsae/model/cost_grid.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    hps_grid_point *point; /* [count], by seconds */
    int count;
} list;

static int by_seconds(const void *a, const void *b)
{
    const hps_grid_point *x = a, *y = b;

    if (x->seconds != y->seconds) {
        return x->seconds < y->seconds ? -1 : 1;
    }
    return x->size.R != y->size.R ? x->size.R - y->size.R : x->size.P - y->size.P;
}

/* Every number of groups for so many ranks a node. */
static void add_groups(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space, int per_node,
                       list *all)
{
    const int64_t ranks = (int64_t)space->nodes * per_node;
    double seconds[HPS_PHASES];

    for (int64_t R = 1; R <= ranks && all->count < HPS_GRIDS; R++) {
        if (ranks % R != 0 || size->B % R != 0 || (space->groups > 0 && R != space->groups) || ranks / R > size->n) {
            continue;
        }
        hps_grid_point *point = &all->point[all->count++];
        *point = (hps_grid_point){.size = *size, .ranks_per_node = per_node};
        point->size.R = (int)R;
        point->size.P = (int)(ranks / R);
        point->size.threads = space->cores / per_node;
        point->size.nodes = space->nodes;
        point->seconds = hps_cost_predict(c, &point->size, seconds);
    }
}

bool hps_grid_fits(const hps_grid_space *space, const hps_grid_point *point)
{
    if (space->node_bytes <= 0) {
        return true;
    }
    const int64_t bytes = space->rank_bytes(space->context, &point->size);
    return bytes >= 0 && (double)bytes * point->ranks_per_node <= space->node_bytes;
}

static char *describe(const hps_grid_point *p, char text[96])
{
    snprintf(text, 96, "%d x %d ranks of %d thread%s", p->size.R, p->size.P, p->size.threads,
             p->size.threads == 1 ? "" : "s");
    return text;
}

/* The largest difference between two grids, by phase. */
static void compare(const hps_calibration *c, const hps_grid_point *best, const hps_grid_point *other, char text[128])
{
    double a[HPS_PHASES], b[HPS_PHASES];
    int most = 0;

    hps_cost_predict(c, &best->size, a);
    hps_cost_predict(c, &other->size, b);
    for (int p = 1; p < HPS_PHASES; p++) {
        most = b[p] - a[p] > b[most] - a[most] ? p : most;
    }
    snprintf(text, 128, "where %s takes %.3g s instead of %.3g", hps_phase_name((hps_phase)most), b[most], a[most]);
}

static void explain(const hps_calibration *c, const list *all, int best, char reason[HPS_REASON])
{
    char ruled_out[64] = "", next[96] = "", text[96], difference[128];
    const hps_grid_point *chosen = &all->point[best];
    int other = best + 1;

    while (other < all->count && all->point[other].size.R == chosen->size.R) {
        other++; /* another number of groups tells more than the same with other threads */
    }
    other = other < all->count ? other : best + 1;
    if (best > 0) {
        snprintf(ruled_out, sizeof(ruled_out), "; %d faster one%s would not fit in memory", best, best > 1 ? "s" : "");
    }
    if (other >= all->count) {
        snprintf(reason, HPS_REASON, "%s", all->count == 1 ? "the only one there is" : "the only one that fits");
        return;
    }
    compare(c, chosen, &all->point[other], difference);
    snprintf(next, sizeof(next), "%s", describe(&all->point[other], text));
    snprintf(reason, HPS_REASON, "fastest of %d: %.3g s a step; %s would take %.3g, %s%s", all->count, chosen->seconds,
             next, all->point[other].seconds, difference, ruled_out);
}

int hps_grid_list(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space,
                  hps_grid_point *points)
{
    list all = {.point = points};

    for (int per_node = 1; per_node <= space->cores; per_node++) {
        const int threads = space->cores / per_node;
        const bool wanted = space->ranks_per_node == 0 || per_node == space->ranks_per_node;
        if (space->cores % per_node == 0 && wanted && (space->most_threads == 0 || threads <= space->most_threads)) {
            add_groups(c, size, space, per_node, &all);
        }
    }
    qsort(points, (size_t)all.count, sizeof(*points), by_seconds);
    return all.count;
}

bool hps_grid_choose(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space,
                     hps_grid_point *best, char reason[HPS_REASON])
{
    list all = {.point = calloc(HPS_GRIDS, sizeof(*all.point))};
    int chosen = 0;

    all.count = all.point != NULL ? hps_grid_list(c, size, space, all.point) : 0;
    while (chosen < all.count && !hps_grid_fits(space, &all.point[chosen])) {
        chosen++;
    }
    const bool found = chosen < all.count;
    if (found) {
        *best = all.point[chosen];
        explain(c, &all, chosen, reason);
    }
    free(all.point);
    return found;
}
