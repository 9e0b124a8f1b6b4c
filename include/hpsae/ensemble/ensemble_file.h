/*
 * OUTPUT/ensemble.json: what an ensemble consists of and how far its training has come.
 *
 *     {"format": "hpsae-ensemble", "format_version": 1, "method": "bagging" | "boosting", "members": J, "d": d,
 *      "hook": "...", "store": ["...", ...], "store_identity": HEX, "config_hash": HEX, "variance": V,
 *      "member": [{"directory": "member-1" | "stage-1", "complete": true | false, "checksum": HEX | null,
 *                  "n": n, "k": k, "config_hash": HEX, "ev": EV | null}, ...]}
 *
 * HEX are 16 hexadecimal digits in quotes.  Coefficients follow from the method: bagging 1 / J each, boosting 1.
 */
#ifndef HPSAE_ENSEMBLE_ENSEMBLE_FILE_H
#define HPSAE_ENSEMBLE_ENSEMBLE_FILE_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char directory[32]; /* within the ensemble's */
    bool complete;      /* all steps are trained */
    uint64_t checksum;  /* of the values, of a complete member */
    int64_t n, k;
    uint64_t config_hash; /* of the member's own configuration, as its checkpoints carry it; 0 while it is not known */
    double ev;            /* boosting: of the chain up to here on held-out rows; NaN where there are none */
} hps_member;

typedef struct {
    hps_ensemble_method method; /* HPS_ENSEMBLE_NONE: the directory holds no ensemble, and nothing else is set */
    int members;
    int64_t d;
    uint64_t config_hash;    /* of the ensemble's configuration: of all its members' but for sizes and seeds */
    uint64_t store_identity; /* hps_store_identity of what it was trained on */
    double variance;    /* of a held-out row, sum over columns, in units of the first member; NaN where not known */
    hps_member *member; /* [members]; owned, as are hook and store */
    char *hook;
    hps_list store;
} hps_ensemble_file;

/*
 * Collective over comm.  Reads DIRECTORY/ensemble.json on rank 0, the same on every rank.  No such file, or no such
 * directory: method HPS_ENSEMBLE_NONE.  Errors: HPS_EIO (not readable), HPS_EFORMAT (torn, another format, members that
 * do not fit), HPS_ENOMEM; the file is then empty.  Release with hps_ensemble_free.
 */
hps_status hps_ensemble_read(MPI_Comm comm, const char *directory, hps_ensemble_file *file);

/* Local, on rank 0.  Replaces DIRECTORY/ensemble.json as a whole.  Errors: HPS_EIO, HPS_ENOMEM. */
hps_status hps_ensemble_write(const char *directory, const hps_ensemble_file *file);

/* Local.  Frees what a file owns and empties it. */
void hps_ensemble_free(hps_ensemble_file *file);

/* Local.  An empty ensemble of that many members, for writing: directories are named.  Error: HPS_ENOMEM. */
hps_status hps_ensemble_create(hps_ensemble_method method, int members, hps_ensemble_file *file);

#endif
