/*
 * What a configuration remembers of where it came from.
 */
#ifndef HPSAE_CONFIG_SOURCE_H
#define HPSAE_CONFIG_SOURCE_H

#include "place.h"
#include "schema.h"

struct hps_config_source {
    char *file;              /* its name, for messages */
    unsigned command;        /* HPS_FOR_... */
    hps_place *place;        /* [hps_schema_keys] */
    hps_list said;           /* the overrides */
    struct hps_sweep *sweep; /* NULL: none; owned */
};

/*
 * Local.  Whether `length` bytes are YAML of the kind that a configuration is: one document, without anchors, aliases and
 * tags, not deeply nested.  Takes time linear in length, whatever the bytes.
 */
hps_status hps_document_scan(const char *file, const char *text, size_t length);

/*
 * Local.  Reads `length` bytes of YAML into the configuration, on top of what it holds.  Refuses, with file, line and
 * column: what the scan refuses, unknown and duplicate keys, and wrong values.
 */
hps_status hps_document_read(hps_config *config, const char *text, size_t length);

/* Local.  Applies one override, "section.key=value"; a list may be written [a, b]. */
hps_status hps_override_apply(hps_config *config, const char *said);

/* Local.  Looks for keys that the command needs and that are not given, and for contradictions between keys. */
hps_status hps_config_check(const hps_config *config, const char *command);

#endif
