/*
 * A list of dictionaries, ensembles among them, as a configuration names them: the one place that turns a name into model
 * files.
 */
#ifndef HPSAE_STUDY_DICTIONARIES_H
#define HPSAE_STUDY_DICTIONARIES_H

#include "hpsae/comm/grid.h"
#include "hpsae/config/config.h"

/* Of a member. */
typedef struct {
    int64_t n, k;
} hps_dictionary_part;

typedef struct {
    char *name; /* as given */
    char *file; /* the model file behind it, or an ensemble's directory */
    int64_t n, d, k;
    hps_select select;         /* of an ensemble batch_topk, which asks for most room, whatever its members are */
    int members;               /* of an ensemble, n and k being theirs together; 0: a dictionary */
    hps_dictionary_part *part; /* [members]; owned */
} hps_dictionary;

typedef struct {
    hps_dictionary *item; /* [count]; owned */
    int64_t count;
} hps_dictionaries;

/*
 * Collective over grid->model.  Finds the model file of each name (a run directory: its newest usable checkpoint) and reads
 * its head; of an ensemble ensemble.json.  Errors: those of hps_checkpoint_find, hps_checkpoint_read_head and
 * hps_ensemble_read; HPS_ECONFIG when they differ in d.
 * Release with hps_dictionaries_close (local).
 */
hps_status hps_dictionaries_open(const hps_grid *grid, const hps_list *names, hps_dictionaries *list);
void hps_dictionaries_close(hps_dictionaries *list);

#endif
