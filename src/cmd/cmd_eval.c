#include "command.h"

#include "hpsae/study/eval.h"

hps_status hps_cmd_eval(hps_context *context)
{
    return hps_study_eval(context->world, context->config, context->json, context->dry_run);
}
