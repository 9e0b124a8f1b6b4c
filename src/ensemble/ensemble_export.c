#include "hpsae/ensemble/ensemble_export.h"

#include "hpsae/base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char concatenated[] = "concatenated";

hps_status hps_ensemble_export_check(const hps_ensemble *e, const hps_export_options *options)
{
    if (options->format != HPS_FORMAT_SAELENS) {
        return hps_fail(HPS_EARG,
                        "an ensemble is exported to SAELens alone; set export.format to saelens, or name one member "
                        "(%s) in export.model",
                        e->file.member[0].directory);
    }
    if (options->k != 0 || options->prefix != 0) {
        return hps_fail(HPS_EARG,
                        "%s: of an ensemble all latents are exported, with the members' own k; leave it out, or name "
                        "one member (%s) in export.model",
                        options->k != 0 ? "export.k" : "export.prefix", e->file.member[0].directory);
    }
    for (int j = 0; j < e->file.members; j++) {
        HPS_TRY(hps_export_check(e->model[j], options));
    }
    return HPS_OK;
}

static json_t *offsets(const hps_ensemble *e)
{
    json_t *list = json_array();

    for (int j = 0; j <= e->file.members; j++) {
        json_array_append_new(list, json_integer(e->offset[j]));
    }
    return list;
}

/* How the latents of a concatenation select. */
static json_t *selection(const hps_ensemble *e, const hps_threshold_run *run)
{
    json_t *list = json_array();

    for (int j = 0; j < e->file.members; j++) {
        json_array_append_new(list, e->model[j]->select == HPS_SELECT_BATCH_TOPK
                                        ? json_pack("{s:f}", "threshold", (double)run[j].value)
                                        : json_pack("{s:I}", "k", (json_int_t)e->model[j]->k));
    }
    return list;
}

/* What a loader must know of a concatenation: metadata.hpsae_ensemble. */
static json_t *metadata(const hps_ensemble *e, const hps_threshold_run *run)
{
    const bool exact = hps_ensemble_is_threshold(e);

    return json_pack("{s:{s:s,s:i,s:o,s:o,s:b,s:s}}", "hpsae_ensemble", "method", hps_ensemble_name(e), "members",
                     e->file.members, "offsets", offsets(e), "selection", selection(e, run), "exact", exact, "note",
                     exact
                         ? "a member's latents have its threshold: this folder is the ensemble"
                         : "a member's latents, offsets[j] to offsets[j + 1], select on their own, by k or threshold; "
                           "the k largest of all latents together are another model");
}

/* Collective. */
static hps_status export_whole(const hps_ensemble *e, const char *folder)
{
    hps_model *whole = NULL;
    hps_threshold_run *run = NULL;
    char written[HPS_PATH_MAX];

    HPS_TRY(hps_ensemble_concatenate(e, &whole, &run));
    const hps_export_options options = {.format = HPS_FORMAT_SAELENS,
                                        .runs = whole->select == HPS_SELECT_BATCH_TOPK ? e->file.members : 0,
                                        .run = run,
                                        .metadata = metadata(e, run)};
    const hps_status status = hps_export(e->grid->model, whole, &options, folder, written);
    json_decref(options.metadata);
    HPS_FREE(&run);
    hps_model_destroy(&whole);
    return status;
}

/* Collective.  Each member as a dictionary of its own, later stages for residuals in the store's units. */
static hps_status export_members(hps_ensemble *e, const char *folder)
{
    const hps_export_options options = {.format = HPS_FORMAT_SAELENS};
    char directory[HPS_PATH_MAX], written[HPS_PATH_MAX];

    for (int j = 0; j < e->file.members; j++) {
        e->model[j]->norm = e->model[0]->norm;
        e->model[j]->scale = e->model[0]->scale;
        HPS_TRY(hps_path_join(folder, e->file.member[j].directory, directory));
        HPS_TRY(hps_export(e->grid->model, e->model[j], &options, directory, written));
    }
    return HPS_OK;
}

/* Rank 0. */
static hps_status remove_index(const char *index)
{
    if (unlink(index) != 0 && errno != ENOENT && errno != ENOTDIR) {
        return hps_fail(HPS_EIO, "%s: cannot be removed: %s", index, strerror(errno));
    }
    return HPS_OK;
}

/* Rank 0. */
static hps_status write_index(const hps_ensemble *e, const char *index)
{
    json_t *folders = json_array();
    char hex[17];

    for (int j = 0; j < e->file.members; j++) {
        json_array_append_new(folders, json_string(e->file.member[j].directory));
    }
    snprintf(hex, sizeof(hex), "%016" PRIx64, e->checksum);
    json_t *about = json_pack(
        "{s:s,s:i,s:s,s:f,s:I,s:o,s:o,s:o,s:s,s:s}", "format", "hpsae-ensemble-saelens", "format_version", 1, "method",
        hps_ensemble_name(e), "coefficient", hps_ensemble_coefficient(e), "d", (json_int_t)e->file.d, "folders",
        folders, "concatenated", e->file.method == HPS_ENSEMBLE_BAGGING ? json_string(concatenated) : json_null(),
        "offsets", offsets(e), "hook", e->model[0]->hook != NULL ? e->model[0]->hook : "", "checksum", hex);
    char *text = about != NULL ? json_dumps(about, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(about);
    if (text == NULL) {
        return hps_fail(HPS_EARG, "%s: the hook's name is not UTF-8", index);
    }
    const hps_status status = hps_file_replace(index, text, strlen(text));
    free(text);
    return status;
}

hps_status hps_ensemble_export(hps_ensemble *e, const char *folder)
{
    const bool root = e->grid->p == 0, bagging = e->file.method == HPS_ENSEMBLE_BAGGING;
    char index[HPS_PATH_MAX], whole[HPS_PATH_MAX];

    HPS_TRY(hps_path_join(folder, "index.json", index));
    HPS_TRY(hps_path_join(folder, concatenated, whole));
    HPS_TRY(hps_share_status(e->grid->model, root ? remove_index(index) : HPS_OK));
    if (bagging && hps_ensemble_is_threshold(e)) {
        return export_whole(e, folder);
    }
    HPS_TRY(bagging ? export_whole(e, whole) : HPS_OK);
    HPS_TRY(export_members(e, folder));
    return hps_share_status(e->grid->model, root ? write_index(e, index) : HPS_OK);
}
