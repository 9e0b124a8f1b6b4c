/*
 * A boosted chain of dictionaries, one after the other: stage j takes what its predecessors left unexplained (Gadgil, Lin,
 * Lee, arXiv:2505.16077, 3.2; math.md 5),
 *
 *     r^(1) = x,    r^(j+1) = r^(j) - g_j(r^(j)).
 *
 * A stage encodes by latents and decodes by columns (model/forward.h), so that a residual exists by columns; the next
 * stage needs whole rows: an allgather of float32, exact copies, 4 d bytes a token and stage.
 */
#ifndef HPSAE_ENSEMBLE_CHAIN_H
#define HPSAE_ENSEMBLE_CHAIN_H

#include "hpsae/comm/grid.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/model/forward.h"
#include "hpsae/model/model.h"

#include <stdint.h>

typedef struct hps_chain hps_chain;

/*
 * Collective over grid->model.  A chain over batches of up to B tokens.  Borrows grid, kernels and the models, which are
 * of one d, stages >= 1 of them; each selects as it does in use (hps_pick_in_use).  On a planned grid it allocates, and
 * stops.  Errors, agreed: HPS_ENOMEM; HPS_ECONFIG from hps_forward_create.  Release with hps_chain_destroy (local).
 */
hps_status hps_chain_create(const hps_grid *grid, const hps_kernels *kernels, int stages, hps_model *const *model,
                            int64_t B, int threads, hps_chain **chain);
void hps_chain_destroy(hps_chain **chain);

/* Local.  Takes a model in anew, after its values changed; stage counts from 0. */
void hps_chain_refresh(hps_chain *chain, int stage);

/*
 * Collective over grid->model.  Runs the first `stages` stages (0: none, x stays).  x [B, lde], lde the models' leading
 * dimension: in, the inputs of stage 1 as they enter its model, the same on every rank; out, the residual after that many
 * stages, all d columns on every rank, the same bits on any number of ranks; padding behind a row stays.  A threshold that
 * lets more through than there is room for makes a stage go over fewer tokens at a time; but while a BatchTopK model has
 * no threshold, its selection is that of each call's batch.  Errors, on every rank: HPS_ENUMERIC (hps_forward_select).
 */
hps_status hps_chain_run(hps_chain *chain, int64_t B, int stages, float *x);

/*
 * Collective over grid->model.  One stage, from 0, over the whole batch: x from its input to its residual, as above.  Then
 * hps_chain_forward(chain, stage) has its slots, and R = -x, this rank's columns.  Error HPS_EARG, on every rank, x as it
 * was: a threshold let more through than there is room for.
 */
hps_status hps_chain_stage(hps_chain *chain, int stage, int64_t B, float *x);

/* Local.  The forward pass of a stage, from 0; borrowed from the chain. */
hps_forward *hps_chain_forward(const hps_chain *chain, int stage);

#endif
