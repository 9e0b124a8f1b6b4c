#include "source.h"
#include "value.h"

#include "hpsae/base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static hps_status refuse_unknown(const hps_place *place, const char *path)
{
    char near[64];
    const char *best = hps_schema_nearest(path, near);

    if (best != NULL) {
        return hps_place_fail(place, NULL, "unknown key; did you mean %s?", best);
    }
    return hps_place_fail(place, NULL, "unknown key; 'hpsae train --help-config' lists the known ones");
}

static int64_t count_of(const char *text, char letter)
{
    int64_t count = 0;

    for (; *text != '\0'; text++) {
        count += *text == letter;
    }
    return count;
}

/* "[a, b]": parts between commas, without the spaces around them. */
static hps_status set_parts(hps_config *config, const hps_key *key, const hps_place *place, const char *value)
{
    hps_scalar *items = NULL;
    char *parts = NULL, *rest, *part;
    int64_t count = 0;

    HPS_TRY(hps_string_copy(&parts, value + 1, strlen(value) - 2));
    hps_status status = HPS_ALLOC(&items, count_of(parts, ',') + 1, "configuration");
    for (part = strtok_r(parts, ",", &rest); part != NULL && status == HPS_OK; part = strtok_r(NULL, ",", &rest)) {
        part += strspn(part, " ");
        size_t length = strlen(part);
        while (length > 0 && part[length - 1] == ' ') {
            part[--length] = '\0';
        }
        items[count++] = (hps_scalar){part, length, false};
    }
    if (status == HPS_OK) {
        status = hps_value_set(config, key, place, items, count, true);
    }
    HPS_FREE(&items);
    HPS_FREE(&parts);
    return status;
}

hps_status hps_override_apply(hps_config *config, const char *said)
{
    const char *equals = strchr(said, '=');
    hps_place place = {.file = config->source->file, .said = said, .given = true};
    char path[64] = "";

    if (equals == NULL || equals == said) {
        return hps_place_fail(&place, NULL, "no override; allowed: section.key=value");
    }
    if ((size_t)(equals - said) < sizeof(path)) {
        memcpy(path, said, (size_t)(equals - said));
    }
    const int number = hps_schema_find(path);
    if (number < 0) {
        return hps_schema_section(path) ? hps_place_fail(&place, NULL, "a section; allowed: one of its keys")
                                        : refuse_unknown(&place, path);
    }
    const hps_key *key = &hps_schema[number];
    const hps_scalar value = {equals + 1, strlen(equals + 1), false};
    if (hps_schema_many(key) && value.length >= 2 && value.text[0] == '[' && value.text[value.length - 1] == ']') {
        HPS_TRY(set_parts(config, key, &place, value.text));
    } else if (hps_schema_many(key) && value.length == 0) {
        HPS_TRY(hps_value_set(config, key, &place, &value, 0, true));
    } else {
        HPS_TRY(hps_value_set(config, key, &place, &value, 1, false));
    }
    config->source->place[number] = place;
    return HPS_OK;
}
