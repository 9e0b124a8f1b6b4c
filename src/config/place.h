/*
 * Where a key's value was said, and the wording of what is wrong with it.
 */
#ifndef HPSAE_CONFIG_PLACE_H
#define HPSAE_CONFIG_PLACE_H

#include "hpsae/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *file;
    size_t line, column; /* from 1; of the value, or of the section that it would stand in */
    const char *said;    /* "section.key=value" of an override, else NULL */
    bool given;          /* in the file or by an override; else it is the default */
} hps_place;

/* Local.  Fails with HPS_ECONFIG: "FILE:LINE:COLUMN: KEY: WORDS" or "-s KEY=VALUE: WORDS"; key NULL: no key. */
hps_status hps_place_fail(const hps_place *place, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum { HPS_WORDS_MAX = HPS_MESSAGE_MAX / 2 };
hps_status hps_place_refuse(const hps_place *place, const char *key, const char *words);

/* Local.  A user's text fit for a message: in quotes, control characters replaced, cut when long.  Returns shown. */
enum { HPS_SHOWN_MAX = 72 };
const char *hps_show(const char *text, size_t length, char shown[HPS_SHOWN_MAX]);

/*
 * Local.  Bytes of `text` before the first that is no printable UTF-8 (control characters count as not printable);
 * length when all is well.
 */
size_t hps_printable(const char *text, size_t length);

#endif
