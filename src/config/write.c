#include "source.h"
#include "value.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Writes the section lines that `path` needs and `before` has not opened yet; returns the depth of path's key. */
static int open_sections(const char *path, const char *before, FILE *file)
{
    int depth = 0;
    const char *start = path;

    for (const char *dot = strchr(path, '.'); dot != NULL; dot = strchr(start, '.')) {
        const size_t length = (size_t)(dot - path) + 1;
        if (strncmp(path, before, length) != 0) {
            fprintf(file, "%*s%.*s:\n", 4 * depth, "", (int)(dot - start), start);
        }
        start = dot + 1;
        depth++;
    }
    return depth;
}

static const char *last_part(const char *path)
{
    return path + hps_schema_section_length(path) + (strchr(path, '.') != NULL);
}

/* A key without a default that nobody gave has no value to write. */
static bool has_value(const hps_config *config, int number)
{
    return hps_schema[number].fallback != NULL || config->source->place[number].given;
}

hps_status hps_config_write(const hps_config *config, FILE *file)
{
    const char *before = "";

    for (int i = 0; i < hps_schema_keys; i++) {
        const char *path = hps_schema[i].path;
        if (has_value(config, i)) {
            const int depth = open_sections(path, before, file);
            fprintf(file, "%*s%s: ", 4 * depth, "", last_part(path));
            hps_value_write(config, &hps_schema[i], file);
            fputc('\n', file);
            before = path;
        }
    }
    return ferror(file) ? hps_fail(HPS_EIO, "the configuration could not be written") : HPS_OK;
}

/* Takes over a buffer of open_memstream. */
static hps_status take_over(char *buffer, size_t length, char **text)
{
    *text = NULL;
    const hps_status status = hps_string_copy(text, buffer, length);
    free(buffer);
    return status;
}

hps_status hps_config_text(const hps_config *config, char **text)
{
    char *buffer = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&buffer, &length);

    *text = NULL;
    if (file == NULL) {
        return hps_fail(HPS_ENOMEM, "no memory for the text of the configuration");
    }
    const hps_status status = hps_config_write(config, file);
    if (fclose(file) != 0 || status != HPS_OK) {
        free(buffer);
        return hps_fail(HPS_ENOMEM, "no memory for the text of the configuration");
    }
    return take_over(buffer, length, text);
}

static hps_status save(const hps_config *config, const char *directory)
{
    char *text = NULL;
    char path[HPS_PATH_MAX];

    HPS_TRY(hps_path_join(directory, "used.yaml", path));
    HPS_TRY(hps_config_text(config, &text));
    const hps_status status = hps_file_replace(path, text, strlen(text));
    HPS_FREE(&text);
    return status;
}

hps_status hps_config_save(MPI_Comm comm, const hps_config *config, const char *directory)
{
    int rank;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    return hps_share_status(comm, rank == 0 ? save(config, directory) : HPS_OK);
}

/* One key's value as text of bounded length; longer ones are cut. */
static void value_text(const hps_config *config, const hps_key *key, char *text, size_t size)
{
    FILE *file = fmemopen(text, size, "w");

    text[0] = '\0';
    if (file != NULL) {
        setvbuf(file, NULL, _IONBF, 0);
        hps_value_write(config, key, file);
        fclose(file);
    }
    text[size - 1] = '\0';
}

enum { VALUE_MAX = 65536 };

static uint64_t fnv1a(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t hps_config_hash(const hps_config *config)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char text[VALUE_MAX];

    for (int i = 0; i < hps_schema_keys; i++) {
        if (hps_schema[i].hashed) {
            value_text(config, &hps_schema[i], text, sizeof(text));
            if (hps_schema[i].later && strcmp(text, hps_schema[i].fallback) == 0) {
                continue;
            }
            hash = fnv1a(fnv1a(hash, hps_schema[i].path), "=");
            hash = fnv1a(fnv1a(hash, text), "\n");
        }
    }
    return hash;
}

bool hps_config_difference(const hps_config *here, const hps_config *there, char *text, size_t size)
{
    char a[VALUE_MAX], b[VALUE_MAX];

    for (int i = 0; i < hps_schema_keys; i++) {
        if (hps_schema[i].hashed) {
            value_text(here, &hps_schema[i], a, sizeof(a));
            value_text(there, &hps_schema[i], b, sizeof(b));
            if (strcmp(a, b) != 0) {
                snprintf(text, size, "%s: %s here, %s there", hps_schema[i].path, a, b);
                return true;
            }
        }
    }
    return false;
}

static void help_on(const hps_key *key, const char *before, FILE *file)
{
    char allowed[HPS_ALLOWED_MAX];
    const int depth = open_sections(key->path, before, file), indent = 4 * depth;

    fprintf(file, "%*s# %s\n", indent, "", key->help);
    fprintf(file, "%*s# %s%s%s%s\n", indent, "", hps_schema_allowed(key, allowed), key->unit == NULL ? "" : "; ",
            key->unit == NULL ? "" : key->unit, key->fallback == NULL ? "; no default" : "");
    fprintf(file, "%*s%s%s: %s\n", indent, "", key->fallback == NULL ? "# " : "", last_part(key->path),
            key->fallback == NULL      ? "..."
            : key->fallback[0] == '\0' ? "\"\""
                                       : key->fallback);
}

static const char points_help[] =
    "# In the section sweep also, which points there are:\n"
    "#     axes: {model.latents: [512, 1024], model.k: [8, 32]}    every combination\n"
    "#     zip: {train.seed: [1, 2], train.lr: [1e-3, 2e-3]}       values that go together, as one more axis\n"
    "#     list: [{model.latents: 4096, model.k: 64}]              points of their own, beside the grid\n";

/* The keys of a step serve the training and what measures or plans it. */
static bool serves(const hps_key *key, unsigned wanted)
{
    static const char *const sections[] = {"data.", "model.", "train.", "grid.", "kernels."};

    for (size_t i = 0; (wanted & HPS_FOR_BENCH) != 0 && i < sizeof(sections) / sizeof(sections[0]); i++) {
        if ((key->used & HPS_FOR_TRAIN) != 0 && strncmp(key->path, sections[i], strlen(sections[i])) == 0) {
            return true;
        }
    }
    if ((wanted & HPS_FOR_SWEEP) != 0 && (key->used & (HPS_FOR_TRAIN | HPS_FOR_EVAL)) != 0) {
        return true;
    }
    return (key->used & wanted) != 0;
}

void hps_config_help(FILE *file, const char *command)
{
    const unsigned wanted = command == NULL ? HPS_FOR_ALL : hps_schema_command(command);
    const char *before = "";

    for (int i = 0; i < hps_schema_keys; i++) {
        if (serves(&hps_schema[i], wanted)) {
            help_on(&hps_schema[i], before, file);
            before = hps_schema[i].path;
        }
    }
    if ((wanted & HPS_FOR_SWEEP) != 0) {
        fputs(points_help, file);
    }
}
