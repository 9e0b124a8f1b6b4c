/*
 * The parts of `sweep:` that hold keys of the user's choice.
 */
#ifndef HPSAE_CONFIG_SWEEP_READ_H
#define HPSAE_CONFIG_SWEEP_READ_H

#include "sweep.h"

#include <yaml.h>

/* Local.  Whether a path is "sweep.axes", "sweep.zip" or "sweep.list". */
bool hps_sweep_part(const char *path);

/* Local.  Reads one of them into the configuration.  HPS_ECONFIG with the place of what is wrong; HPS_ENOMEM. */
hps_status hps_sweep_read(hps_config *config, yaml_document_t *document, const char *path, const yaml_node_t *node);

#endif
