#include "command.h"

hps_status hps_cmd_bench(hps_context *context)
{
    return hps_study_bench(context->world, context->config, &context->bench, context->dry_run);
}
