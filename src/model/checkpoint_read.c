#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/store/hdf5.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Collective. */
static hps_status read_numbers(MPI_Comm comm, hid_t file, unsigned roles, const hps_model *model)
{
    for (int r = 0; r < HPS_ROLES; r++) {
        for (int t = 0; t < HPS_TENSORS && (roles & 1u << r) != 0; t++) {
            HPS_TRY(hps_checkpoint_move(comm, file, model, (hps_role)r, (hps_tensor)t, HPS_FROM_FILE));
        }
    }
    return model->fired == NULL ? HPS_OK : hps_checkpoint_move_fired(comm, file, model, HPS_FROM_FILE);
}

/* Collective. */
static hps_status fill(MPI_Comm comm, const char *path, unsigned roles, const hps_model *model)
{
    hps_checkpoint_sums sums;
    hid_t file;

    HPS_TRY(hps_checkpoint_open_all(comm, path, H5F_ACC_RDONLY, &file));
    hps_status status = read_numbers(comm, file, roles, model);
    if (status == HPS_OK) {
        hps_checkpoint_add_up(comm, model, &sums);
        status = hps_agree(comm, hps_checkpoint_compare(file, roles, &sums));
    }
    H5Fclose(file);
    return hps_checkpoint_at(path, status);
}

/* Where the run says that its store is; a file that says nothing of a run has none. */
static hps_status take_whitening(hps_model *model, const hps_checkpoint_head *head)
{
    hps_config *config = NULL;

    model->whitening = head->whitening;
    if (head->whitening == 0 || head->config[0] == '\0') {
        return HPS_OK;
    }
    HPS_TRY(hps_config_read_text("/config", head->config, &config));
    if (config->data.store.count > 0) {
        model->whitened_store = strdup(config->data.store.items[0]);
    }
    const bool lost = config->data.store.count > 0 && model->whitened_store == NULL;
    hps_config_destroy(&config);
    return lost ? hps_fail(HPS_ENOMEM, "no memory for names") : HPS_OK;
}

static hps_status take_names(hps_model *model, const hps_checkpoint_head *head)
{
    model->norm = (hps_norm)head->norm;
    model->scale = head->scale;
    hps_head_give_selection(head, model);
    model->tokens = head->tokens;
    model->step = head->step;
    model->hook = strdup(head->hook);
    model->model_name = strdup(head->model_name);
    HPS_TRY(take_whitening(model, head));
    return model->hook != NULL && model->model_name != NULL ? HPS_OK : hps_fail(HPS_ENOMEM, "no memory for names");
}

/* Collective.  The model whose head is read already. */
static hps_status read_model(const hps_grid *grid, const char *path, const hps_checkpoint_head *head, unsigned roles,
                             hps_model **out)
{
    hps_model *model = NULL;

    for (int r = 0; r < HPS_ROLES; r++) {
        if ((roles & ~head->roles & 1u << r) != 0) {
            return hps_fail(HPS_EFORMAT, "%s: has no /%s: not a checkpoint of a training run that could go on", path,
                            hps_role_name((hps_role)r));
        }
    }
    hps_status status = hps_model_create(grid, head->n, head->d, head->k, roles, &model);
    if (status == HPS_OK && model->fired == NULL && (head->roles & 1u << HPS_MOMENT1) != 0) {
        status = HPS_ALLOC(&model->fired, head->n, "dead counters");
    }
    if (status == HPS_OK) {
        status = take_names(model, head);
    }
    status = hps_agree(grid->model, status);
    if (status == HPS_OK) {
        status = fill(grid->model, path, roles, model);
    }
    if (status != HPS_OK) {
        hps_model_destroy(&model);
    }
    *out = model;
    return status;
}

hps_status hps_checkpoint_read(const hps_grid *grid, const char *path, unsigned roles, hps_model **model)
{
    hps_checkpoint_head head;

    *model = NULL;
    HPS_TRY(hps_checkpoint_read_head(grid->model, path, &head));
    const hps_status status = read_model(grid, path, &head, roles, model);
    hps_checkpoint_head_free(&head);
    return status;
}

/* The average in the place of the values. */
static void promote(hps_model *model)
{
    model->role[HPS_VALUE] = model->role[HPS_AVERAGE];
    memset(&model->role[HPS_AVERAGE], 0, sizeof(model->role[HPS_AVERAGE]));
}

static hps_status load_file(const hps_grid *grid, const char *path, hps_model **model)
{
    hps_checkpoint_head head;

    HPS_TRY(hps_checkpoint_read_head(grid->model, path, &head));
    const bool averaged = (head.roles & 1u << HPS_AVERAGE) != 0;
    const hps_status status = read_model(grid, path, &head, 1u << (averaged ? HPS_AVERAGE : HPS_VALUE), model);
    hps_checkpoint_head_free(&head);
    if (status == HPS_OK && averaged) {
        promote(*model);
    }
    return status;
}

hps_status hps_model_load(const hps_grid *grid, const char *path, hps_model **model)
{
    struct stat about;
    int directory = stat(path, &about) == 0 && S_ISDIR(about.st_mode);
    char *newest = NULL;

    *model = NULL;
    HPS_MPI(MPI_Bcast(&directory, 1, MPI_INT, 0, grid->model));
    if (!directory) {
        return load_file(grid, path, model);
    }
    HPS_TRY(hps_checkpoint_find(grid->model, path, &newest));
    if (newest == NULL) {
        return hps_fail(HPS_EIO, "%s: no checkpoint there (checkpoint-STEP.h5); name a run directory or a model file",
                        path);
    }
    const hps_status status = load_file(grid, newest, model);
    free(newest);
    return status;
}
