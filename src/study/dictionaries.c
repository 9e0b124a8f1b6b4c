#include "hpsae/study/dictionaries.h"

#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/store/hdf5.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Collective.  The file of a model, by hps_alloc. */
static hps_status find_file(MPI_Comm comm, const char *name, char **file)
{
    struct stat about;
    int directory = stat(name, &about) == 0 && S_ISDIR(about.st_mode);
    char *newest = NULL;

    HPS_MPI(MPI_Bcast(&directory, 1, MPI_INT, 0, comm));
    if (!directory) {
        return hps_agree(comm, hps_text_copy(name, file));
    }
    HPS_TRY(hps_checkpoint_find(comm, name, &newest));
    if (newest == NULL) {
        return hps_fail(HPS_EIO, "%s: no checkpoint there (checkpoint-STEP.h5); name a run directory or a model file",
                        name);
    }
    const hps_status status = hps_text_copy(newest, file);
    free(newest);
    return hps_agree(comm, status);
}

/* Collective.  Fills in the next of the list. */
static hps_status add(MPI_Comm comm, const char *name, hps_dictionaries *list)
{
    hps_dictionary *one = &list->item[list->count++];
    hps_checkpoint_head head;

    HPS_TRY(hps_agree(comm, hps_text_copy(name, &one->name)));
    HPS_TRY(find_file(comm, name, &one->file));
    HPS_TRY(hps_checkpoint_read_head(comm, one->file, &head));
    one->n = head.n;
    one->d = head.d;
    one->k = head.k;
    one->select = head.select;
    hps_checkpoint_head_free(&head);
    if (one->d != list->item[0].d) {
        return hps_fail(HPS_ECONFIG, "%s has d %lld, but %s has d %lld; only dictionaries of one d can be compared",
                        name, (long long)one->d, list->item[0].name, (long long)list->item[0].d);
    }
    return HPS_OK;
}

hps_status hps_dictionaries_open(const hps_grid *grid, const hps_list *names, hps_dictionaries *list)
{
    memset(list, 0, sizeof(*list));
    HPS_TRY(hps_agree(grid->model, HPS_ALLOC(&list->item, names->count, "list of dictionaries")));
    for (int64_t i = 0; i < names->count; i++) {
        HPS_TRY(add(grid->model, names->items[i], list));
    }
    return HPS_OK;
}

void hps_dictionaries_close(hps_dictionaries *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        HPS_FREE(&list->item[i].name);
        HPS_FREE(&list->item[i].file);
    }
    HPS_FREE(&list->item);
    list->count = 0;
}
