/*
 * Which ranks train which points of a sweep, and in what order: known before the start, but for when each ends.
 *
 * The ranks start as some groups.  A group that is free takes the next point of one queue; when that point is meant for
 * fewer ranks, the group first parts into halves, of which the first takes the point and the second goes to the queue for
 * itself.  The queue is sorted by the ranks that points are meant for, then by cost, the largest first, so that groups only
 * ever part and small points fill the gaps at the end.
 */
#ifndef HPSAE_STUDY_SWEEP_SCHEDULE_H
#define HPSAE_STUDY_SWEEP_SCHEDULE_H

#include "hpsae/base/status.h"

#include <stdint.h>

/* How long a training is expected to take on some ranks, and on how many of them it is best run. */
typedef struct {
    double seconds;
    int ranks; /* the most that are of use, at most those asked about; 0: cannot run on so few */
} hps_sweep_cost;

typedef hps_sweep_cost (*hps_sweep_ask)(void *context, int64_t point, int ranks);

/* A place in the queue. */
typedef struct {
    int64_t point;
    int level;   /* how often the first groups have parted before it is taken */
    int ranks;   /* of the group that is expected to take it, less those that are of no use */
    double cost; /* expected seconds */
} hps_sweep_turn;

typedef struct {
    int groups;           /* at the start */
    hps_sweep_turn *turn; /* [count]; owned (hps_alloc) */
    int64_t count;
    double seconds; /* expected, of all */
    double idle;    /* expected share of the rank-seconds in which a rank has nothing to do */
} hps_sweep_schedule;

/*
 * Local.  The schedule for `count` points on W ranks that is expected to end first: of several first groups, and several
 * thresholds of the time that a point may take before it is given more ranks.  fixed > 0: groups of that many ranks, or as near
 * as they come.  Every point must be able to run on W ranks.  HPS_ENOMEM.  Release with hps_sweep_schedule_release.
 */
hps_status hps_sweep_schedule_make(int W, int64_t count, int fixed, hps_sweep_ask ask, void *context,
                                   hps_sweep_schedule *schedule);
void hps_sweep_schedule_release(hps_sweep_schedule *schedule);

/* Local.  First rank of group g of `groups` of W; that of g + 1 is its end. */
static inline int hps_sweep_first(int W, int groups, int g)
{
    return (int)((int64_t)W * g / groups);
}

/* Local.  Ranks of the first half of a group that parts. */
static inline int hps_sweep_half(int ranks)
{
    return (ranks + 1) / 2;
}

#endif
