#include "source.h"
#include "sweep.h"
#include "value.h"

#include "hpsae/base/memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Far more than a configuration needs, far less than what would stall the reader. */
enum { FILE_MAX = 1 << 20 };

/* What stands for the file of a command that may do without. */
static const char own_name[] = "the command's own case", own_text[] = "model: {latents: 16384, k: 32}\n";

static hps_status create(const char *file, unsigned command, hps_config **config)
{
    hps_config *new;

    HPS_TRY(HPS_ALLOC(config, 1, "configuration"));
    new = *config;
    HPS_TRY(HPS_ALLOC(&new->source, 1, "configuration"));
    HPS_TRY(HPS_ALLOC(&new->source->place, hps_schema_keys, "configuration"));
    HPS_TRY(hps_string_copy(&new->source->file, file, strlen(file)));
    new->source->command = command;
    for (int i = 0; i < hps_schema_keys; i++) {
        new->source->place[i] = (hps_place){.file = new->source->file, .line = 1, .column = 1};
        HPS_TRY(hps_value_default(new, &hps_schema[i]));
    }
    return HPS_OK;
}

void hps_config_destroy(hps_config **config)
{
    hps_config *old = *config;

    if (old == NULL) {
        return;
    }
    for (int i = 0; i < hps_schema_keys; i++) {
        hps_value_clear(old, &hps_schema[i]);
    }
    if (old->source != NULL) {
        for (int64_t i = 0; i < old->source->said.count; i++) {
            HPS_FREE(&old->source->said.items[i]);
        }
        HPS_FREE(&old->source->said.items);
        hps_sweep_destroy(&old->source->sweep);
        HPS_FREE(&old->source->place);
        HPS_FREE(&old->source->file);
        HPS_FREE(&old->source);
    }
    HPS_FREE(config);
}

hps_status hps_config_read_text(const char *name, const char *text, hps_config **config)
{
    hps_status status = create(name, 0, config);

    if (status == HPS_OK) {
        status = hps_document_read(*config, text, strlen(text));
    }
    if (status != HPS_OK) {
        hps_config_destroy(config);
    }
    return status;
}

hps_status hps_config_copy(const hps_config *from, hps_config **copy)
{
    char *text = NULL;

    *copy = NULL;
    HPS_TRY(hps_config_text(from, &text));
    const hps_status status = hps_config_read_text(from->source->file, text, copy);
    HPS_FREE(&text);
    HPS_TRY(status);
    for (int i = 0; i < hps_schema_keys; i++) {
        (*copy)->source->place[i] = from->source->place[i];
    }
    (*copy)->source->command = from->source->command;
    return HPS_OK;
}

static hps_status apply_overrides(hps_config *config, int count, const char *const *overrides)
{
    hps_list *said = &config->source->said;

    HPS_TRY(HPS_ALLOC(&said->items, count, "configuration"));
    for (int i = 0; i < count; i++) {
        HPS_TRY(hps_string_copy(&said->items[i], overrides[i], strlen(overrides[i])));
        said->count++;
        HPS_TRY(hps_override_apply(config, said->items[i]));
    }
    return HPS_OK;
}

static hps_status slurp(const char *path, FILE *file, char *text, int64_t *length)
{
    const size_t got = fread(text, 1, (size_t)FILE_MAX + 1, file);

    if (ferror(file)) {
        return hps_fail(HPS_EIO, "%s: cannot be read: %s", path, strerror(errno));
    }
    if (got > FILE_MAX) {
        return hps_fail(HPS_ECONFIG, "%s:1:1: more than 1 MiB; a configuration is a short YAML file, see configs/",
                        path);
    }
    *length = (int64_t)got;
    return HPS_OK;
}

/* Reads the file on one rank, into text of FILE_MAX + 1 bytes. */
static hps_status read_file(const char *path, char *text, int64_t *length)
{
    struct stat about;

    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        return hps_fail(HPS_EIO, "%s: is a directory; name a configuration file", path);
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    const hps_status status = slurp(path, file, text, length);
    fclose(file);
    return status;
}

/* The file's bytes on every rank. */
static hps_status fetch(MPI_Comm comm, const char *path, char *text, int64_t *length)
{
    int rank;

    if (comm == MPI_COMM_NULL) {
        return read_file(path, text, length);
    }
    HPS_MPI(MPI_Comm_rank(comm, &rank));
    HPS_TRY(hps_share_status(comm, rank == 0 ? read_file(path, text, length) : HPS_OK));
    HPS_MPI(MPI_Bcast(length, 1, MPI_INT64_T, 0, comm));
    HPS_MPI(MPI_Bcast(text, (int)*length, MPI_CHAR, 0, comm));
    return HPS_OK;
}

static hps_status build(const char *command, int count, const char *const *overrides, const char *text, int64_t length,
                        hps_config *config)
{
    HPS_TRY(hps_document_read(config, text, (size_t)length));
    HPS_TRY(apply_overrides(config, count, overrides));
    return hps_config_check(config, command);
}

hps_status hps_config_read(MPI_Comm comm, const char *command, const char *path, int count,
                           const char *const *overrides, hps_config **config)
{
    char *text = NULL;
    int64_t length = 0;

    hps_status status = create(path != NULL ? path : own_name, hps_schema_command(command), config);
    if (status == HPS_OK) {
        status = HPS_ALLOC(&text, FILE_MAX + 1, "configuration file");
    }
    status = hps_agree(comm, status);
    if (status == HPS_OK && path != NULL) {
        status = fetch(comm, path, text, &length);
    }
    if (status == HPS_OK) {
        status =
            hps_agree(comm, path != NULL ? build(command, count, overrides, text, length, *config)
                                         : build(command, count, overrides, own_text, sizeof(own_text) - 1, *config));
    }
    HPS_FREE(&text);
    if (status != HPS_OK) {
        hps_config_destroy(config);
    }
    return status;
}

hps_status hps_config_fail(const hps_config *config, const char *key, const char *format, ...)
{
    const int number = hps_schema_find(key);
    const hps_place nowhere = {.file = config->source->file, .line = 1, .column = 1};
    char words[HPS_WORDS_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    return hps_place_refuse(number < 0 ? &nowhere : &config->source->place[number], key, words);
}

static int64_t nearest_power_of_two(double value)
{
    int64_t power = 1;

    while ((double)(2 * power) - value < value - (double)power) {
        power *= 2;
    }
    return power;
}

hps_status hps_config_resolve(hps_config *config, int64_t d, const char *hook)
{
    const int64_t latents = config->model.latents;

    if (config->train.lr == HPS_AUTO_REAL && latents > 0) {
        config->train.lr = 2e-4 / sqrt((double)latents / 16384);
    }
    if (config->train.aux.k == HPS_AUTO_INT) {
        const int64_t power = nearest_power_of_two((double)d / 2);
        config->train.aux.k = power < latents ? power : latents;
    }
    if (config->train.k_start == HPS_AUTO_INT) {
        config->train.k_start = config->model.k;
    }
    return config->data.hook[0] == '\0' ? hps_string_copy(&config->data.hook, hook, strlen(hook)) : HPS_OK;
}
