#include "schema.h"

#include <stdio.h>
#include <string.h>

int hps_schema_find(const char *path)
{
    for (int i = 0; i < hps_schema_keys; i++) {
        if (strcmp(hps_schema[i].path, path) == 0) {
            return i;
        }
    }
    return -1;
}

const char *hps_config_word(const char *path, unsigned value)
{
    const hps_word *word = hps_schema[hps_schema_find(path)].words;

    while (word->text != NULL && word->value != value) {
        word++;
    }
    return word->text;
}

bool hps_schema_section(const char *path)
{
    const size_t length = strlen(path);

    for (int i = 0; i < hps_schema_keys; i++) {
        if (strncmp(hps_schema[i].path, path, length) == 0 && hps_schema[i].path[length] == '.') {
            return true;
        }
    }
    return false;
}

size_t hps_schema_section_length(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot == NULL ? 0 : (size_t)(dot - path);
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot == NULL ? path : dot + 1;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance of two texts below 64 characters. */
static int edit_distance(const char *a, const char *b)
{
    const int la = (int)strlen(a), lb = (int)strlen(b);
    int row[64];

    for (int j = 0; j <= lb; j++) {
        row[j] = j;
    }
    for (int i = 1; i <= la; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= lb; j++) {
            const int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[lb];
}

/* A key of the right name in the wrong section is as near as one with a letter wrong. */
static int distance(const char *wrong, const char *known)
{
    const int whole = edit_distance(wrong, known);

    return strcmp(last_part(wrong), last_part(known)) == 0 ? least(whole, 1) : whole;
}

const char *hps_schema_nearest(const char *path, char text[64])
{
    const int limit = 1 + (int)strlen(last_part(path)) / 3;
    int best = limit + 1;

    if (strlen(path) >= 64) {
        return NULL;
    }
    for (int i = 0; i < hps_schema_keys; i++) {
        const char *known = hps_schema[i].path;
        if (distance(path, known) < best) {
            best = distance(path, known);
            snprintf(text, 64, "%s", known);
        }
        for (const char *dot = strchr(known, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
            char section[64];
            snprintf(section, sizeof(section), "%.*s", (int)(dot - known), known);
            if (distance(path, section) < best) {
                best = distance(path, section);
                memcpy(text, section, sizeof(section));
            }
        }
    }
    return best <= limit ? text : NULL;
}

static void number_allowed(const hps_key *key, char *text, size_t size)
{
    const char *kind = key->type == HPS_KEY_INT ? "integer" : "number";
    const char *low = key->above ? "above" : "at least";
    const char *more = key->automatic ? ", or auto" : "";

    if (isinf(key->highest)) {
        snprintf(text, size, "%s %s %.15g%s", kind, low, key->lowest, more);
    } else if (!key->above && !key->below) {
        snprintf(text, size, "%s from %.15g to %.15g%s", kind, key->lowest, key->highest, more);
    } else {
        snprintf(text, size, "%s %s %.15g and %s %.15g%s", kind, low, key->lowest, key->below ? "below" : "at most",
                 key->highest, more);
    }
}

static void words_allowed(const hps_key *key, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (const hps_word *word = key->words; word->text != NULL && used < size; word++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? " | " : "", word->text);
    }
}

const char *hps_schema_allowed(const hps_key *key, char text[HPS_ALLOWED_MAX])
{
    switch (key->type) {
    case HPS_KEY_INT:
    case HPS_KEY_REAL:
        number_allowed(key, text, HPS_ALLOWED_MAX);
        break;
    case HPS_KEY_WORD:
        words_allowed(key, text, HPS_ALLOWED_MAX);
        break;
    case HPS_KEY_BOOL:
        snprintf(text, HPS_ALLOWED_MAX, "true | false");
        break;
    case HPS_KEY_LIST:
        snprintf(text, HPS_ALLOWED_MAX, "a path or a list of paths");
        break;
    case HPS_KEY_INTS:
        snprintf(text, HPS_ALLOWED_MAX, "a list of integers, each at least %.15g", key->lowest);
        break;
    case HPS_KEY_STRING:
        snprintf(text, HPS_ALLOWED_MAX, "text");
        break;
    }
    return text;
}

unsigned hps_schema_command(const char *name)
{
    static const char *const names[] = {"synth", "shuffle", "train",   "eval", "export", "import", "encode",
                                        "plan",  "bench",   "compare", "pca",  "refit",  "sweep"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            return 1U << i;
        }
    }
    return 0;
}
