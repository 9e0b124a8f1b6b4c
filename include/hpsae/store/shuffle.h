/*
 * `hpsae shuffle`: from activations in any order and any readable format to the store that training reads.
 */
#ifndef HPSAE_STORE_SHUFFLE_H
#define HPSAE_STORE_SHUFFLE_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over comm.  Reads config->shuffle.input, permutes its rows globally (by seed and number of rows alone),
 * writes config->shuffle.output with its statistics: the same bytes on any number of ranks and with any memory, but for
 * the name of the input.  Gradients, tokens and labels go along, row for row.  No rank's buffers take more than
 * shuffle.memory.  Nothing is done when the output is there already, complete, from the same input.  With dry_run all is
 * checked and told, nothing written.
 *
 * Errors, the same on all ranks, with nothing left half-written: HPS_ECONFIG (output exists, too little memory), HPS_EIO
 * (unreadable input, no room, unwritable output), HPS_EFORMAT (damaged input; rows with NaN or infinity, which
 * data.skip_bad_rows leaves out), HPS_ENOMEM.
 */
hps_status hps_shuffle(MPI_Comm comm, const hps_config *config, bool dry_run);

#endif
