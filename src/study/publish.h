/*
 * What a study found, to a file and to stdout.
 */
#ifndef HPSAE_STUDY_PUBLISH_H
#define HPSAE_STUDY_PUBLISH_H

#include "hpsae/base/status.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * Local (rank 0).  Writes an object to DIRECTORY/NAME, making the directory, and with `print` on one line to stdout.
 * Errors: HPS_EIO, HPS_ENOMEM.
 */
hps_status hps_publish(const char *directory, const char *name, const json_t *out, bool print);

#endif
