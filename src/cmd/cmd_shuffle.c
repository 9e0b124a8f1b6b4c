#include "command.h"

#include "hpsae/store/shuffle.h"

hps_status hps_cmd_shuffle(hps_context *context)
{
    return hps_shuffle(context->world, context->config, context->dry_run);
}
