#include "place.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the character that starts at text, 0 when it is not well formed (RFC 3629); its number into *point. */
static size_t character(const unsigned char *text, size_t length, uint32_t *point)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char first = text[0];
    const size_t bytes = first < 0x80   ? 1
                         : first < 0xC0 ? 0
                         : first < 0xE0 ? 2
                         : first < 0xF0 ? 3
                         : first < 0xF8 ? 4
                                        : 0;

    if (bytes == 0 || bytes > length) {
        return 0;
    }
    *point = bytes == 1 ? first : first & (0x7FU >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
        *point = *point << 6 | (text[i] & 0x3FU);
    }
    return *point < least[bytes] ? 0 : bytes;
}

/* The characters that YAML 1.2 lets stand unescaped, less tabs and line ends. */
static bool printable(uint32_t point)
{
    return (point >= 0x20 && point <= 0x7E) || (point >= 0xA0 && point <= 0xD7FF) ||
           (point >= 0xE000 && point <= 0xFFFD && point != 0xFEFF) || (point >= 0x10000 && point <= 0x10FFFF);
}

const char *hps_show(const char *text, size_t length, char shown[HPS_SHOWN_MAX])
{
    const size_t most = HPS_SHOWN_MAX - 6;
    size_t at = 0, used = 1;

    shown[0] = '"';
    while (at < length) {
        uint32_t point = 0;
        const size_t bytes = character((const unsigned char *)text + at, length - at, &point);
        const bool good = bytes > 0 && printable(point);
        if (used + (good ? bytes : 1) > most) {
            break;
        }
        memcpy(shown + used, good ? text + at : "?", good ? bytes : 1);
        used += good ? bytes : 1;
        at += bytes > 0 ? bytes : 1;
    }
    snprintf(shown + used, 5, "%s", at < length ? "...\"" : "\"");
    return shown;
}

hps_status hps_place_refuse(const hps_place *place, const char *key, const char *words)
{
    char shown[HPS_SHOWN_MAX];

    if (place->said != NULL) {
        /* Without the quotes: the user is to recognise what was typed. */
        const size_t length = strlen(hps_show(place->said, strlen(place->said), shown));
        return hps_fail(HPS_ECONFIG, "-s %.*s: %s", (int)length - 2, shown + 1, words);
    }
    return hps_fail(HPS_ECONFIG, "%s:%zu:%zu: %s%s%s", place->file, place->line, place->column, key == NULL ? "" : key,
                    key == NULL ? "" : ": ", words);
}

hps_status hps_place_fail(const hps_place *place, const char *key, const char *format, ...)
{
    char words[HPS_WORDS_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    return hps_place_refuse(place, key, words);
}

size_t hps_printable(const char *text, size_t length)
{
    size_t at = 0;

    while (at < length) {
        uint32_t point = 0;
        const size_t bytes = character((const unsigned char *)text + at, length - at, &point);
        if (bytes == 0 || !printable(point)) {
            break;
        }
        at += bytes;
    }
    return at;
}
