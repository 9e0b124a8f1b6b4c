/* cfg.json of a foreign dictionary: what it says, and whether a model here can be the same function. */
#include "hpsae/base/file.h"
#include "hpsae/model/exchange_format.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static hps_status get_size(const char *path, const json_t *object, const char *key, int64_t *value)
{
    const json_t *found = json_object_get(object, key);

    if (!json_is_integer(found)) {
        return hps_fail(HPS_EFORMAT, "%s: %s is %s; an integer is needed", path, key,
                        found == NULL ? "missing" : "not an integer");
    }
    *value = json_integer_value(found);
    if (*value < 1 || *value >= INT32_MAX) {
        return hps_fail(HPS_EFORMAT, "%s: %s is %lld; it must lie in 1 .. 2^31 - 2", path, key, (long long)*value);
    }
    return HPS_OK;
}

/* A key that may be left out, but if it is there must have this value. */
static hps_status must_be(const char *path, const json_t *object, const char *key, const char *wanted, const char *why)
{
    const json_t *found = json_object_get(object, key);

    if (found == NULL || json_is_null(found) ||
        (json_is_string(found) && strcmp(json_string_value(found), wanted) == 0)) {
        return HPS_OK;
    }
    return hps_fail(HPS_EFORMAT, "%s: %s is %.60s; only \"%s\" can be imported: %s", path, key,
                    json_is_string(found) ? json_string_value(found) : "not a text", wanted, why);
}

static hps_status must_not(const char *path, const json_t *object, const char *key, const char *why)
{
    if (json_is_true(json_object_get(object, key))) {
        return hps_fail(HPS_EFORMAT, "%s: %s is true: %s", path, key, why);
    }
    return HPS_OK;
}

static void get_name(const json_t *object, const char *key, char name[256])
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(name, 256, "%s", text != NULL ? text : "");
}

/* Of a jumprelu dictionary, which has no k of its own: what BatchTopK was trained with, where that is told, or 1. */
static int64_t told_k(const json_t *cfg, const json_t *about, int64_t n)
{
    const json_t *k = json_object_get(cfg, "k");
    const double value = json_number_value(k != NULL ? k : json_object_get(about, "k"));

    return value >= 1.5 ? (value < (double)n ? (int64_t)(value + 0.5) : n) : 1;
}

static hps_status read_saelens(const char *path, const json_t *cfg, hps_exchange_config *config)
{
    const char *architecture = json_string_value(json_object_get(cfg, "architecture"));
    const json_t *about = json_object_get(cfg, "metadata"), *centred = json_object_get(cfg, "apply_b_dec_to_input");

    if (architecture == NULL) {
        return hps_fail(HPS_EFORMAT,
                        "%s: architecture is missing; a SAELens folder of version 6 or newer with "
                        "architecture \"topk\" or \"jumprelu\" is needed",
                        path);
    }
    config->jumprelu = strcmp(architecture, "jumprelu") == 0;
    if (!config->jumprelu && strcmp(architecture, "topk") != 0) {
        return hps_fail(HPS_EFORMAT,
                        "%s: architecture is %.60s; only \"topk\", and \"jumprelu\" with one threshold for "
                        "all latents, can be imported",
                        path, architecture);
    }
    HPS_TRY(get_size(path, cfg, "d_sae", &config->n));
    HPS_TRY(get_size(path, cfg, "d_in", &config->d));
    if (config->jumprelu) {
        config->k = told_k(cfg, about, config->n);
    } else {
        HPS_TRY(get_size(path, cfg, "k", &config->k));
    }
    HPS_TRY(must_be(path, cfg, "normalize_activations", "none", "fold the normalisation into the weights first"));
    HPS_TRY(must_be(path, cfg, "reshape_activations", "none", "activations must be rows of d_in"));
    config->rescale = !config->jumprelu && json_is_true(json_object_get(cfg, "rescale_acts_by_decoder_norm"));
    config->uncentred = json_is_false(centred);
    get_name(about, "hook_name", config->hook);
    get_name(about, "model_name", config->model_name);
    return HPS_OK;
}

static hps_status read_sparsify(const char *path, const json_t *cfg, hps_exchange_config *config)
{
    const json_t *latents = json_object_get(cfg, "num_latents");
    int64_t factor = 0;

    HPS_TRY(must_be(path, cfg, "activation", "topk", "there is no other selection yet"));
    HPS_TRY(must_not(path, cfg, "transcode", "a transcoder's output is not its input"));
    HPS_TRY(must_not(path, cfg, "skip_connection", "a linear path beside the latents cannot be kept"));
    HPS_TRY(get_size(path, cfg, "d_in", &config->d));
    HPS_TRY(get_size(path, cfg, "k", &config->k));
    if (json_is_integer(latents) && json_integer_value(latents) != 0) {
        HPS_TRY(get_size(path, cfg, "num_latents", &config->n));
    } else {
        HPS_TRY(get_size(path, cfg, "expansion_factor", &factor));
        config->n = factor * config->d;
    }
    get_name(cfg, "hook_name", config->hook);
    get_name(cfg, "model_name", config->model_name);
    return HPS_OK;
}

hps_status hps_import_config(const char *folder, hps_format format, hps_exchange_config *config)
{
    char path[HPS_PATH_MAX];
    json_error_t error;

    memset(config, 0, sizeof(*config));
    config->format = format;
    HPS_TRY(hps_path_join(folder, "cfg.json", path));
    json_t *cfg = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (cfg == NULL) {
        return error.line < 0
                   ? hps_fail(HPS_EIO, "%s: cannot be read", path)
                   : hps_fail(HPS_EFORMAT, "%s:%d:%d: not JSON: %s", path, error.line, error.column, error.text);
    }
    hps_status status = json_is_object(cfg) ? HPS_OK : hps_fail(HPS_EFORMAT, "%s: not a JSON object", path);
    if (status == HPS_OK) {
        status = format == HPS_FORMAT_SPARSIFY ? read_sparsify(path, cfg, config) : read_saelens(path, cfg, config);
    }
    if (status == HPS_OK && (config->k > config->n || config->n >= INT32_MAX)) {
        status =
            hps_fail(HPS_EFORMAT, "%s: k is %lld of %lld latents", path, (long long)config->k, (long long)config->n);
    }
    json_decref(cfg);
    return status;
}
