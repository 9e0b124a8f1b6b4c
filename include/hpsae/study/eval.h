/*
 * `hpsae eval`: the metrics of a model, or of an ensemble, on a store.
 */
#ifndef HPSAE_STUDY_EVAL_H
#define HPSAE_STUDY_EVAL_H

#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>

/*
 * Collective over world.  Evaluates the model that config->eval names (else the run in config->output) on the rows that
 * it names, says so in the log, and writes eval.json into the output directory; json: prints the same object, on one line,
 * to stdout.  Keys: metrics.md's names mse fvu ev ev_dimmean l0 dead alive_eval density shrinkage max_cos, ev_at_k (lists
 * k and ev), prefix_ev (lists prefix and ev, for a model with prefixes), first_order first_order_abs first_order_r2 (with
 * gradients in the store), gradient_select (mse, ev, l0 and first_order* by HPS_PICK_GRADIENT, for a model that selects
 * so), and model, hook, latents, k, selection (topk, threshold, batch_topk: how the main figures' latents are chosen),
 * rows, shrinkage_rows, step, tokens, checksum.  `dead` is null for a model without training state, shrinkage and max_cos
 * where they were not measured.  A directory with ensemble.json is an ensemble; of the keys of its object
 * study/eval_ensemble.h tells.  dry_run: only opens and checks.  Errors: HPS_ECONFIG, HPS_EIO, HPS_EFORMAT, HPS_ENOMEM,
 * worded for the user.
 */
hps_status hps_study_eval(MPI_Comm world, const hps_config *config, bool json, bool dry_run);

#endif
