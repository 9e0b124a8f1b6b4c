/*
 * Dictionaries for and from other programs: folders of SAELens (cfg.json, sae_weights.safetensors) and sparsify
 * (cfg.json, sae.safetensors), written and read by slices so that no rank ever holds the whole.  TopK is "topk" there,
 * whatever its training objective was; BatchTopK in use is "jumprelu" with one threshold for all latents (SAELens
 * alone).
 */
#ifndef HPSAE_MODEL_EXCHANGE_H
#define HPSAE_MODEL_EXCHANGE_H

#include "hpsae/base/file.h"
#include "hpsae/config/config.h"
#include "hpsae/model/model.h"

#include <jansson.h>

/* Latents with one threshold: from where the run before ends to `end` - 1. */
typedef struct {
    int64_t end;
    float value; /* of p in what is written */
} hps_threshold_run;

typedef struct {
    hps_format format;
    int64_t k;      /* latents that a token may use there; 0: the model's k, or the prefix if that is less */
    int64_t prefix; /* only the first so many latents, as a dictionary of its own; 0: all */
    int runs; /* of thresholds, where the latents of a BatchTopK model differ in them; 0: the model's own for all */
    const hps_threshold_run *run; /* [runs] in the order of latents, the last ends with them; borrowed */
    json_t *metadata;             /* object whose keys join those of SAELens' metadata; NULL: none; borrowed */
} hps_export_options;

/*
 * Local.  Whether the other program can express what is asked for, before anything is written.  Errors, HPS_EARG: token
 * normalisation has no counterpart (SAELens' layer_norm divides by the unbiased deviation plus 1e-5 and does not give
 * the mean back exactly; sparsify has none); BatchTopK without a known threshold, for sparsify, or with a k; more
 * latents, or a larger k, than there are latents.
 */
hps_status hps_export_check(const hps_model *model, const hps_export_options *options);

/* Local.  What hps_export will write: latents, and latents a token (BatchTopK: on average, in training). */
int64_t hps_export_latents(const hps_model *model, const hps_export_options *options);
int64_t hps_export_k(const hps_model *model, const hps_export_options *options);

/*
 * Collective over comm, the model's ranks.  Writes the values in the form of options->format into the directory
 * `folder` (made if need be; for sparsify into its subdirectory named after the hook) and returns the directory written
 * to. For HPS_NORM_SCALE, s is folded in: W_enc and W_dec stay, b_enc / s, b_dec / s and threshold / s, so that from x
 * instead of s x come the same latents, with values z / s.  The threshold is rounded down to float32, by which p > it
 * stays true of the same float32 p.  Files are written beside old ones, read back and compared by checksum, then
 * renamed.  Errors: HPS_EIO, HPS_ENOMEM, HPS_EARG (hps_export_check), agreed; older files are then as they were.
 */
hps_status hps_export(MPI_Comm comm, const hps_model *model, const hps_export_options *options, const char *folder,
                      char written[HPS_PATH_MAX]);

/*
 * Collective over grid->model.  Reads such a folder (HPS_FORMAT_AUTO: whichever it is) as a model of values alone, any
 * float type rounded to float32.  Folded in: apply_b_dec_to_input false into b_enc, rescale_acts_by_decoder_norm into
 * encoder and decoder rows.  SAELens' jumprelu becomes BatchTopK in use: its threshold must be the same for all latents
 * (a negative one counts as 0, which is the same function); k, which such a model only reports, is that of cfg.json or
 * its metadata, rounded, or 1.  Refused with HPS_EFORMAT and the reason: other architectures and activations, input
 * normalisation, skip connections, transcoders, missing or superfluous tensors, shapes that disagree with cfg.json,
 * values that are not finite.  Other errors: HPS_EIO, HPS_ENOMEM, HPS_ECONFIG (fewer latents than ranks).  Release with
 * hps_model_destroy.
 */
hps_status hps_import(const hps_grid *grid, const char *folder, hps_format format, hps_model **model);

#endif
