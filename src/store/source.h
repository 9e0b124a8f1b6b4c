/*
 * One file with activations, whatever its format: [rows, d] words of one dtype, read by rows.  HDF5, .npy, .safetensors.
 */
#ifndef HPSAE_STORE_SOURCE_H
#define HPSAE_STORE_SOURCE_H

#include "array.h"
#include "hpsae/base/words.h"

#include <stdint.h>

/* Which dataset or tensor is wanted, "" for the only one, and the configuration's key by which it is chosen. */
typedef struct {
    const char *name, *key;
} hps_choice;

typedef struct {
    char *path;    /* owned */
    char *dataset; /* HDF5 path or tensor name, "" for .npy; owned */
    char *hook;    /* name of the activations, "" when the file does not say; owned */
    int64_t d;
    hps_dtype dtype;
    hps_array array; /* [rows, d] words */
    int fd;          /* owned, or -1 */
    hid_t file;      /* the HDF5 file, owned, or invalid */
} hps_source;

#define HPS_NO_SOURCE ((hps_source){.array = HPS_NO_ARRAY, .fd = -1, .file = H5I_INVALID_HID})

/*
 * Local.  Opens a file by its suffix (.npy, .safetensors, else HDF5) for this rank's own reads.  Errors: HPS_EIO (not
 * readable), HPS_EFORMAT (damaged, truncated, no or several candidates, wrong shape or type, no rows), HPS_ENOMEM; the
 * source is then closed.  Release with hps_source_close.
 */
hps_status hps_source_open(const char *path, hps_choice choice, hps_source *source);
void hps_source_close(hps_source *source);

/* Local.  The same for one format each; called by hps_source_open with path and fd set; on error the caller closes. */
hps_status hps_source_open_hdf5(hps_choice choice, hps_source *source);
hps_status hps_source_open_npy(hps_source *source);
hps_status hps_source_open_safetensors(hps_choice choice, hps_source *source);

/* Local.  HPS_EFORMAT unless a row-major [rows, d] array of at least one row and column. */
hps_status hps_source_check_shape(const hps_source *source, const char *what, int dimensions, const int64_t *shape);

/* Local.  Whether path ends in the suffix (".npy"), in any case of letters. */
bool hps_has_suffix(const char *path, const char *suffix);

#endif
