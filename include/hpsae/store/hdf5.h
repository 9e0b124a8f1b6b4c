/*
 * Small helpers around HDF5: files opened for one rank's own reads, attributes, and the library's reasons in one line.
 * The library's error printer is off: with it on, every rank would print its whole error stack.
 */
#ifndef HPSAE_STORE_HDF5_H
#define HPSAE_STORE_HDF5_H

#include "hpsae/base/status.h"
#include "hpsae/base/words.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Local.  Prepares the library; call before any other HDF5 call, any number of times.  Turns the error printer off, and
 * file locks off unless HDF5_USE_FILE_LOCKING says otherwise: many parallel file systems have none, and files of ours
 * are never changed once they have their name.
 */
void hps_h5_start(void);

/* Local.  The innermost description on the error stack of the latest failed call, "unknown" if empty.  Returns text. */
char *hps_h5_reason(char text[256]);

/*
 * Local.  Opens a file for reading by this rank alone, close with H5Fclose.  Errors: HPS_EIO (not there, not readable),
 * HPS_EFORMAT (not HDF5, truncated), worded with the path.
 */
hps_status hps_h5_open(const char *path, hid_t *file);

/* Local.  A copy of text by hps_alloc; free with HPS_FREE.  Error: HPS_ENOMEM. */
hps_status hps_text_copy(const char *text, char **copy);

/*
 * Local.  Reads an attribute of an object.  The result says whether it is there and of the kind asked for; the value is
 * left as it was when not.  Text comes by hps_alloc (free with HPS_FREE); integers may be stored as any integer or enum.
 * Fixed text alone is read where a file may be damaged: HDF5 1.10 reads text of variable length through a heap whose
 * indices it does not check.
 */
bool hps_h5_has(hid_t object, const char *name);
bool hps_h5_get_text(hid_t object, const char *name, char **text);
bool hps_h5_get_fixed_text(hid_t object, const char *name, char **text);
bool hps_h5_get_int(hid_t object, const char *name, int64_t *value);

/* Local.  Reads `count` numbers; false unless the attribute has exactly that many. */
bool hps_h5_get_reals(hid_t object, const char *name, int64_t count, double *values);

/* Local, on the rank that has the file open.  Writes an attribute anew.  Error: HPS_EIO with the library's reason. */
hps_status hps_h5_set_text(hid_t object, const char *name, const char *text);
hps_status hps_h5_set_fixed_text(hid_t object, const char *name, const char *text);
hps_status hps_h5_set_int(hid_t object, const char *name, int64_t value);
hps_status hps_h5_set_real(hid_t object, const char *name, double value);
hps_status hps_h5_set_reals(hid_t object, const char *name, int64_t count, const double *values);

/*
 * Local.  The type in which words of a dtype are stored: IEEE 32- and 64-bit floats, the 16-bit float type, uint16 for
 * bfloat16.  Close with H5Tclose.
 */
hid_t hps_h5_type(hps_dtype dtype);

/*
 * Local.  The dtype of a dataset's words, whatever their byte order; uint16 counts as bfloat16 when the attribute
 * logical_dtype says so.  False for every other type; `text` then names it.
 */
bool hps_h5_dtype(hid_t dataset, hps_dtype *dtype, char text[64]);

#endif
