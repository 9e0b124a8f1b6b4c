#include "command.h"

#include "hpsae/base/log.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/exchange.h"

#include <libgen.h>
#include <stdio.h>

/* Rank 0.  The directory of a file to be. */
static hps_status make_parent(const char *path)
{
    char directory[HPS_PATH_MAX];

    if (snprintf(directory, sizeof(directory), "%s", path) >= HPS_PATH_MAX) {
        return hps_fail(HPS_EARG, "import.output: the path is longer than %d characters", HPS_PATH_MAX - 1);
    }
    return hps_directory_make(dirname(directory));
}

static hps_status write_model(const hps_context *context, const hps_grid *grid, const hps_model *model)
{
    const char *path = context->config->import.output;
    const hps_checksum sum = hps_model_checksum(grid->model, model);

    if (context->dry_run) {
        hps_log("import", "%s would be written", path);
        return HPS_OK;
    }
    HPS_TRY(hps_share_status(grid->model, grid->p == 0 ? make_parent(path) : HPS_OK));
    HPS_TRY(hps_checkpoint_write(grid->model, model, "", 0, path));
    hps_log("import", "wrote %s: %lld latents of d %lld, k %lld, checksum %016llx", path, (long long)model->shard.n,
            (long long)model->shard.d, (long long)model->k, (unsigned long long)sum.values);
    return HPS_OK;
}

hps_status hps_cmd_import(hps_context *context)
{
    const hps_config *config = context->config;
    hps_model *model = NULL;
    hps_grid grid;

    HPS_TRY(hps_grid_create(context->world, 1, &grid));
    hps_status status = hps_import(&grid, config->import.input, config->import.format, &model);
    if (status == HPS_OK) {
        status = write_model(context, &grid, model);
    }
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    return status;
}
