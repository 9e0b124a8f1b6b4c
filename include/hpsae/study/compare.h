/*
 * `hpsae compare`: how alike dictionaries are, and their latents among themselves.
 */
#ifndef HPSAE_STUDY_COMPARE_H
#define HPSAE_STUDY_COMPARE_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  Compares the decoders of config->compare.dictionaries; says so in the log and writes
 * compare.json into the output directory; json: prints the same object, on one line, to stdout.  Keys (metrics.md's names):
 * d, rows of all dictionaries; stability with its stability_floor (Gadgil et al. 2025) for two dictionaries and more;
 * hungarian, the mean over pairs, hungarian_pairs (a, b, mean) and hungarian_skipped, the reason or null; tokens and hook
 * of the connectivity; and for each of `dictionaries` its model, latents, k, checksum, max_cos, diversity, stability,
 * connectivity, connectivity_alive, alive.  Null: not measured.  The figures are the same bits on any number of ranks.
 * No rank holds more than grid.memory in arrays.  dry_run: only opens and checks.  Errors: HPS_ECONFIG, HPS_EIO,
 * HPS_EFORMAT, HPS_ENOMEM, worded for the user.
 */
hps_status hps_study_compare(MPI_Comm world, const hps_config *config, bool json, bool dry_run);

#endif
