/*
 * How long a point of a sweep is expected to take, by the cost model (model/cost.h).
 */
#ifndef HPSAE_STUDY_SWEEP_COST_H
#define HPSAE_STUDY_SWEEP_COST_H

#include "sweep_schedule.h"

#include "hpsae/model/cost.h"
#include "hpsae/store/store.h"

/* What decides it; plain data, the same on every rank. */
typedef struct {
    hps_cost_case size; /* R, P and nodes are those that are asked about */
    int R;
    double steps;
    double passes;    /* forward passes over held-out rows, in batches */
    double max_cos;   /* multiply-adds of eval.max_cos, times 2 */
    uint64_t batches; /* the same for points that see the same batches, scaled alike */
} hps_sweep_size;

/* Local.  Of a point's configuration, resolved, on such a store. */
hps_sweep_size hps_sweep_size_of(const hps_config *config, const hps_store_info *info);

/*
 * Local.  Of `count` points, those of these numbers, one after another or at once, on at most so many ranks, of which a node holds per_node; ranks 0 when they are fewer than train.groups.  all: on as
 * many as can take part, also where fewer would be faster.
 */
hps_sweep_cost hps_sweep_cost_on(const hps_calibration *machine, const hps_sweep_size *size, int64_t count,
                                 const int64_t *number, int ranks, int per_node, bool all);

#endif
