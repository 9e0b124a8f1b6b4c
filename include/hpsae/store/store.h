/*
 * The activation store, as training and evaluation read it: rows of d stored words, one token a row, in one or more
 * HDF5 files (formats: "Activation store").  Several files are one store, rows numbered through in the order of the names.
 */
#ifndef HPSAE_STORE_STORE_H
#define HPSAE_STORE_STORE_H

#include "hpsae/base/status.h"
#include "hpsae/base/words.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hps_store hps_store;

typedef struct {
    int64_t rows, d;
    hps_dtype dtype;
    const char *hook;       /* the activations' name; borrowed from the store */
    const char *model_name; /* "" when the store does not say */
    bool shuffled;
    bool has_statistics; /* written by `hpsae shuffle` and `hpsae synth` */
    const double *mean;  /* [d] mean row, when has_statistics; borrowed */
    double mean_sq_norm; /* mean of |x|^2, when has_statistics */
    uint64_t whitening;  /* identity of the whitening that rows went through (whitening.h); 0: none */
    double rms_norm;     /* of gradients: root of the mean of |g|^2; 0 when the store does not say */
} hps_store_info;

/*
 * Collective over comm (MPI_COMM_NULL: a process without MPI); every rank opens the files for its own reads.  `paths`: files or directories (their *.h5 files
 * in the order of their names); hook "" means the only dataset under /activations; a hook that begins with "/" is a
 * dataset path of any [N, d] dataset.  Checks shapes, types, statistics.  Errors: HPS_EIO, HPS_EFORMAT, worded with the
 * file; the same on every rank, also when one rank alone fails.  Release with hps_store_close (local).
 */
hps_status hps_store_open(MPI_Comm comm, int64_t count, char *const *paths, const char *hook, hps_store **store);
void hps_store_close(hps_store **store);

/*
 * Local.  A store without files of which only hps_store_about is asked: for planning a run whose activations are not
 * there.  HPS_ENOMEM.  Release with hps_store_close.
 */
hps_status hps_store_imagine(const hps_store_info *info, hps_store **store);

/* Local.  Valid as long as the store is open. */
const hps_store_info *hps_store_about(const hps_store *store);

/* Local.  The file that holds a row of the store, and in *within the row's number there.  Borrowed from the store. */
const char *hps_store_file(const hps_store *store, int64_t row, int64_t *within);

/* Local.  How many files it has, and the rows [*first, *first + *rows) of the store that stand in one, with its name, borrowed. */
int64_t hps_store_files(const hps_store *store);
const char *hps_store_part(const hps_store *store, int64_t file, int64_t *first, int64_t *rows);

/*
 * Local.  A hash of what the store holds, wherever its files lie: sizes, hook, statistics, and 64 rows spread over it; to
 * notice a store that was exchanged or written anew, not every changed bit.  Errors: HPS_EIO, HPS_ENOMEM.
 */
hps_status hps_store_identity(hps_store *store, uint64_t *identity);

/* Local.  Whether every file of the store has dL/dx of the same hook, /gradients/<hook>. */
bool hps_store_has_gradients(const hps_store *store);

/*
 * Collective over comm.  Opens them as a store of their own, row for row the activations'; rms_norm is set.  Errors: those
 * of hps_store_open; HPS_EFORMAT when rows or columns differ from the activations' or the attribute rms_norm is missing.
 * Paths as for hps_store_open.
 */
hps_status hps_store_open_gradients(MPI_Comm comm, int64_t count, char *const *paths, const hps_store *activations,
                                    hps_store **gradients);

/*
 * Local.  Reads rows [row, row + count) as stored: words [count, d] of info->dtype, tight.  Any rank may read any rows
 * at any time, from any thread, while no other makes HDF5 calls but these.  Errors: HPS_EIO (file, row), HPS_EARG if the rows are not in the store.
 */
hps_status hps_store_read(hps_store *store, int64_t row, int64_t count, void *words);

#endif
