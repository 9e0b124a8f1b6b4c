/*
 * Values: from a user's text into a field of the configuration, and back.
 */
#ifndef HPSAE_CONFIG_VALUE_H
#define HPSAE_CONFIG_VALUE_H

#include "place.h"
#include "schema.h"

#include <stdio.h>

/* A scalar as it stood in the file. */
typedef struct {
    const char *text; /* ends with NUL, may hold others */
    size_t length;
    bool quoted; /* in quotes: text, whatever it looks like */
} hps_scalar;

/*
 * Local.  Sets a key's field from `count` scalars (one, unless `list`), after all checks of the schema; the old value is
 * freed.  Errors: HPS_ECONFIG worded with the place, HPS_ENOMEM.
 */
hps_status hps_value_set(hps_config *config, const hps_key *key, const hps_place *place, const hps_scalar *items,
                         int64_t count, bool list);

/* Local.  Gives a key its default: hps_schema's, or empty. */
hps_status hps_value_default(hps_config *config, const hps_key *key);

/* Local.  Frees a string or list; leaves other types alone. */
void hps_value_clear(hps_config *config, const hps_key *key);

/*
 * Local.  Writes a value as YAML, in the one form that the hash and the difference of configurations also use: a number
 * with as many digits as bring it back, a string in quotes unless it is plain letters.
 */
void hps_value_write(const hps_config *config, const hps_key *key, FILE *file);

/* Local.  Replaces a string field (hps_alloc) by a copy of length bytes. */
hps_status hps_string_copy(char **field, const char *text, size_t length);

#endif
