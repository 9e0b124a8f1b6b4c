/*
 * Whether the ranks of a node get in each other's way: more threads than cores, ranks pinned to the same core, a rank across
 * NUMA domains, cores left idle; and the launcher's options that mend it.
 */
#ifndef HPSAE_CMD_BINDING_H
#define HPSAE_CMD_BINDING_H

#include "node.h"

#include <stddef.h>

/*
 * Local.  How bad it is: 0 when all is well (text is then ""), else more than 0 and in text what is wrong and what to start
 * the job with.  node->threads is filled in; `automatic`: nobody said how many threads to take.
 */
double hps_binding_judge(const hps_node *node, bool automatic, char *text, size_t size);

/* Collective over world.  Judges every node; rank 0 warns of the worst, in one line, and of how many others there are. */
void hps_binding_warn(MPI_Comm world, hps_node *node, int threads, bool automatic);

#endif
