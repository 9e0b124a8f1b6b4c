#include "command.h"

#include "hpsae/ensemble/train.h"
#include "hpsae/model/train.h"

static hps_status train_one(hps_context *context)
{
    const hps_train_member member = {.config = context->config, .name = "train"};
    const hps_train_job job = {.dry_run = context->dry_run,
                               .argc = context->argc,
                               .argv = context->argv,
                               .threads_from = context->threads_from,
                               .ends.directory = context->config->output};

    return hps_train(context->world, 1, &member, &job, NULL);
}

hps_status hps_cmd_train(hps_context *context)
{
    const hps_ensemble_options options = {.dry_run = context->dry_run,
                                          .stage = context->stage,
                                          .argc = context->argc,
                                          .argv = context->argv,
                                          .threads_from = context->threads_from};

    if (context->config->ensemble.method != HPS_ENSEMBLE_NONE) {
        return hps_ensemble_train(context->world, context->config, &options);
    }
    if (context->stage > 0) {
        return hps_fail(HPS_EARG, "--stage %d: ensemble.method is none; only an ensemble by boosting has stages",
                        context->stage);
    }
    return train_one(context);
}
