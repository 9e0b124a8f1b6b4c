/*
 * The grid for an allocation: of all ways to cut nodes x cores into R data groups of P ranks with some threads, the one
 * whose step the cost model predicts to be the shortest, among those whose memory fits.
 */
#ifndef HPSAE_MODEL_COST_GRID_H
#define HPSAE_MODEL_COST_GRID_H

#include "hpsae/model/cost.h"

/* What to choose from; 0 leaves open. */
typedef struct {
    int nodes, cores;   /* nodes, cores of each */
    int most_threads;   /* of a rank */
    int ranks_per_node; /* 0: every divisor of the cores, the cores of a rank being its threads */
    int groups;         /* 0: every number that divides the ranks and the batch */
    double node_bytes;  /* memory of a node; 0: not known, everything fits */
    /* Bytes that a rank takes; below 0: this grid cannot be made.  Only asked for when node_bytes > 0. */
    int64_t (*rank_bytes)(void *context, const hps_cost_case *size);
    void *context;
} hps_grid_space;

/* A grid with what it is predicted to take. */
typedef struct {
    hps_cost_case size; /* R, P, threads, nodes of it */
    int ranks_per_node;
    double seconds; /* a step */
} hps_grid_point;

enum { HPS_GRIDS = 4096, HPS_REASON = 512 };

/*
 * Local.  All grids of the space, the fastest first, whether they fit or not, into points [HPS_GRIDS]; returns how many.
 * Ties: fewer groups, then fewer ranks, first.
 */
int hps_grid_list(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space,
                  hps_grid_point *points);

/* Local.  Whether the node's memory holds a grid's ranks; true where it is not known. */
bool hps_grid_fits(const hps_grid_space *space, const hps_grid_point *point);

/*
 * Local.  The fastest grid that fits; `size` says all but the grid.  Ties go to fewer groups, then fewer ranks.  reason: one
 * sentence.  False when none fits.
 */
bool hps_grid_choose(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space,
                     hps_grid_point *best, char reason[HPS_REASON]);

#endif
