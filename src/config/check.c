#include "source.h"
#include "sweep.h"

#include <string.h>

static hps_status check_needed(const hps_config *config, const char *command)
{
    char allowed[HPS_ALLOWED_MAX];

    for (int i = 0; i < hps_schema_keys; i++) {
        const hps_key *key = &hps_schema[i];
        if ((key->needed & config->source->command) != 0 && !config->source->place[i].given) {
            return hps_config_fail(config, key->path, "missing, and '%s' needs it; allowed: %s", command,
                                   hps_schema_allowed(key, allowed));
        }
    }
    return HPS_OK;
}

static hps_status check_holdout(const hps_config *config)
{
    const double holdout = config->data.holdout;

    if (holdout > 1 && holdout != floor(holdout)) {
        return hps_config_fail(
            config, "data.holdout",
            "%.15g is neither a share nor a count; allowed: a share below 1, or a whole number of rows", holdout);
    }
    return HPS_OK;
}

/* Otherwise a single step of Adam may be of any length (Reddi et al. 2018). */
static hps_status check_adam(const hps_config *config)
{
    const double beta1 = config->train.beta1, beta2 = config->train.beta2;

    if (beta1 * beta1 >= beta2) {
        return hps_config_fail(config, "train.beta1",
                               "%.15g is not below the root of train.beta2, %.15g; allowed: less", beta1, beta2);
    }
    return HPS_OK;
}

static hps_status check_ascending(const hps_config *config, const char *key, const hps_ints *list, int64_t last,
                                  const char *last_key)
{
    for (int64_t i = 1; i < list->count; i++) {
        if (list->items[i] <= list->items[i - 1]) {
            return hps_config_fail(config, key, "%lld follows %lld; allowed: each larger than the one before",
                                   (long long)list->items[i], (long long)list->items[i - 1]);
        }
    }
    if (list->count > 0 && list->items[list->count - 1] != last) {
        return hps_config_fail(config, key, "ends at %lld; the last must be %s, %lld",
                               (long long)list->items[list->count - 1], last_key, (long long)last);
    }
    return HPS_OK;
}

static hps_status check_matryoshka(const hps_config *config)
{
    const hps_ints *prefixes = &config->train.matryoshka.prefixes;
    const int64_t n = config->model.latents, random = config->train.matryoshka.random;

    if (prefixes->count > HPS_PREFIXES_MAX) {
        return hps_config_fail(config, "train.matryoshka.prefixes", "%lld sizes; allowed: at most %d",
                               (long long)prefixes->count, HPS_PREFIXES_MAX);
    }
    if (random > 0 && prefixes->count > 0) {
        return hps_config_fail(config, "train.matryoshka.random",
                               "%lld, and train.matryoshka.prefixes names fixed sizes; allowed: one of the two",
                               (long long)random);
    }
    if (random > 0 && n - config->train.matryoshka.smallest < random - 1) {
        return hps_config_fail(
            config, "train.matryoshka.random",
            "%lld sizes, but from train.matryoshka.smallest, %lld, to model.latents, %lld, there are "
            "fewer; allowed: at most that many",
            (long long)random, (long long)config->train.matryoshka.smallest, (long long)n);
    }
    if (random == 0 && prefixes->count == 0 && n < 32) {
        return hps_config_fail(config, "train.matryoshka.prefixes",
                               "the default, n/32 and so on, is none for model.latents %lld; name the sizes",
                               (long long)n);
    }
    return check_ascending(config, "train.matryoshka.prefixes", prefixes, n, "model.latents");
}

static hps_status check_objective(const hps_config *config)
{
    const hps_objective objective = config->train.objective;
    const int64_t k = config->model.k, n = config->model.latents, start = config->train.k_start;
    const int64_t k_max = start == HPS_AUTO_INT || start < k ? k : start;

    if (config->model.select == HPS_SELECT_BATCH_TOPK &&
        (objective == HPS_OBJECTIVE_MULTI_TOPK || objective == HPS_OBJECTIVE_HIERARCHICAL)) {
        return hps_config_fail(config, "train.objective",
                               "counts the latents of one token, but model.select batch_topk fixes no number a token; "
                               "allowed with it: plain | matryoshka");
    }
    if (config->model.select == HPS_SELECT_GRADIENT && config->data.scale == HPS_SCALE_TOKEN) {
        return hps_config_fail(config, "data.scale",
                               "token changes the activations row by row, and model.select gradient has the gradients "
                               "of the unchanged ones; allowed with it: none | dataset");
    }
    if (k_max > n) {
        return hps_config_fail(config, "train.k_start",
                               "%lld is more than model.latents, %lld; allowed: at most that many", (long long)start,
                               (long long)n);
    }
    switch (objective) {
    case HPS_OBJECTIVE_MULTI_TOPK:
        if (config->train.multi.factor * k_max > n) {
            return hps_config_fail(config, "train.multi.factor",
                                   "%lld times k, %lld, is more than model.latents, %lld; allowed: at most that many",
                                   (long long)config->train.multi.factor, (long long)k_max, (long long)n);
        }
        return HPS_OK;
    case HPS_OBJECTIVE_HIERARCHICAL:
        if (config->train.hierarchical.levels.count > 0 && config->train.k_steps > 0) {
            return hps_config_fail(config, "train.k_steps",
                                   "%lld changes k, and train.hierarchical.levels are fixed; "
                                   "allowed: 0, or levels []",
                                   (long long)config->train.k_steps);
        }
        return check_ascending(config, "train.hierarchical.levels", &config->train.hierarchical.levels, k, "model.k");
    case HPS_OBJECTIVE_MATRYOSHKA:
        return check_matryoshka(config);
    default:
        return HPS_OK;
    }
}

static hps_status check_model(const hps_config *config)
{
    if (config->model.k > config->model.latents) {
        return hps_config_fail(config, "model.k", "%lld is more than model.latents, %lld; allowed: at most that many",
                               (long long)config->model.k, (long long)config->model.latents);
    }
    if (config->train.aux.k > config->model.latents) {
        return hps_config_fail(config, "train.aux.k",
                               "%lld is more than model.latents, %lld; allowed: at most that many",
                               (long long)config->train.aux.k, (long long)config->model.latents);
    }
    HPS_TRY(check_objective(config));
    HPS_TRY(check_adam(config));
    return check_holdout(config);
}

static hps_status check_groups(const hps_config *config)
{
    if (config->train.groups != HPS_AUTO_INT && config->train.batch % config->train.groups != 0) {
        return hps_config_fail(config, "train.groups", "%lld does not divide train.batch, %lld; allowed: a divisor",
                               (long long)config->train.groups, (long long)config->train.batch);
    }
    return HPS_OK;
}

static hps_status check_bench(const hps_config *config)
{
    HPS_TRY(check_groups(config));
    return check_model(config);
}

static hps_status check_stage_list(const hps_config *config, const char *key, const hps_ints *list)
{
    const long long members = (long long)config->ensemble.members, count = (long long)list->count;

    if (count > 0 && config->ensemble.method != HPS_ENSEMBLE_BOOSTING) {
        return hps_config_fail(config, key, "is given, but only the stages of ensemble.method boosting may differ");
    }
    if (count > 0 && count != members) {
        return hps_config_fail(config, key, "has %lld entries; allowed: one for each of ensemble.members, %lld", count,
                               members);
    }
    return HPS_OK;
}

/* Each stage as a dictionary of its own. */
static hps_status check_stages(const hps_config *config)
{
    const hps_ints *latents = &config->ensemble.latents, *k = &config->ensemble.k;

    for (int64_t j = 0; j < config->ensemble.members; j++) {
        hps_config stage = *config; /* strings and lists stay those of config */
        stage.model.latents = latents->count > 0 ? latents->items[j] : config->model.latents;
        stage.model.k = k->count > 0 ? k->items[j] : config->model.k;
        if (stage.model.k > stage.model.latents) {
            return hps_config_fail(config, k->count > 0 ? "ensemble.k" : "ensemble.latents",
                                   "stage %lld has k %lld of %lld latents; allowed: at most as many", (long long)j + 1,
                                   (long long)stage.model.k, (long long)stage.model.latents);
        }
        HPS_TRY(check_model(&stage));
    }
    return HPS_OK;
}

static hps_status check_boosting(const hps_config *config)
{
    const int64_t steps = (config->train.tokens + config->train.batch - 1) / config->train.batch;

    if (config->model.select == HPS_SELECT_BATCH_TOPK && config->train.threshold.start_step >= steps) {
        return hps_config_fail(config, "train.threshold.start_step",
                               "%lld, but a stage has %lld steps, and the next one needs its threshold; allowed: less",
                               (long long)config->train.threshold.start_step, (long long)steps);
    }
    return check_stages(config);
}

static hps_status check_ensemble(const hps_config *config)
{
    const char *resume = config->train.resume;

    HPS_TRY(check_stage_list(config, "ensemble.latents", &config->ensemble.latents));
    HPS_TRY(check_stage_list(config, "ensemble.k", &config->ensemble.k));
    if (config->ensemble.method == HPS_ENSEMBLE_NONE) {
        return config->ensemble.members == 1
                   ? HPS_OK
                   : hps_config_fail(config, "ensemble.members",
                                     "%lld, but ensemble.method is none; allowed: 1, or another method",
                                     (long long)config->ensemble.members);
    }
    if (strcmp(resume, "auto") != 0 && strcmp(resume, "never") != 0) {
        return hps_config_fail(config, "train.resume",
                               "names one checkpoint, and an ensemble has those of its members; allowed: auto | never");
    }
    if (config->train.groups == HPS_AUTO_INT) {
        return hps_config_fail(config, "train.groups",
                               "auto, but an ensemble's members have one number of data groups; allowed: a number");
    }
    return config->ensemble.method == HPS_ENSEMBLE_BOOSTING ? check_boosting(config) : HPS_OK;
}

static hps_status check_train(const hps_config *config)
{
    if (config->train.tokens < config->train.batch) {
        return hps_config_fail(config, "train.tokens",
                               "%lld is less than one batch, train.batch %lld; allowed: at least one batch",
                               (long long)config->train.tokens, (long long)config->train.batch);
    }
    HPS_TRY(check_groups(config));
    if (config->data.holdout == 0 && config->train.eval_steps > 0) {
        return hps_config_fail(config, "train.eval_steps",
                               "no held-out rows to evaluate on, data.holdout is 0; set that, or this to 0");
    }
    if (config->train.resume[0] == '\0') {
        return hps_config_fail(config, "train.resume", "is empty; allowed: auto | never | the path of a checkpoint");
    }
    HPS_TRY(check_model(config));
    return check_ensemble(config);
}

static hps_status check_model_named(const hps_config *config, const char *key, const char *model)
{
    if (model[0] == '\0' && config->output[0] == '\0') {
        return hps_config_fail(config, key, "missing, and there is no output either; name the model by one of them");
    }
    return HPS_OK;
}

/* Rows that a key chooses, of a store that another names. */
static hps_status check_rows(const hps_config *config, const char *key, hps_rows part)
{
    if (config->data.holdout == 0 && part == HPS_ROWS_HOLDOUT) {
        return hps_config_fail(config, key, "there are no held-out rows, data.holdout is 0; allowed then: train | all");
    }
    return check_holdout(config);
}

static hps_status check_store(const hps_config *config, const char *key, const hps_list *own)
{
    if (own->count == 0 && config->data.store.count == 0) {
        return hps_config_fail(config, key,
                               "missing, and there is no data.store either; name the activations by one of them");
    }
    return HPS_OK;
}

static hps_status check_eval(const hps_config *config)
{
    HPS_TRY(check_store(config, "eval.store", &config->eval.store));
    HPS_TRY(check_rows(config, "eval.rows", config->eval.rows));
    return check_model_named(config, "eval.model", config->eval.model);
}

static hps_status check_encode(const hps_config *config)
{
    HPS_TRY(check_store(config, "encode.store", &config->encode.store));
    HPS_TRY(check_rows(config, "encode.rows", config->encode.rows));
    return check_model_named(config, "encode.model", config->encode.model);
}

static hps_status check_compare(const hps_config *config)
{
    if (config->compare.tokens == 0 || config->compare.store.count + config->data.store.count == 0) {
        return HPS_OK;
    }
    return check_rows(config, "compare.rows", config->compare.rows);
}

static hps_status check_whiten(const hps_config *config)
{
    if (config->data.scale == HPS_SCALE_TOKEN) {
        return hps_config_fail(
            config, "data.scale",
            "token is another factor for each row, and pca.whiten is one map for all; allowed with it: "
            "none | dataset");
    }
    for (int64_t i = 0; i < config->data.store.count; i++) {
        if (strcmp(config->data.store.items[i], config->pca.whiten) == 0) {
            return hps_config_fail(config, "pca.whiten", "is also the store; allowed: another path");
        }
    }
    if (strcmp(config->pca.output, config->pca.whiten) == 0) {
        return hps_config_fail(config, "pca.whiten", "is also pca.output; allowed: another path");
    }
    return HPS_OK;
}

static hps_status check_pca(const hps_config *config)
{
    HPS_TRY(check_store(config, "data.store", &config->data.store));
    HPS_TRY(check_rows(config, "pca.fit", config->pca.fit));
    HPS_TRY(check_rows(config, "pca.rows", config->pca.rows));
    return config->pca.whiten[0] != '\0' ? check_whiten(config) : HPS_OK;
}

static hps_status check_refit(const hps_config *config)
{
    HPS_TRY(check_store(config, "refit.store", &config->refit.store));
    HPS_TRY(check_rows(config, "refit.rows", config->refit.rows));
    HPS_TRY(check_model_named(config, "refit.model", config->refit.model));
    if (strcmp(config->refit.output, config->refit.model) == 0) {
        return hps_config_fail(config, "refit.output", "is also the model; allowed: another path");
    }
    return HPS_OK;
}

static hps_status check_export(const hps_config *config)
{
    if (config->export.output[0] == '\0' && config->output[0] == '\0') {
        return hps_config_fail(config, "export.output",
                               "missing, and there is no output either; name the folder by one of them");
    }
    return check_model_named(config, "export.model", config->export.model);
}

static hps_status check_shuffle(const hps_config *config)
{
    for (int64_t i = 0; i < config->shuffle.input.count; i++) {
        if (strcmp(config->shuffle.input.items[i], config->shuffle.output) == 0) {
            return hps_config_fail(config, "shuffle.output", "is also an input; allowed: another path");
        }
    }
    return HPS_OK;
}

static hps_status check_synth(const hps_config *config)
{
    if (config->synth.active > (double)config->synth.latents) {
        return hps_config_fail(config, "synth.active", "%.15g is more than synth.latents, %lld; allowed: at most that",
                               config->synth.active, (long long)config->synth.latents);
    }
    if (config->synth.correlated + config->synth.hierarchy > 1) {
        return hps_config_fail(
            config, "synth.hierarchy",
            "%.15g and synth.correlated %.15g are more than all features; allowed: together at most 1",
            config->synth.hierarchy, config->synth.correlated);
    }
    return HPS_OK;
}

hps_status hps_config_check(const hps_config *config, const char *command)
{
    HPS_TRY(check_needed(config, command));
    switch (config->source->command) {
    case HPS_FOR_TRAIN:
        return check_train(config);
    case HPS_FOR_BENCH:
        return check_bench(config);
    case HPS_FOR_SWEEP:
        return hps_sweep_check(config);
    case HPS_FOR_EVAL:
        return check_eval(config);
    case HPS_FOR_ENCODE:
        return check_encode(config);
    case HPS_FOR_EXPORT:
        return check_export(config);
    case HPS_FOR_SHUFFLE:
        return check_shuffle(config);
    case HPS_FOR_COMPARE:
        return check_compare(config);
    case HPS_FOR_PCA:
        return check_pca(config);
    case HPS_FOR_REFIT:
        return check_refit(config);
    case HPS_FOR_SYNTH:
        return check_synth(config);
    default:
        return HPS_OK;
    }
}
