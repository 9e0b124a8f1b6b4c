/* What another program is told about an exported dictionary, and whether it can be told. */
#include "hpsae/model/exchange.h"
#include "hpsae/model/exchange_format.h"

#include <jansson.h>

static hps_status check_threshold(const hps_model *model, const hps_export_options *options)
{
    if (options->format == HPS_FORMAT_SPARSIFY) {
        return hps_fail(HPS_EARG, "a model of select batch_topk cannot be exported to sparsify, which knows no "
                                  "thresholds; allowed: export.format saelens");
    }
    if (options->k != 0) {
        return hps_fail(HPS_EARG,
                        "export.k %lld: a model of select batch_topk is exported with its threshold, by which "
                        "the number of latents varies from token to token; leave export.k out",
                        (long long)options->k);
    }
    if (model->threshold < 0) {
        return hps_fail(HPS_EARG,
                        "the model has no threshold yet: it is averaged from step train.threshold.start_step "
                        "on, and this one has done %lld; train further, or lower that key",
                        (long long)model->step);
    }
    return HPS_OK;
}

static hps_status check_sizes(const hps_model *model, const hps_export_options *options)
{
    const int64_t latents = hps_export_latents(model, options);

    if (options->prefix < 0 || options->prefix > model->shard.n) {
        return hps_fail(HPS_EARG, "export.prefix %lld: the model has %lld latents; allowed: 1 to %lld",
                        (long long)options->prefix, (long long)model->shard.n, (long long)model->shard.n);
    }
    if (options->k < 0 || options->k > latents) {
        return hps_fail(HPS_EARG, "export.k %lld: %lld latents are exported; allowed: 1 to %lld", (long long)options->k,
                        (long long)latents, (long long)latents);
    }
    return HPS_OK;
}

hps_status hps_export_check(const hps_model *model, const hps_export_options *options)
{
    if (model->norm == HPS_NORM_TOKEN) {
        return options->format == HPS_FORMAT_SPARSIFY
                   ? hps_fail(HPS_EARG, "a model trained with data.scale = token cannot be exported to sparsify, which "
                                        "does not normalise its input")
                   : hps_fail(HPS_EARG, "a model trained with data.scale = token cannot be exported to SAELens: its "
                                        "layer_norm divides by the unbiased standard deviation plus 1e-5, which is "
                                        "another function");
    }
    if (model->select == HPS_SELECT_BATCH_TOPK) {
        HPS_TRY(check_threshold(model, options));
    }
    return check_sizes(model, options);
}

int64_t hps_export_latents(const hps_model *model, const hps_export_options *options)
{
    return options->prefix != 0 ? options->prefix : model->shard.n;
}

int64_t hps_export_k(const hps_model *model, const hps_export_options *options)
{
    const int64_t latents = hps_export_latents(model, options), k = options->k != 0 ? options->k : model->k;

    return k < latents ? k : latents;
}

/* Keys that its loader does not know are kept in the metadata: k, which a threshold replaces, but an import wants. */
static json_t *saelens_config(const hps_model *model, json_t *metadata)
{
    const bool threshold = model->select == HPS_SELECT_BATCH_TOPK;
    json_t *about = json_pack("{s:s}", "sae_lens_version", "6.0.0"), *config;

    if (model->model_name != NULL && model->model_name[0] != '\0') {
        json_object_set_new(about, "model_name", json_string(model->model_name));
    }
    if (model->hook != NULL && model->hook[0] != '\0') {
        json_object_set_new(about, "hook_name", json_string(model->hook));
    }
    if (metadata != NULL) {
        json_object_update(about, metadata);
    }
    config = json_pack("{s:s, s:I, s:I, s:s, s:s, s:b, s:s, s:s, s:O}", "architecture", threshold ? "jumprelu" : "topk",
                       "d_in", (json_int_t)model->shard.d, "d_sae", (json_int_t)model->shard.n, "dtype", "float32",
                       "device", "cpu", "apply_b_dec_to_input", 1, "normalize_activations", "none",
                       "reshape_activations", "none", "metadata", about);
    json_object_set_new(threshold ? about : config, "k", json_integer(model->k));
    if (!threshold) {
        json_object_set_new(config, "rescale_acts_by_decoder_norm", json_false());
    }
    json_decref(about);
    return config;
}

static json_t *sparsify_config(const hps_model *model)
{
    const int64_t n = model->shard.n, d = model->shard.d;

    return json_pack("{s:s, s:I, s:b, s:I, s:I, s:b, s:b, s:b, s:I, s:s, s:s}", "activation", "topk",
                     "expansion_factor", (json_int_t)(n < d ? 1 : n / d), "normalize_decoder", 1, "num_latents",
                     (json_int_t)n, "k", (json_int_t)model->k, "multi_topk", 0, "skip_connection", 0, "transcode", 0,
                     "d_in", (json_int_t)d, "hook_name", model->hook != NULL ? model->hook : "", "model_name",
                     model->model_name != NULL ? model->model_name : "");
}

hps_status hps_export_config(const hps_model *model, const hps_export_options *options, char **text)
{
    json_t *config =
        options->format == HPS_FORMAT_SPARSIFY ? sparsify_config(model) : saelens_config(model, options->metadata);

    *text = config != NULL ? json_dumps(config, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(config);
    return *text != NULL ? HPS_OK : hps_fail(HPS_EARG, "cfg.json: hook or model name is not UTF-8");
}
