/*
 * What a node gives to the ranks that run on it: which processors each may use, which the job may use, NUMA domains.
 */
#ifndef HPSAE_CMD_NODE_H
#define HPSAE_CMD_NODE_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <sched.h>
#include <stdbool.h>

typedef enum { HPS_LAUNCHED_ALONE, HPS_LAUNCHED_BY_MPIRUN, HPS_LAUNCHED_BY_SRUN } hps_launcher;

enum { HPS_DOMAINS_MAX = 64 };

typedef struct {
    int ranks;       /* on this node */
    int rank;        /* this one's number among them */
    cpu_set_t *mask; /* [ranks] the processors that each may use; hps_alloc */
    int *threads;    /* [ranks] OpenMP threads; 0 until known; hps_alloc */
    int usable;      /* processors that the job may use here, at least those of the masks */
    int siblings;    /* processors a core */
    int domains;     /* NUMA domains that hold some of them; 0 where the system does not tell */
    cpu_set_t domain[HPS_DOMAINS_MAX];
    hps_launcher launcher;
} hps_node;

/* Collective over world.  The node that this rank is on.  Error, on every rank: HPS_ENOMEM.  Release with hps_node_free. */
hps_status hps_node_ask(MPI_Comm world, hps_node *node);
void hps_node_free(hps_node *node);

/* Local.  The processors of this process, before OpenMP bound its threads to some of them each. */
void hps_node_own_mask(cpu_set_t *mask);

/* Local.  How many ranks' masks share a processor with that of `rank`, itself included. */
int hps_node_sharing(const hps_node *node, int rank);

/* Local.  A list of processors as the system writes it ("0-3,8,10-11") into a set; false if it is not one. */
bool hps_node_cpu_list(const char *text, cpu_set_t *set);

#endif
