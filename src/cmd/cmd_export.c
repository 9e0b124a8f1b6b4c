#include "command.h"

#include "hpsae/base/log.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/exchange.h"

#include <stdio.h>

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

static hps_status export_model(const hps_context *context, const hps_grid *grid, const hps_model *model)
{
    const hps_config *config = context->config;
    char folder[HPS_PATH_MAX], written[HPS_PATH_MAX];

    HPS_TRY(hps_export_check(model, config->export.format));
    HPS_TRY(choose_folder(config, folder));
    if (context->dry_run) {
        hps_log("export", "%s would be written to", folder);
        return HPS_OK;
    }
    HPS_TRY(hps_export(grid->model, model, config->export.format, folder, written));
    const hps_checksum sum = hps_model_checksum(grid->model, model);
    hps_log("export", "wrote %s: %lld latents of d %lld, k %lld, from the model of checksum %016llx after %lld tokens",
            written, (long long)model->shard.n, (long long)model->shard.d, (long long)model->k,
            (unsigned long long)sum.values, (long long)model->tokens);
    return HPS_OK;
}

hps_status hps_cmd_export(hps_context *context)
{
    const hps_config *config = context->config;
    const char *path = config->export.model[0] != '\0' ? config->export.model : config->output;
    hps_model *model = NULL;
    hps_grid grid;

    HPS_TRY(hps_grid_create(context->world, 1, &grid));
    hps_status status = hps_model_load(&grid, path, &model);
    if (status == HPS_OK) {
        status = export_model(context, &grid, model);
    }
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    return status;
}
