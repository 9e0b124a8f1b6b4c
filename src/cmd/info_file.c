#include "info_file.h"

#include "command_line.h"
#include "info_ensemble.h"
#include "info_sweep.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/store/hdf5.h"
#include "hpsae/store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum {
    KIND_DIRECTORY,
    KIND_CONFIGURATION,
    KIND_ENSEMBLE, /* ensemble.json itself */
    KIND_SWEEP,    /* sweep.json, or its directory */
    KIND_MODEL,
    KIND_CODES,
    KIND_UNFINISHED, /* residuals */
    KIND_STORE
} kind;

static const char ensemble_json[] = "ensemble.json";

static void add_text(json_t *about, const char *name, const char *text)
{
    json_object_set_new(about, name, json_string(text));
}

static void add_count(json_t *about, const char *name, int64_t count)
{
    json_object_set_new(about, name, json_integer(count));
}

static void add_hash(json_t *about, const char *name, uint64_t hash)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, hash);
    add_text(about, name, text);
}

static bool ends_in(const char *path, const char *suffix)
{
    const size_t length = strlen(path), behind = strlen(suffix);

    return length > behind && strcmp(path + length - behind, suffix) == 0;
}

/* Rank 0's work: looks at names and at the root attribute that says what an HDF5 file is. */
static hps_status look(const char *path, kind *what)
{
    struct stat about;
    char *format = NULL, sweep_json[HPS_PATH_MAX];
    hid_t file;

    if (stat(path, &about) != 0) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (hps_info_is_sweep(path, sweep_json, sizeof(sweep_json))) {
        *what = KIND_SWEEP;
        return HPS_OK;
    }
    if (S_ISDIR(about.st_mode)) {
        *what = KIND_DIRECTORY;
        return HPS_OK;
    }
    if (ends_in(path, ".yaml") || ends_in(path, ".yml")) {
        *what = KIND_CONFIGURATION;
        return HPS_OK;
    }
    if (strcmp(path, ensemble_json) == 0 || ends_in(path, "/ensemble.json")) {
        *what = KIND_ENSEMBLE;
        return HPS_OK;
    }
    HPS_TRY(hps_h5_open(path, &file));
    *what = hps_info_unfinished_residuals(path) ? KIND_UNFINISHED : KIND_STORE;
    if (hps_h5_get_text(file, "format", &format)) {
        *what = strcmp(format, "hpsae-model") == 0   ? KIND_MODEL
                : strcmp(format, "hpsae-codes") == 0 ? KIND_CODES
                                                     : *what;
    }
    HPS_FREE(&format);
    H5Fclose(file);
    return HPS_OK;
}

static json_t *roles_of(unsigned roles)
{
    json_t *names = json_array();

    for (hps_role role = HPS_VALUE; role < HPS_ROLES; role++) {
        if ((roles >> role & 1) != 0) {
            json_array_append_new(names, json_string(hps_role_name(role)));
        }
    }
    return names;
}

/* How it selects; the threshold is null while it is not known. */
static void add_selection(json_t *about, const hps_checkpoint_head *head)
{
    add_text(about, "select", hps_select_name(head->select));
    if (head->select == HPS_SELECT_GRADIENT) {
        json_object_set_new(about, "alpha", hps_json_real(head->alpha));
        json_object_set_new(about, "beta", hps_json_real(head->beta));
    }
    if (head->select == HPS_SELECT_BATCH_TOPK) {
        json_object_set_new(about, "threshold", head->threshold < 0 ? json_null() : hps_json_real(head->threshold));
    }
    if (head->prefixes > 0) {
        json_t *sizes = json_array();
        for (int i = 0; i < head->prefixes; i++) {
            json_array_append_new(sizes, json_integer(head->prefix[i]));
        }
        json_object_set_new(about, "prefixes", sizes);
    }
}

static hps_status describe_model(const hps_context *context, const char *path, json_t *about)
{
    static const char *const norms[] = {
        [HPS_NORM_NONE] = "none", [HPS_NORM_SCALE] = "dataset", [HPS_NORM_TOKEN] = "token"};
    hps_checkpoint_head head;

    HPS_TRY(hps_checkpoint_read_head(context->world, path, &head));
    add_text(about, "kind", "model");
    add_text(about, "file", path);
    add_count(about, "latents", head.n);
    add_count(about, "d", head.d);
    add_count(about, "k", head.k);
    add_selection(about, &head);
    add_count(about, "step", head.step);
    add_count(about, "tokens", head.tokens);
    add_text(about, "hook", head.hook);
    add_text(about, "model_name", head.model_name);
    add_text(about, "data_scale", norms[head.norm]);
    json_object_set_new(about, "factor", hps_json_real(head.scale));
    if (head.whitening != 0) {
        add_hash(about, "whitening", head.whitening);
    }
    json_object_set_new(about, "holds", roles_of(head.roles));
    add_hash(about, "checksum", head.checksum_values);
    add_hash(about, "config_hash", head.config_hash);
    if (context->json) {
        add_text(about, "config", head.config);
    }
    hps_checkpoint_head_free(&head);
    return HPS_OK;
}

/* The number of values of a file of codes, and whether their places by value are there. */
static void count_codes(hid_t file, json_t *about)
{
    const hid_t set = H5Lexists(file, "/codes", H5P_DEFAULT) > 0 ? H5Dopen2(file, "/codes/data", H5P_DEFAULT) : -1;

    if (set >= 0) {
        const hid_t space = H5Dget_space(set);
        add_count(about, "values", (int64_t)H5Sget_simple_extent_npoints(space));
        json_object_set_new(about, "order", json_boolean(H5Lexists(file, "/codes/order", H5P_DEFAULT) > 0));
        H5Sclose(space);
        H5Dclose(set);
    }
}

/* Rank 0.  What stands in the attributes of a file of codes. */
static hps_status describe_codes(const char *path, json_t *about)
{
    static const char *const texts[] = {"hook", "model_name", "model_checksum", "select"};
    double shape[2] = {0, 0}, threshold;
    int64_t number;
    hid_t file;
    char *text;

    HPS_TRY(hps_h5_open(path, &file));
    add_text(about, "kind", "codes");
    add_text(about, "file", path);
    const hid_t group = H5Lexists(file, "/codes", H5P_DEFAULT) > 0 ? H5Gopen2(file, "/codes", H5P_DEFAULT) : -1;
    if (group >= 0 && hps_h5_get_reals(group, "shape", 2, shape)) {
        add_count(about, "rows", (int64_t)shape[0]);
        add_count(about, "latents", (int64_t)shape[1]);
    }
    H5Gclose(group);
    count_codes(file, about);
    for (int i = 0; i < 4; i++) {
        if (hps_h5_get_text(file, texts[i], &text)) {
            add_text(about, texts[i], text);
            HPS_FREE(&text);
        }
    }
    if (hps_h5_get_int(file, "k", &number)) {
        add_count(about, "k", number);
    }
    if (hps_h5_get_reals(file, "threshold", 1, &threshold)) {
        json_object_set_new(about, "threshold", hps_json_real(threshold));
    }
    if (hps_h5_get_int(file, "first_row", &number)) {
        add_count(about, "first_row", number);
    }
    H5Fclose(file);
    return HPS_OK;
}

static hps_status describe_store(const hps_context *context, json_t *about)
{
    char *path = NULL;
    hps_store *store = NULL;

    HPS_TRY(hps_agree(context->world, hps_text_copy(context->path, &path)));
    const hps_status status = hps_store_open(context->world, 1, &path, "", &store);
    if (status == HPS_OK) {
        const hps_store_info *info = hps_store_about(store);
        add_text(about, "kind", "activations");
        add_text(about, "file", context->path);
        add_count(about, "rows", info->rows);
        add_count(about, "d", info->d);
        add_text(about, "dtype", hps_dtype_name(info->dtype));
        add_text(about, "hook", info->hook);
        add_text(about, "model_name", info->model_name);
        json_object_set_new(about, "shuffled", json_boolean(info->shuffled));
        if (info->whitening != 0) {
            add_hash(about, "whitening", info->whitening);
        }
        if (info->has_statistics) {
            json_object_set_new(about, "mean_sq_norm", hps_json_real(info->mean_sq_norm));
        }
        if (context->rank == 0) {
            int64_t within;
            hps_info_residuals(hps_store_file(store, 0, &within), about);
        }
    }
    hps_store_close(&store);
    HPS_FREE(&path);
    return status;
}

/* For each command whether this configuration would do, or what it lacks. */
static hps_status describe_configuration(const hps_context *context, json_t *about)
{
    hps_config *config;

    HPS_TRY(hps_config_read(context->world, context->command, context->path, 0, NULL, &config));
    add_text(about, "kind", "configuration");
    add_text(about, "file", context->path);
    add_hash(about, "config_hash", hps_config_hash(config));
    hps_config_destroy(&config);
    for (const hps_command *command = hps_commands; command->name != NULL; command++) {
        if (command->configured) {
            const hps_status status = hps_config_read(context->world, command->name, context->path, 0, NULL, &config);
            add_text(about, command->name, status == HPS_OK ? "ready" : hps_status_message());
            hps_config_destroy(&config);
        }
    }
    return HPS_OK;
}

/* Rank 0. */
static hps_status describe_sweep(const hps_context *context, json_t *about)
{
    char path[HPS_PATH_MAX];

    hps_info_is_sweep(context->path, path, sizeof(path));
    return hps_info_sweep(path, context->json, about);
}

/* ensemble.json of a directory, if it has one. */
static hps_status describe_ensemble(const hps_context *context, const char *directory, bool *ensemble, json_t *about)
{
    hps_ensemble_file file;

    HPS_TRY(hps_ensemble_read(context->world, directory, &file));
    *ensemble = file.method != HPS_ENSEMBLE_NONE;
    if (*ensemble) {
        hps_info_ensemble(directory, &file, about);
    }
    hps_ensemble_free(&file);
    return HPS_OK;
}

/* The directory that ensemble.json stands in. */
static hps_status describe_ensemble_file(const hps_context *context, json_t *about)
{
    const size_t length = strlen(context->path) - strlen(ensemble_json);
    char directory[HPS_PATH_MAX];
    bool ensemble;

    snprintf(directory, sizeof(directory), "%.*s", length > 1 ? (int)length - 1 : (int)length, context->path);
    return describe_ensemble(context, length > 0 ? directory : ".", &ensemble, about);
}

/*
 * An ensemble says what it is itself, a run's directory speaks through its newest usable checkpoint; another may be a
 * store of several files.
 */
static hps_status describe_directory(const hps_context *context, json_t *about)
{
    char *path = NULL;
    bool ensemble;

    HPS_TRY(describe_ensemble(context, context->path, &ensemble, about));
    if (ensemble) {
        return HPS_OK;
    }
    HPS_TRY(hps_checkpoint_find(context->world, context->path, &path));
    const hps_status status = path != NULL ? describe_model(context, path, about) : describe_store(context, about);
    free(path);
    return status;
}

static hps_status describe(const hps_context *context, kind what, json_t *about)
{
    switch (what) {
    case KIND_DIRECTORY:
        return describe_directory(context, about);
    case KIND_CONFIGURATION:
        return describe_configuration(context, about);
    case KIND_ENSEMBLE:
        return describe_ensemble_file(context, about);
    case KIND_SWEEP:
        return hps_share_status(context->world, context->rank == 0 ? describe_sweep(context, about) : HPS_OK);
    case KIND_UNFINISHED:
        if (context->rank == 0) {
            add_text(about, "kind", "residuals");
            add_text(about, "file", context->path);
            hps_info_residuals(context->path, about);
        }
        return HPS_OK;
    case KIND_MODEL:
        return describe_model(context, context->path, about);
    case KIND_CODES:
        return hps_share_status(context->world, context->rank == 0 ? describe_codes(context->path, about) : HPS_OK);
    default:
        return describe_store(context, about);
    }
}

hps_status hps_info_file(const hps_context *context, json_t **about)
{
    kind what = KIND_STORE;

    HPS_TRY(hps_share_status(context->world, context->rank == 0 ? look(context->path, &what) : HPS_OK));
    HPS_MPI(MPI_Bcast(&what, sizeof(what), MPI_BYTE, 0, context->world));
    *about = json_object();
    const hps_status status = describe(context, what, *about);
    if (status != HPS_OK) {
        json_decref(*about);
        *about = NULL;
    }
    return status;
}
