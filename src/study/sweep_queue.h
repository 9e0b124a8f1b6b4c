/*
 * What the groups of a sweep share: the number of the next turn, and whether to end early.  No rank serves: both are words of
 * rank 0 that any rank changes (one-sided); between nodes that may wait until rank 0 next calls MPI, a step, at most an
 * evaluation.  And waiting that leaves the processor to others.
 */
#ifndef HPSAE_STUDY_SWEEP_QUEUE_H
#define HPSAE_STUDY_SWEEP_QUEUE_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    MPI_Win window;
    int64_t *word; /* on rank 0; the window's */
    bool stops;    /* known here */
    double looked; /* when `stops` was last asked for */
} hps_sweep_queue;

/* Collective over world. */
void hps_sweep_queue_create(MPI_Comm world, hps_sweep_queue *queue);
void hps_sweep_queue_destroy(hps_sweep_queue *queue);

/* Local.  The number of the next turn, from 0: every call of any rank gets another. */
int64_t hps_sweep_queue_next(hps_sweep_queue *queue);

/* Local.  Asks all groups for an end. */
void hps_sweep_queue_stop(hps_sweep_queue *queue);

/* Local.  Whether a group did; looks once a second.  A source of wishes (model/wish.h): the context is the queue. */
bool hps_sweep_queue_asked(void *queue);

/* Collective over comm.  Sleeps until all its ranks are here. */
void hps_sweep_meet(MPI_Comm comm);

#endif
