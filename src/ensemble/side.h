/*
 * Groups of ranks side by side, each with a training of its own: when one ends early, the others are asked to.
 */
#ifndef HPSAE_ENSEMBLE_SIDE_H
#define HPSAE_ENSEMBLE_SIDE_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdbool.h>

typedef struct {
    MPI_Comm group;       /* this rank's; owned */
    MPI_Comm roots;       /* the groups' ranks 0; owned; MPI_COMM_NULL on all others */
    int groups, g;        /* how many, and this rank's */
    int *said;            /* [groups] on roots: how each ended; -1 not yet */
    int mine;             /* what this one says */
    MPI_Request *request; /* [groups] */
} hps_side;

/* Collective over world.  Splits its ranks into groups, as even as they come.  HPS_ENOMEM.  Release with hps_side_destroy. */
hps_status hps_side_create(MPI_Comm world, int groups, hps_side *side);
void hps_side_destroy(hps_side *side);

/* Local, on a group's rank 0: whether another group ended with anything but HPS_OK.  A source of wishes (model/wish.h). */
bool hps_side_asked(void *side);

/* Collective over the roots, once on each.  Says how this group ended, and waits for what the others say. */
void hps_side_finish(hps_side *side, hps_status how);

#endif
