/*
 * An ensemble for SAELens.  What it can express as one dictionary is written so; the rest as its members, with an index
 * that says how they belong together.
 */
#ifndef HPSAE_ENSEMBLE_ENSEMBLE_EXPORT_H
#define HPSAE_ENSEMBLE_ENSEMBLE_EXPORT_H

#include "hpsae/base/file.h"
#include "hpsae/ensemble/ensemble.h"
#include "hpsae/model/exchange.h"

/*
 * Collective over the grid.  A bagging as one dictionary (Gadgil et al., Prop. 3.1): the members' latents one after the
 * other, encoder rows and biases times 1 / J so that values carry the coefficient and decoder rows keep their norm, b the
 * mean of the members' b, of which the difference goes into b_enc; k is all members' together.  It selects by threshold
 * (and *run [J], in units of its p; owned, HPS_FREE) where all members do; else it says TopK, and each member's latents
 * still select on their own: the k largest of all are another model.  Errors, agreed: HPS_ENOMEM, HPS_ECONFIG.  Release
 * with hps_model_destroy.
 */
hps_status hps_ensemble_concatenate(const hps_ensemble *ensemble, hps_model **model, hps_threshold_run **run);

/* Local.  Whether all members select by a threshold, so that a concatenation is exact as it stands. */
bool hps_ensemble_is_threshold(const hps_ensemble *ensemble);

/*
 * Local.  Whether SAELens can hold it.  Errors: HPS_EARG for another format, a k or a prefix, and those of hps_export_check
 * of its members.
 */
hps_status hps_ensemble_export_check(const hps_ensemble *ensemble, const hps_export_options *options);

/*
 * Collective over the grid.  Writes into `folder`:
 *   a bagging of thresholds: a folder of SAELens, jumprelu with a threshold a latent, the ensemble exactly;
 *   any other bagging: member-1 ... member-J, folders of SAELens, and concatenated, one whose tensors are the ensemble's
 *     (topk; its cfg.json tells in metadata.hpsae_ensemble that each member's latents select on their own);
 *   boosting: stage-1 ... stage-J, all in the store's units;
 * and but for the first index.json: {"format": "hpsae-ensemble-saelens", "format_version": 1, "method", "coefficient",
 * "d", "folders": [...], "concatenated": "concatenated" or null, "offsets": [J + 1], "hook", "checksum"}, written last, so
 * that it never stands without the folders.  Changes norm and scale of later stages.  Errors: those of hps_export, agreed.
 */
hps_status hps_ensemble_export(hps_ensemble *ensemble, const char *folder);

#endif
