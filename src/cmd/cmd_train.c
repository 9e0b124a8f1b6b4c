#include "command.h"

#include "hpsae/model/train.h"

hps_status hps_cmd_train(hps_context *context)
{
    return hps_train(context->world, context->config, context->argc, context->argv, context->dry_run);
}
