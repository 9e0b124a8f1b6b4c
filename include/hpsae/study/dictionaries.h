/*
 * A list of dictionaries, as a configuration names them: the one place that turns a name into model files.
 */
#ifndef HPSAE_STUDY_DICTIONARIES_H
#define HPSAE_STUDY_DICTIONARIES_H

#include "hpsae/comm/grid.h"
#include "hpsae/config/config.h"

typedef struct {
    char *name; /* as given */
    char *file; /* the model file behind it */
    int64_t n, d, k;
    hps_select select;
} hps_dictionary;

typedef struct {
    hps_dictionary *item; /* [count]; owned */
    int64_t count;
} hps_dictionaries;

/*
 * Collective over grid->model.  Finds the model file of each name (a run directory: its newest usable checkpoint) and reads
 * its head.  Errors: those of hps_checkpoint_find and hps_checkpoint_read_head; HPS_ECONFIG when they differ in d.
 * Release with hps_dictionaries_close (local).
 */
hps_status hps_dictionaries_open(const hps_grid *grid, const hps_list *names, hps_dictionaries *list);
void hps_dictionaries_close(hps_dictionaries *list);

#endif
