/*
 * `hpsae encode`: the sparse codes of a store's rows, for programs that read HDF5 and SciPy's CSR form.
 *
 * File: root attributes format "hpsae-codes", format_version 1, hook, model_name, select, k, threshold (of select
 * batch_topk, in the units of the values), first_row (of the store), model_checksum (of the dictionary's numbers, as
 * the log shows it). Group /codes with attribute shape [rows, latents] and datasets indptr int64 [rows + 1], indices
 * int32 [values] (latents, ascending within a row), data float32 [values], and with encode.order: order int32 [values],
 * the place of a value among its row's by size, 0 for the largest.
 */
#ifndef HPSAE_STUDY_ENCODE_H
#define HPSAE_STUDY_ENCODE_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  Encodes the rows that config->encode names with its model (else the run in config->output),
 * as the model selects in use, and writes encode.output beside the old file, then renames it: the same bytes on any
 * number of ranks.  Values are in the store's units: z / s for a data-set scale s; with token normalisation those of
 * the normalised activations.  dry_run: only opens and checks.  Errors: HPS_ECONFIG, HPS_EARG, HPS_EIO, HPS_EFORMAT,
 * HPS_ENOMEM, worded for the user; the older file is then as it was.
 */
hps_status hps_study_encode(MPI_Comm world, const hps_config *config, bool dry_run);

#endif
