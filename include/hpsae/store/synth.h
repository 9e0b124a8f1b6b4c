/*
 * `hpsae synth`: activations whose dictionary is known, to see whether training finds it.
 */
#ifndef HPSAE_STORE_SYNTH_H
#define HPSAE_STORE_SYNTH_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over comm.  Writes config->synth.rows activations x = offset + sum of magnitude * direction over the active
 * features + noise, as a store with statistics, and beside them the truth: /truth/dictionary [latents, dim] float32,
 * unit rows; /truth/frequency [latents] float64, the probability of each feature; /truth/parent and /truth/partner
 * [latents] int32, -1 where there is none; /truth/offset [dim] float64.  Every number is a function of (synth.seed, its
 * index): the same bytes on any number of ranks and threads.  Each rank holds the dictionary and some MiB of rows.
 * Nothing is done when the same store is there already.  With dry_run all is checked and told, nothing written.
 *
 * Errors, the same on all ranks, with nothing left half-written: HPS_ECONFIG (more active features than frequencies
 * allow, values too large for the dtype, output exists), HPS_EIO (no room, unwritable), HPS_ENOMEM.
 */
hps_status hps_synth(MPI_Comm comm, const hps_config *config, bool dry_run);

#endif
