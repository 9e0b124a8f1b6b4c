/*
 * Complete stages of a boosted ensemble as a chain, for what comes after them.
 */
#ifndef HPSAE_ENSEMBLE_STAGES_H
#define HPSAE_ENSEMBLE_STAGES_H

#include "training.h"

#include "hpsae/ensemble/chain.h"
#include "hpsae/model/feed.h"

typedef struct {
    hps_grid grid;     /* of train.groups groups; owned, as are models and chain */
    int from, to;      /* stages, from 0: [from, to) */
    hps_model **model; /* [to - from] */
    hps_chain *chain;
    hps_feed_change change; /* the store's rows through the chain, where from is 0 */
} hps_stages;

/*
 * Collective over t->world.  Loads the stages, each verified to be the one that ensemble.json names, for batches of up to B
 * tokens.  Errors: HPS_EFORMAT (another model, none), those of hps_model_load.  Release with hps_stages_destroy (collective).
 */
hps_status hps_stages_load(const hps_ensemble_training *t, int from, int to, int64_t B, hps_stages *stages);
void hps_stages_destroy(hps_stages *stages);

#endif
