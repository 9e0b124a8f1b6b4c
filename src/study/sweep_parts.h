/*
 * A sweep under way, between the files that prepare it, run its points and end it.
 */
#ifndef HPSAE_STUDY_SWEEP_PARTS_H
#define HPSAE_STUDY_SWEEP_PARTS_H

#include "sweep_cost.h"
#include "sweep_queue.h"
#include "sweep_record.h"

#include "hpsae/study/sweep.h"

typedef struct {
    MPI_Comm world;
    int rank, size, per_node; /* per_node: ranks of a node, at most */
    const hps_config *config;
    const hps_sweep_options *options;
    int64_t points;
    unsigned char *state; /* [points] hps_point_state at the start */
    hps_sweep_size *cost; /* [points] */
    int64_t *todo;        /* [todos] points to run, those of a bundle side by side */
    int64_t todos;
    int64_t *bundle; /* [bundles + 1] where each begins in todo: points that a group takes at once */
    int64_t bundles;
    hps_calibration machine;
    hps_sweep_schedule schedule; /* over bundles, which are its points */
    hps_sweep_queue queue;
    double busy;                  /* seconds that this rank had work */
    double published, publishing; /* when this rank last did, how long it took */
    int64_t complete, failed;     /* by groups of which this is rank 0 */
    hps_status worst;             /* of the points that failed */
    hps_status stopped;           /* HPS_STOPPED where an end was asked for */
} hps_sweep_run;

/*
 * Collective over run->world.  What there is to do: reads the state of all points, the stores, the calibration; makes the
 * schedule.  HPS_ECONFIG (a point that was trained with another configuration; fewer ranks than train.groups), HPS_EIO,
 * HPS_EFORMAT, HPS_ENOMEM.  Release with hps_sweep_release.
 */
hps_status hps_sweep_prepare(hps_sweep_run *run);
void hps_sweep_release(hps_sweep_run *run);

/* Local, on rank 0.  Says which points there are, how far, on how many ranks and how long each. */
hps_status hps_sweep_list(const hps_sweep_run *run);

/* Local.  A source for the schedule; context: the run. */
hps_sweep_cost hps_sweep_cost_of(void *context, int64_t bundle, int ranks);

/*
 * Collective over group, whose ranks train the bundle: trains, evaluates, records.  What fails in that is a point's, and
 * counted in run; HPS_STOPPED is noted in run->stopped.  Returns the largest status.  alone: a task of a job array, which
 * looks for `stop` in the point's directory.
 */
hps_status hps_sweep_run_bundle(hps_sweep_run *run, MPI_Comm group, int64_t which, bool alone);

#endif
