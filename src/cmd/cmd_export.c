#include "command.h"

#include "hpsae/base/log.h"
#include "hpsae/ensemble/ensemble_export.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/exchange.h"
#include "hpsae/model/unwhiten.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The folder of export.output, or one named after the format beside the run. */
static hps_status choose_folder(const hps_config *config, char folder[HPS_PATH_MAX])
{
    const char *name = config->export.format == HPS_FORMAT_SPARSIFY ? "export-sparsify" : "export-saelens";

    if (config->export.output[0] != '\0') {
        return snprintf(folder, HPS_PATH_MAX, "%s", config->export.output) < HPS_PATH_MAX
                   ? HPS_OK
                   : hps_fail(HPS_EARG, "export.output: the path is longer than %d characters", HPS_PATH_MAX - 1);
    }
    return hps_path_join(config->output, name, folder);
}

static hps_export_options options_of(const hps_config *config)
{
    return (hps_export_options){.format = config->export.format,
                                .k = config->export.k == HPS_AUTO_INT ? 0 : config->export.k,
                                .prefix = config->export.prefix == HPS_AUTO_INT ? 0 : config->export.prefix};
}

/* What was written, and how a token's latents are chosen there. */
static void say(const char *written, const hps_model *model, const hps_export_options *options, uint64_t checksum)
{
    char selection[64];

    if (model->select == HPS_SELECT_BATCH_TOPK) {
        snprintf(selection, sizeof(selection), "jumprelu, threshold %.6g",
                 model->threshold / (model->norm == HPS_NORM_SCALE ? model->scale : 1));
    } else {
        snprintf(selection, sizeof(selection), "k %lld", (long long)hps_export_k(model, options));
    }
    hps_log("export", "wrote %s: %lld latents of d %lld, %s, from the model of checksum %016llx after %lld tokens",
            written, (long long)hps_export_latents(model, options), (long long)model->shard.d, selection,
            (unsigned long long)checksum, (long long)model->tokens);
}

static bool left_whitened(const hps_config *config)
{
    return strcmp(config->export.whitening, "none") == 0;
}

/* The store whose map is to be folded in: as export.whitening says, or as the model's run named its own. */
static hps_status choose_whitened_store(const hps_config *config, const hps_model *model, char **path)
{
    if (config->export.whitening[0] != '\0') {
        *path = config->export.whitening;
        return HPS_OK;
    }
    *path = model->whitened_store;
    return *path != NULL
               ? HPS_OK
               : hps_config_fail(config, "export.whitening",
                                 "the model was trained on whitened activations, of a store that its file does "
                                 "not name; name that store, or say none to export it for whitened activations");
}

/* Local.  The map of that store, if it is the model's. */
static hps_status read_map(const hps_config *config, const hps_model *model, hps_whitening *map)
{
    uint64_t identity = 0;
    char *path;

    HPS_TRY(choose_whitened_store(config, model, &path));
    const hps_status status = hps_whitening_read(path, map, &identity);
    if (status != HPS_OK) {
        return hps_config_fail(config, "export.whitening",
                               "the model was trained on whitened activations, and %s; name the store that pca.whiten "
                               "wrote, or say none to export it for whitened activations",
                               hps_status_message());
    }
    return identity == model->whitening
               ? HPS_OK
               : hps_config_fail(
                     config, "export.whitening",
                     "%s is whitened otherwise than the store that the model was trained on; name that one, or "
                     "say none to export it for whitened activations",
                     path);
}

/* Collective.  From here on the model is one of activations as they are, but where it is to stay as it is. */
static hps_status fold_whitening(const hps_context *context, const hps_grid *grid, hps_model *model)
{
    const hps_config *config = context->config;
    hps_whitening map = {.d = 0};

    if (model->whitening == 0) {
        return config->export.whitening[0] == '\0' || left_whitened(config)
                   ? HPS_OK
                   : hps_config_fail(config, "export.whitening",
                                     "the model was not trained on whitened activations; leave "
                                     "it out");
    }
    if (left_whitened(config)) {
        hps_warn("export", "the dictionary is for whitened activations, W (x - mean), as export.whitening none asks");
        return HPS_OK;
    }
    hps_status status = hps_agree(grid->model, read_map(config, model, &map));
    if (status == HPS_OK) {
        status = hps_model_unwhiten(grid, (int)config->grid.threads, &map, model);
    }
    if (status == HPS_OK) {
        hps_log("export", "the whitening is folded in: the dictionary is for activations as they are");
    }
    hps_whitening_free(&map);
    return status;
}

/* What SAELens' metadata say of a dictionary that is for whitened activations; NULL: nothing. */
static json_t *metadata_of(const hps_model *model)
{
    char hash[17];

    snprintf(hash, sizeof(hash), "%016" PRIx64, model->whitening);
    return model->whitening != 0 ? json_pack("{s:s}", "hpsae_whitening", hash) : NULL;
}

static hps_status export_model(const hps_context *context, const hps_grid *grid, hps_model *model)
{
    const hps_config *config = context->config;
    hps_export_options options = options_of(config);
    char folder[HPS_PATH_MAX], written[HPS_PATH_MAX];

    HPS_TRY(hps_export_check(model, &options));
    HPS_TRY(choose_folder(config, folder));
    const uint64_t checksum = hps_model_checksum(grid->model, model).values;
    HPS_TRY(fold_whitening(context, grid, model));
    if (context->dry_run) {
        hps_log("export", "%s would be written to", folder);
        return HPS_OK;
    }
    options.metadata = metadata_of(model);
    const hps_status status = hps_export(grid->model, model, &options, folder, written);
    json_decref(options.metadata);
    HPS_TRY(status);
    say(written, model, &options, checksum);
    return HPS_OK;
}

static hps_status load_and_export_model(const hps_context *context, const hps_grid *grid, const char *path)
{
    hps_model *model = NULL;

    hps_status status = hps_model_load(grid, path, &model);
    if (status == HPS_OK) {
        status = export_model(context, grid, model);
    }
    hps_model_destroy(&model);
    return status;
}

/* A map would have to be folded into each member, without the mean into later stages. */
static hps_status check_ensemble_whitening(const hps_config *config, const hps_ensemble *ensemble)
{
    if (ensemble->model[0]->whitening == 0 || left_whitened(config)) {
        return HPS_OK;
    }
    return hps_config_fail(config, "export.whitening",
                           "the ensemble was trained on whitened activations, which is folded into single dictionaries "
                           "alone; say none to export it for whitened activations, or name a member in export.model");
}

static hps_status export_ensemble(const hps_context *context, hps_ensemble *ensemble)
{
    const hps_config *config = context->config;
    const hps_export_options options = options_of(config);
    char folder[HPS_PATH_MAX];

    HPS_TRY(hps_ensemble_export_check(ensemble, &options));
    HPS_TRY(check_ensemble_whitening(config, ensemble));
    HPS_TRY(choose_folder(config, folder));
    if (context->dry_run) {
        hps_log("export", "%s would be written to", folder);
        return HPS_OK;
    }
    HPS_TRY(hps_ensemble_export(ensemble, folder));
    const int members = ensemble->file.members;
    hps_log("export", "wrote %s: %s of %d members, %lld latents of d %lld together, checksum %016llx; %s", folder,
            hps_ensemble_name(ensemble), members, (long long)ensemble->offset[members], (long long)ensemble->file.d,
            (unsigned long long)ensemble->checksum,
            ensemble->file.method == HPS_ENSEMBLE_BAGGING && hps_ensemble_is_threshold(ensemble)
                ? "one dictionary for SAELens, jumprelu"
                : "index.json names its parts, analysis/ensemble_loader.py puts them together");
    return HPS_OK;
}

static hps_status load_and_export_ensemble(const hps_context *context, const hps_grid *grid, const char *path)
{
    hps_ensemble *ensemble = NULL;

    hps_status status = hps_ensemble_load(grid, path, &ensemble);
    if (status == HPS_OK) {
        status = export_ensemble(context, ensemble);
    }
    hps_ensemble_destroy(&ensemble);
    return status;
}

hps_status hps_cmd_export(hps_context *context)
{
    const hps_config *config = context->config;
    const char *path = config->export.model[0] != '\0' ? config->export.model : config->output;
    bool ensemble = false;
    hps_grid grid;

    HPS_TRY(hps_grid_create(context->world, 1, &grid));
    hps_status status = hps_ensemble_is(context->world, path, &ensemble);
    if (status == HPS_OK) {
        status =
            ensemble ? load_and_export_ensemble(context, &grid, path) : load_and_export_model(context, &grid, path);
    }
    hps_grid_destroy(&grid);
    return status;
}
