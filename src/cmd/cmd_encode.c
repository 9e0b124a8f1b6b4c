#include "command.h"

#include "hpsae/study/encode.h"

hps_status hps_cmd_encode(hps_context *context)
{
    return hps_study_encode(context->world, context->config, context->dry_run);
}
