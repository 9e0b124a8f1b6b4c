#include "command.h"

#include "hpsae/store/synth.h"

hps_status hps_cmd_synth(hps_context *context)
{
    return hps_synth(context->world, context->config, context->dry_run);
}
