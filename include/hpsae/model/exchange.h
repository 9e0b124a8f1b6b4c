/*
 * Dictionaries for and from other programs: folders of SAELens (cfg.json, sae_weights.safetensors) and sparsify
 * (cfg.json, sae.safetensors), TopK, written and read by slices so that no rank ever holds the whole.
 */
#ifndef HPSAE_MODEL_EXCHANGE_H
#define HPSAE_MODEL_EXCHANGE_H

#include "hpsae/base/file.h"
#include "hpsae/config/config.h"
#include "hpsae/model/model.h"

/*
 * Local.  Whether the other program can express the model, before anything is written.  Error: HPS_EARG: token
 * normalisation has no counterpart (SAELens' layer_norm divides by the unbiased deviation plus 1e-5 and does not give
 * the mean back exactly; sparsify has none).
 */
hps_status hps_export_check(const hps_model *model, hps_format format);

/*
 * Collective over comm, the model's ranks.  Writes the values in the form of `format` into the directory `folder`
 * (made if need be; for sparsify into its subdirectory named after the hook) and returns the directory written to.
 * For HPS_NORM_SCALE, s is folded in: W_enc and W_dec stay, b_enc / s and b_dec / s, so that from x instead of s x
 * come the same latents, with values z / s.  Files are written beside old ones, read back and compared by checksum,
 * then renamed.  Errors: HPS_EIO, HPS_ENOMEM, HPS_EARG (hps_export_check), agreed; older files are then as they were.
 */
hps_status hps_export(MPI_Comm comm, const hps_model *model, hps_format format, const char *folder,
                      char written[HPS_PATH_MAX]);

/*
 * Collective over grid->model.  Reads such a folder (HPS_FORMAT_AUTO: whichever it is) as a model of values alone, any
 * float type rounded to float32.  Folded in: apply_b_dec_to_input false into b_enc, rescale_acts_by_decoder_norm into
 * encoder and decoder rows.  Refused with HPS_EFORMAT and the reason: other architectures and activations, input
 * normalisation, skip connections, transcoders, missing or superfluous tensors, shapes that disagree with cfg.json,
 * values that are not finite.  Other errors: HPS_EIO, HPS_ENOMEM, HPS_ECONFIG (fewer latents than ranks).  Release with
 * hps_model_destroy.
 */
hps_status hps_import(const hps_grid *grid, const char *folder, hps_format format, hps_model **model);

#endif
