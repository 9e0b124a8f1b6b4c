#include "hpsae/ensemble/ensemble.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/checksum.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Collective.  The newest usable checkpoint of member j is the one that ensemble.json names. */
static hps_status check_file(const hps_ensemble *e, const char *directory, const char *path, int j)
{
    const hps_member *member = &e->file.member[j];
    hps_checkpoint_head head;

    HPS_TRY(hps_checkpoint_read_head(e->grid->model, path, &head));
    const uint64_t found = head.checksum_values;
    hps_checkpoint_head_free(&head);
    if (found != member->checksum) {
        return hps_fail(HPS_EFORMAT,
                        "%s: %s is not the model that ensemble.json names: its values have the checksum %016" PRIx64
                        ", not %016" PRIx64 "; train the ensemble anew, or restore the member",
                        directory, path, found, member->checksum);
    }
    return HPS_OK;
}

/* Collective. */
static hps_status load_member(hps_ensemble *e, const char *directory, int j)
{
    const hps_member *member = &e->file.member[j];
    char folder[HPS_PATH_MAX];
    char *newest = NULL;

    if (!member->complete) {
        return hps_fail(HPS_ECONFIG,
                        "%s: %s is not complete: run `hpsae train` to the end, or name %s/%s to use it alone",
                        directory, member->directory, directory, member->directory);
    }
    HPS_TRY(hps_path_join(directory, member->directory, folder));
    HPS_TRY(hps_checkpoint_find(e->grid->model, folder, &newest));
    if (newest == NULL) {
        return hps_fail(HPS_EIO, "%s: no checkpoint there, though %s/ensemble.json calls it complete; restore it",
                        folder, directory);
    }
    hps_status status = check_file(e, directory, newest, j);
    if (status == HPS_OK) {
        status = hps_model_load(e->grid, newest, &e->model[j]);
    }
    free(newest);
    return status;
}

/* Whether member j goes with the first. */
static hps_status check_member(const hps_ensemble *e, const char *directory, int j)
{
    const hps_model *m = e->model[j], *first = e->model[0];
    const bool chained = e->file.method == HPS_ENSEMBLE_BOOSTING;
    const char *name = e->file.member[j].directory;

    if (m->shard.d != e->file.d) {
        return hps_fail(HPS_EFORMAT, "%s: %s has d %lld, the ensemble %lld", directory, name, (long long)m->shard.d,
                        (long long)e->file.d);
    }
    if (chained && j > 0 && m->norm != HPS_NORM_NONE) {
        return hps_fail(HPS_EFORMAT,
                        "%s: %s scales its input, which is a residual in the first stage's units; it was not trained "
                        "as a stage of this chain",
                        directory, name);
    }
    if (!chained && (m->norm != first->norm || m->scale != first->scale)) {
        return hps_fail(HPS_EFORMAT, "%s: %s scales its input otherwise than %s; members of a bagging share data.scale",
                        directory, name, e->file.member[0].directory);
    }
    return HPS_OK;
}

/* Collective. */
static hps_status add_up(hps_ensemble *e)
{
    const char *name = hps_ensemble_name(e);

    HPS_TRY(hps_agree(e->grid->model, HPS_ALLOC(&e->own, e->file.members, "members")));
    e->checksum = hps_checksum_bytes(0, name, strlen(name));
    for (int j = 0; j < e->file.members; j++) {
        e->own[j] = hps_model_checksum(e->grid->model, e->model[j]).values;
        e->checksum = hps_checksum_bytes(e->checksum, &e->own[j], sizeof(e->own[j]));
    }
    return HPS_OK;
}

/* Latent numbers over all members, which a code keeps in 32 bits. */
static hps_status number_latents(hps_ensemble *e, const char *directory)
{
    HPS_TRY(HPS_ALLOC(&e->offset, e->file.members + 1, "members"));
    for (int j = 0; j < e->file.members; j++) {
        e->offset[j + 1] = e->offset[j] + e->model[j]->shard.n;
    }
    return e->offset[e->file.members] <= INT32_MAX
               ? HPS_OK
               : hps_fail(HPS_EFORMAT, "%s: its members have %lld latents together; at most %d can be numbered",
                          directory, (long long)e->offset[e->file.members], INT32_MAX);
}

/* Collective. */
static hps_status load(hps_ensemble *e, const char *directory)
{
    HPS_TRY(hps_ensemble_read(e->grid->model, directory, &e->file));
    if (e->file.method == HPS_ENSEMBLE_NONE) {
        return hps_fail(HPS_ECONFIG, "%s: no ensemble (ensemble.json) there", directory);
    }
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    HPS_TRY(hps_agree(e->grid->model, HPS_ALLOC(&e->model, e->file.members, "members")));
    for (int j = 0; j < e->file.members; j++) {
        HPS_TRY(load_member(e, directory, j));
        HPS_TRY(check_member(e, directory, j));
    }
    HPS_TRY(hps_agree(e->grid->model, number_latents(e, directory)));
    return add_up(e);
}

hps_status hps_ensemble_load(const hps_grid *grid, const char *directory, hps_ensemble **ensemble)
{
    HPS_TRY(hps_agree(grid->model, HPS_ALLOC(ensemble, 1, "ensemble")));
    (*ensemble)->grid = grid;
    const hps_status status = load(*ensemble, directory);
    if (status != HPS_OK) {
        hps_ensemble_destroy(ensemble);
    }
    return status;
}

void hps_ensemble_destroy(hps_ensemble **ensemble)
{
    hps_ensemble *e = *ensemble;

    if (e == NULL) {
        return;
    }
    for (int j = 0; e->model != NULL && j < e->file.members; j++) {
        hps_model_destroy(&e->model[j]);
    }
    HPS_FREE(&e->model);
    HPS_FREE(&e->offset);
    HPS_FREE(&e->own);
    hps_ensemble_free(&e->file);
    HPS_FREE(ensemble);
}

hps_status hps_ensemble_is(MPI_Comm comm, const char *path, bool *ensemble)
{
    hps_ensemble_file file = {.method = HPS_ENSEMBLE_NONE};

    const hps_status status = hps_ensemble_read(comm, path, &file);
    *ensemble = status == HPS_OK && file.method != HPS_ENSEMBLE_NONE;
    hps_ensemble_free(&file);
    return status;
}

const char *hps_ensemble_name(const hps_ensemble *e)
{
    return e->file.method == HPS_ENSEMBLE_BAGGING ? "bagging" : "boosting";
}

double hps_ensemble_coefficient(const hps_ensemble *e)
{
    return e->file.method == HPS_ENSEMBLE_BAGGING ? 1.0 / e->file.members : 1;
}

int64_t hps_ensemble_k(const hps_ensemble *e)
{
    int64_t k = 0;

    for (int j = 0; j < e->file.members; j++) {
        k += e->model[j]->k;
    }
    return k;
}
