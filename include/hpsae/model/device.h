/* Which kernels a command runs on, with the device and the memory that they want. */
#ifndef HPSAE_MODEL_DEVICE_H
#define HPSAE_MODEL_DEVICE_H

#include "hpsae/kernels/kernels.h"

#include <mpi.h>

/*
 * Collective over world.  Chooses the kernels; those that run on a device take one for each rank of a node, and from then on
 * arrays of this process come from the kernels' memory (hps_memory_use).  Errors, on every rank: those of
 * hps_kernels_choose; HPS_ECONFIG when a node has more ranks than devices, or when the job's ranks work in several worlds.
 */
hps_status hps_device_take(MPI_Comm world, hps_backend backend, const hps_kernels **kernels);

/* Collective over world.  Bytes that the device of the rank with the least has free; 0 for kernels without a device. */
int64_t hps_device_left(MPI_Comm world, const hps_kernels *kernels);

/* Local.  As hps_kernels_choose, for what runs on the host alone: HPS_ECONFIG for a backend with a device. */
hps_status hps_device_without(hps_backend backend, const hps_kernels **kernels);

#endif
