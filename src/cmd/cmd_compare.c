#include "blas_core.h"
#include "command.h"

#include "hpsae/study/compare.h"

hps_status hps_cmd_compare(hps_context *context)
{
    hps_blas_threads((int)context->config->grid.threads);
    return hps_study_compare(context->world, context->config, context->json, context->dry_run);
}
