/*
 * What a file is: a model or run directory, an ensemble, a store of activations or residuals, a configuration.
 */
#ifndef HPSAE_CMD_INFO_FILE_H
#define HPSAE_CMD_INFO_FILE_H

#include "command.h"

#include <jansson.h>

/*
 * Collective over context->world.  Finds out what context->path is and describes it as one object of names and values;
 * release with json_decref.  Errors, with the file's name: HPS_EIO, HPS_EFORMAT, HPS_ECONFIG, HPS_ENOMEM.
 */
hps_status hps_info_file(const hps_context *context, json_t **about);

#endif
