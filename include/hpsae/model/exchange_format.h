/*
 * What the folders of other programs look like inside; shared by export and import.
 */
#ifndef HPSAE_MODEL_EXCHANGE_FORMAT_H
#define HPSAE_MODEL_EXCHANGE_FORMAT_H

#include "hpsae/config/config.h"
#include "hpsae/model/exchange.h"
#include "hpsae/model/model.h"
#include "hpsae/store/safetensors.h"

#include <stdbool.h>

typedef struct {
    const char *program; /* "SAELens" */
    const char *weights; /* file name */
    struct {
        const char *name;
        bool transposed; /* [d, n] in the file */
    } tensor[HPS_TENSORS];
} hps_exchange_format;

/* Local.  Of HPS_FORMAT_SAELENS or HPS_FORMAT_SPARSIFY. */
const hps_exchange_format *hps_exchange_format_of(hps_format format);

/* Local.  Shape of a tensor as the format has it: dimensions (1 or 2) are returned. */
int hps_exchange_shape(const hps_exchange_format *format, hps_tensor tensor, int64_t n, int64_t d, int64_t shape[2]);

/* The tensor of one threshold a latent, [n]; only SAELens' jumprelu has it. */
extern const char hps_exchange_threshold[];

/* What cfg.json says. */
typedef struct {
    hps_format format;
    int64_t n, d, k;
    bool jumprelu;  /* latents above a threshold, of which there is one for all, instead of the k largest */
    bool rescale;   /* values are multiplied by the norm of the decoder row before selection, divided by it after */
    bool uncentred; /* b_dec is not subtracted from the input */
    char hook[256], model_name[256];
} hps_exchange_config;

/* Local.  Reads and checks FOLDER/cfg.json.  Errors: HPS_EIO, HPS_EFORMAT, worded with the path and the key. */
hps_status hps_import_config(const char *folder, hps_format format, hps_exchange_config *config);

/*
 * Collective over comm, the model's ranks.  Reads one tensor of a file that every rank has open into the model's
 * values, in pieces of a few MiB. squares: [n], to which the squares of the decoder's rows are added, or NULL.
 * Errors: HPS_EIO, HPS_ENOMEM, HPS_EFORMAT "PATH: W_dec[12, 3] is not finite"; agreed.
 */
hps_status hps_import_tensor(MPI_Comm comm, const char *path, const hps_safetensors *file,
                             const hps_exchange_format *format, hps_tensor tensor, const hps_model *model,
                             double *squares);

/*
 * Local (rank 0).  The one threshold of a jumprelu file of n latents.  Errors: HPS_EIO, HPS_ENOMEM, HPS_EFORMAT
 * (missing, not finite, not the same for all).
 */
hps_status hps_import_threshold(const char *path, const hps_safetensors *file, int64_t n, double *threshold);

/* Numbers that an import takes at a time; tests make it small. */
extern int64_t hps_import_piece;

/*
 * Local.  The text of cfg.json for a model as it is written (latents, k and biases are the exported ones; of the options
 * format and metadata count), owned by the caller, free().  Error: HPS_EARG when hook or model name is not UTF-8.
 */
hps_status hps_export_config(const hps_model *model, const hps_export_options *options, char **text);

/*
 * Local.  The threshold of a BatchTopK model in units of the unscaled activations, as the largest float that is not
 * above it: p > threshold is then true of the same floats p.
 */
float hps_export_threshold(const hps_model *model);

/* Local.  The largest float that is not above a threshold. */
float hps_export_round_threshold(double threshold);

/*
 * Local (rank 0).  Writes the thresholds of all latents at an offset of an open file; reads the tensor back and compares.
 * Errors: HPS_EIO, HPS_ENOMEM, HPS_EFORMAT.
 */
hps_status hps_export_write_thresholds(int file, const char *path, int64_t offset, int runs,
                                       const hps_threshold_run *run);
hps_status hps_export_verify_thresholds(const char *path, int runs, const hps_threshold_run *run);

/* A tensor on its way out. */
typedef struct {
    hps_tensor tensor;
    bool transposed;
    int64_t offset; /* in the file */
} hps_exchange_place;

/*
 * Collective over comm, the model's ranks.  Writes one tensor of a file open on all ranks, by collective writes of at
 * most hps_export_round_bytes (the same on every rank; tests make it small) or one row a rank.  Errors: HPS_EIO,
 * HPS_ENOMEM, agreed.
 */
extern int64_t hps_export_round_bytes;
hps_status hps_export_tensor(MPI_Comm comm, MPI_File file, const hps_model *model, const hps_exchange_place *place);

/*
 * Collective over comm, the model's ranks.  Reads a written file back, shared over the ranks by rows, and compares it
 * with the model's values.  Errors: HPS_EFORMAT naming the tensor that differs, HPS_EIO, HPS_ENOMEM; agreed.
 */
hps_status hps_export_verify(MPI_Comm comm, const char *path, const hps_exchange_format *format,
                             const hps_model *model);

#endif
