#include "command.h"

#include "hpsae/model/train.h"

hps_status hps_cmd_train(hps_context *context)
{
    const hps_train_start start = {context->argc, context->argv, context->dry_run, context->threads_from};

    return hps_train(context->world, context->config, &start);
}
