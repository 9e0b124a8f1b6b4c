/*
 * `hpsae encode`: the sparse codes of a store's rows, for programs that read HDF5 and SciPy's CSR form.
 *
 * File: root attributes format "hpsae-codes", format_version 1, hook, model_name, select, k, threshold (of select
 * batch_topk, in the units of the values), first_row (of the store), model_checksum (of the dictionary's numbers, as
 * the log shows it). Group /codes with attribute shape [rows, latents] and datasets indptr int64 [rows + 1], indices
 * int32 [values] (latents, ascending within a row), data float32 [values], and with encode.order: order int32 [values],
 * the place of a value among its row's by size, 0 for the largest.
 *
 * Codes of an ensemble are those of all members, latent i of member j being offsets[j] + i (attribute offsets, int64
 * [members + 1], of /codes), values times the member's coefficient (bagging: 1 / members), so that the members' decoder
 * rows, one below the other, make the ensemble of them. Root attributes then: ensemble ("bagging", "boosting"), members,
 * k (all members' together), select ("mixed" where members differ), model_checksum (of the ensemble, as eval says it),
 * and instead of threshold, where all members have one, thresholds [members].
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
 * the normalised activations.  A directory with ensemble.json is an ensemble; boosting encodes stage by
 * stage, in the first one's units.  dry_run: only opens and checks.  Errors: HPS_ECONFIG, HPS_EARG, HPS_EIO, HPS_EFORMAT,
 * HPS_ENOMEM, worded for the user; the older file is then as it was.
 */
hps_status hps_study_encode(MPI_Comm world, const hps_config *config, bool dry_run);

#endif
