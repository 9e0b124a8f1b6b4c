#include "command.h"

#include "hpsae/study/sweep.h"

hps_status hps_cmd_sweep(hps_context *context)
{
    const hps_sweep_options options = {.point = context->point,
                                       .dry_run = context->dry_run,
                                       .argc = context->argc,
                                       .argv = context->argv,
                                       .threads_from = context->threads_from};

    return hps_study_sweep(context->world, context->config, &options);
}
