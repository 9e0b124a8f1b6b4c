#include "command.h"

#include "hpsae/model/train.h"

hps_status hps_cmd_train(hps_context *context)
{
    const hps_config *c = context->config;
    const hps_train_member member = {.config = context->config, .name = "train"};
    const hps_train_job job = {
        .dry_run = context->dry_run, .argc = context->argc, .argv = context->argv, .stop = c->output};

    return hps_train(context->world, 1, &member, &job, NULL);
}
