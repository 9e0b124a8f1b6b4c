/*
 * Models on disk: one HDF5 file, layout-independent ([n, d] datasets), written collectively beside the old one, then
 * renamed.  A checkpoint holds all roles, dead counters and cursor; an imported model the values alone.
 *
 * File: attributes format "hpsae-model", format_version 2 (3 with whitening), n, d, k, norm, scale, select, alpha, beta, threshold,
 * prefixes and whitening (left out where there are none), hook, model_name, tokens, step, config_hash, checksum_values,
 * checksum_state, checksum_head (16 hexadecimal digits) and, set last, complete = 1; /config (used.yaml's text);
 * datasets /<role>/<tensor> (float32) and /fired (int64), each with its own `checksum`.
 */
#ifndef HPSAE_MODEL_CHECKPOINT_H
#define HPSAE_MODEL_CHECKPOINT_H

#include "hpsae/model/model.h"

#include <stdbool.h>

/*
 * Collective over comm, the model's ranks.  Rank 0 lays out PATH.tmp and takes the room for it; all ranks write their
 * numbers by collective parallel HDF5 in slices of bounded memory; then it is marked complete, synced and renamed.
 * `config` is the text of used.yaml ("" for an import), hash its hps_config_hash.  A full disk or any other failure
 * leaves the older files as they were, removes the .tmp and is HPS_EIO with the reason.
 */
hps_status hps_checkpoint_write(MPI_Comm comm, const hps_model *model, const char *config, uint64_t hash,
                                const char *path);

/*
 * Local.  What a model file takes on disk: its roles' numbers (bit mask), the dead counters, and amply for the head
 * without its configuration.
 */
int64_t hps_checkpoint_bytes(int64_t n, int64_t d, unsigned roles, bool fired);

/* What the head of a model file says.  Strings are owned; release with hps_checkpoint_head_free. */
typedef struct {
    int64_t n, d, k, tokens, step;
    uint64_t config_hash, checksum_values, checksum_state;
    unsigned roles; /* bit mask of hps_role present */
    char *config;   /* used.yaml's text */
    char *hook, *model_name;
    int norm; /* hps_norm */
    double scale;
    uint64_t whitening; /* as in hps_model */
    hps_select select;  /* this and what follows as in hps_model */
    double alpha, beta, threshold;
    int prefixes;
    int64_t prefix[HPS_PREFIXES_MAX];
} hps_checkpoint_head;

/* Local.  "topk" "batch_topk" "gradient". */
const char *hps_select_name(hps_select select);

/*
 * Collective over comm.  Reads and checks the head.  Errors: HPS_EIO (missing, unreadable), HPS_EFORMAT ("not a model
 * of hpsae", "torn", "truncated", "damaged", ...).
 */
hps_status hps_checkpoint_read_head(MPI_Comm comm, const char *path, hps_checkpoint_head *head);
void hps_checkpoint_head_free(hps_checkpoint_head *head);

/*
 * Collective over grid->model.  Reads a model file on this grid, whatever grid wrote it; roles: those wanted, which
 * must be there.  Verifies the checksums.  Errors: those of hps_checkpoint_read_head, HPS_EFORMAT for a checksum that
 * differs or a missing role, HPS_ENOMEM, HPS_ECONFIG (fewer latents than ranks).  Release with hps_model_destroy.
 */
hps_status hps_checkpoint_read(const hps_grid *grid, const char *path, unsigned roles, hps_model **model);

/*
 * Collective over comm.  Finds the usable checkpoint of most steps in a run directory (checkpoint-<step, 12
 * digits>.h5), every number of it read and checked: its path in *path (owned, free with free()), or NULL when there is
 * none at all.  Unusable ones are passed over with a warning each, and one that says which older one is used; when
 * there are checkpoints and none is usable: HPS_EFORMAT.
 */
hps_status hps_checkpoint_find(MPI_Comm comm, const char *directory, char **path);

/*
 * Collective over comm.  Removes all but the `keep` checkpoints of a run directory that were written last, and stray
 * .tmp files.  By time, not by step: after a run went back to an older checkpoint, those of more steps are the stale
 * ones.
 */
hps_status hps_checkpoint_prune(MPI_Comm comm, const char *directory, int64_t keep);

/*
 * Collective over grid->model.  What eval, export and the like take as a model: a run directory (its newest usable
 * checkpoint) or a model file; role HPS_AVERAGE is loaded as the values where the file has it;
 * dead counters too, where it has them.  Errors as above.
 */
hps_status hps_model_load(const hps_grid *grid, const char *path, hps_model **model);

#endif
