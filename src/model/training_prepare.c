#include "training.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/device.h"
#include "hpsae/model/device_fit.h"
#include "hpsae/model/initialise.h"
#include "hpsae/store/whitening.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned hps_training_roles(const hps_config *c)
{
    return 1u << HPS_VALUE | 1u << HPS_MOMENT1 | 1u << HPS_MOMENT2 | (c->train.ema > 0 ? 1u << HPS_AVERAGE : 0);
}

static hps_status open_data(hps_training *t)
{
    hps_config *c = t->config;

    if (t->first != NULL) {
        t->dataset = t->first->dataset;
    } else {
        HPS_TRY(hps_dataset_open(t->world, c, NULL, c->model.select == HPS_SELECT_GRADIENT, &t->dataset));
    }
    const hps_store_info *info = t->dataset.info;
    HPS_TRY(hps_agree(t->world, hps_config_resolve(c, info->d, info->hook)));
    if (t->dataset.train < 1) {
        return hps_config_fail(c, "data.holdout",
                               "%lld held-out rows leave none of the store's %lld to train on; hold "
                               "fewer out",
                               (long long)t->dataset.holdout, (long long)info->rows);
    }
    if (c->train.eval_steps > 0 && t->dataset.holdout < 1) {
        return hps_config_fail(c, "train.eval_steps",
                               "there are no held-out rows to evaluate; set data.holdout, or "
                               "train.eval_steps to 0");
    }
    if (c->model.select == HPS_SELECT_GRADIENT && t->dataset.gradients == NULL) {
        return hps_config_fail(
            c, "model.select",
            "gradient needs dL/dx beside the activations, and the store has no /gradients/%s; allowed "
            "with it: topk | batch_topk",
            info->hook);
    }
    if (info->whitening != 0 && t->first == NULL) {
        hps_log(t->name, "the store is whitened: ev and mse are those of whitened activations");
    }
    if (!info->shuffled && t->first == NULL) {
        hps_warn(t->name, "the store is not shuffled: neighbouring rows come from one text; run `hpsae shuffle` first");
    }
    return HPS_OK;
}

/* The checkpoint to go on from; *path NULL to start anew, else free() it. */
static hps_status find_checkpoint(const hps_training *t, char **path)
{
    const char *resume = t->config->train.resume, *output = t->config->output;

    *path = NULL;
    if (strcmp(resume, "auto") != 0 && strcmp(resume, "never") != 0) {
        *path = strdup(resume);
        return hps_agree(t->world, *path != NULL ? HPS_OK : hps_fail(HPS_ENOMEM, "no memory for a path"));
    }
    int exists = access(output, F_OK) == 0;
    HPS_MPI(MPI_Bcast(&exists, 1, MPI_INT, 0, t->world));
    if (!exists) {
        return HPS_OK;
    }
    HPS_TRY(hps_checkpoint_find(t->world, output, path));
    if (*path != NULL && strcmp(resume, "never") == 0) {
        free(*path);
        *path = NULL;
        return hps_config_fail(t->config, "train.resume",
                               "never, but %s holds checkpoints of an earlier run; set it to "
                               "auto, or choose another output",
                               output);
    }
    return HPS_OK;
}

/* What a chain leaves of whitened activations is the same, from files (where the store says so) or live. */
static uint64_t whitening_of(const hps_training *t)
{
    const uint64_t store = t->dataset.info->whitening;

    return t->change != NULL ? hps_whitening_of_residuals(store) : store;
}

/* Whether the checkpoint is one of this run: same data dimension, same configuration where it decides the bits. */
static hps_status check_head(const hps_training *t, const char *path, const hps_checkpoint_head *head)
{
    const int64_t d = t->dataset.info->d;
    hps_config *there = NULL;
    char text[512];

    if (head->d != d) {
        return hps_fail(HPS_ECONFIG,
                        "%s: a checkpoint of d %lld, but the store has d %lld; choose the store that it was "
                        "trained on, or another output",
                        path, (long long)head->d, (long long)d);
    }
    if (head->whitening != whitening_of(t)) {
        return hps_fail(
            HPS_ECONFIG,
            "%s: a checkpoint of a run on %s activations, which the store's are not; choose the store that it "
            "was trained on, or another output",
            path, head->whitening == 0 ? "unwhitened" : "these whitened");
    }
    if (head->config_hash == t->hash) {
        return HPS_OK;
    }
    const hps_status status = hps_config_read_text(path, head->config, &there);
    const bool known = status == HPS_OK && hps_config_difference(t->config, there, text, sizeof(text));
    hps_config_destroy(&there);
    return hps_fail(HPS_ECONFIG,
                    "%s: a checkpoint of another configuration (%s); give it back its values, or choose "
                    "another output",
                    path, known ? text : "its keys are not known here");
}

static hps_status resume(hps_training *t, const char *path)
{
    hps_checkpoint_head head;

    HPS_TRY(hps_checkpoint_read_head(t->world, path, &head));
    hps_status status = hps_agree(t->world, check_head(t, path, &head));
    hps_checkpoint_head_free(&head);
    HPS_TRY(status);
    HPS_TRY(hps_checkpoint_read(&t->grid, path, hps_training_roles(t->config), &t->model));
    hps_log(t->name, "goes on from %s: step %lld", path, (long long)t->model->step);
    return HPS_OK;
}

/* How the model selects, as the configuration says; the threshold is found in training. */
static void set_selection(const hps_config *c, hps_model *m)
{
    const bool nested = c->train.objective == HPS_OBJECTIVE_MATRYOSHKA && c->train.matryoshka.random == 0;
    const hps_ints *prefixes = &c->train.matryoshka.prefixes;

    m->select = c->model.select;
    m->alpha = c->model.select == HPS_SELECT_GRADIENT ? c->model.alpha : 1;
    m->beta = c->model.select == HPS_SELECT_GRADIENT ? c->model.beta : 0;
    m->prefixes = 0;
    if (nested && prefixes->count > 0) {
        m->prefixes = (int)prefixes->count;
        memcpy(m->prefix, prefixes->items, (size_t)prefixes->count * sizeof(*m->prefix));
    } else if (nested) {
        m->prefixes = HPS_PREFIXES_DEFAULT;
        hps_nest_default_prefixes(m->shard.n, m->prefix);
    }
}

static hps_status new_model(hps_training *t)
{
    const hps_config *c = t->config;

    HPS_TRY(hps_agree(t->world, hps_model_create(&t->grid, c->model.latents, t->dataset.info->d, c->model.k,
                                                 hps_training_roles(c), &t->model)));
    t->model->hook = strdup(t->dataset.info->hook);
    t->model->model_name = strdup(t->dataset.info->model_name);
    t->model->whitening = whitening_of(t);
    return HPS_OK;
}

/* How the stream is scaled: as the checkpoint says, else by the store's statistics, else by those of the sample. */
static hps_status set_scale(hps_training *t, int64_t sample_rows)
{
    const hps_store_info *info = t->dataset.info;
    hps_model *m = t->model;
    double mean_sq_norm = info->mean_sq_norm;

    hps_feed_set_norm(t->feed, HPS_NORM_NONE, 1); /* a member before may have set it */
    if (m->step == 0) {
        m->norm = t->config->data.scale == HPS_SCALE_NONE    ? HPS_NORM_NONE
                  : t->config->data.scale == HPS_SCALE_TOKEN ? HPS_NORM_TOKEN
                                                             : HPS_NORM_SCALE;
        m->scale = 1;
        if (m->norm == HPS_NORM_SCALE) {
            if (!info->has_statistics) {
                hps_sample sample;
                HPS_TRY(hps_sample_take(&t->grid, t->feed, sample_rows, info->d, false, &sample));
                mean_sq_norm = sample.mean_sq_norm;
                hps_sample_destroy(&sample);
            }
            m->scale = sqrt((double)info->d / mean_sq_norm);
        }
    }
    hps_feed_set_norm(t->feed, m->norm, m->scale);
    return HPS_OK;
}

static hps_nest_options nest_options(const hps_config *c)
{
    const bool annealed = c->train.k_steps > 0 && c->train.k_start > c->model.k;

    return (hps_nest_options){.objective = c->train.objective,
                              .n = c->model.latents,
                              .k_max = annealed ? c->train.k_start : c->model.k,
                              .factor = c->train.multi.factor,
                              .weight = c->train.multi.weight,
                              .list = c->train.objective == HPS_OBJECTIVE_HIERARCHICAL ? c->train.hierarchical.levels
                                                                                       : c->train.matryoshka.prefixes,
                              .random = c->train.matryoshka.random,
                              .smallest = c->train.matryoshka.smallest,
                              .seed = (uint64_t)c->train.seed};
}

hps_step_options hps_training_options(const hps_config *c, double V)
{
    static const hps_pick_rule rules[] = {[HPS_SELECT_TOPK] = HPS_PICK_TOPK,
                                          [HPS_SELECT_BATCH_TOPK] = HPS_PICK_BATCH,
                                          [HPS_SELECT_GRADIENT] = HPS_PICK_GRADIENT};

    return (hps_step_options){.B = c->train.batch,
                              .V = V,
                              .rule = rules[c->model.select],
                              .alpha = c->model.alpha,
                              .beta = c->model.beta,
                              .k_start = c->train.k_start,
                              .k_steps = c->train.k_steps,
                              .nest = nest_options(c),
                              .threshold_start = c->train.threshold.start_step,
                              .threshold_decay = c->train.threshold.decay,
                              .aux_k = c->train.aux.k,
                              .aux_coefficient = c->train.aux.coefficient,
                              .dead_tokens = c->train.aux.dead_tokens,
                              .lr = c->train.lr,
                              .warmup_steps = c->train.warmup_steps,
                              .steps = (c->train.tokens + c->train.batch - 1) / c->train.batch,
                              .decay = c->train.decay,
                              .beta1 = c->train.beta1,
                              .beta2 = c->train.beta2,
                              .epsilon = c->train.epsilon,
                              .clip = c->train.clip,
                              .ema = c->train.ema,
                              .threads = (int)c->grid.threads};
}

hps_status hps_training_feeds(hps_training *t)
{
    const hps_config *c = t->config;
    hps_feed_options options = {.first = 0,
                                .rows = t->dataset.train,
                                .shuffled = true,
                                .seed = (uint64_t)c->train.seed,
                                .batch = c->train.batch / t->grid.R,
                                .norm = HPS_NORM_NONE,
                                .scale = 1,
                                .keeps = t->shares};

    if (t->first != NULL) {
        t->feed = t->first->feed;
        t->gradients = t->first->gradients;
        t->heldout = t->first->heldout;
        return HPS_OK;
    }
    HPS_TRY(hps_feed_create(&t->grid, t->dataset.store, &options, &t->feed));
    if (t->dataset.gradients != NULL) {
        hps_feed_options gradients = options;
        gradients.norm = HPS_NORM_SCALE;
        gradients.scale = 1 / hps_store_about(t->dataset.gradients)->rms_norm;
        HPS_TRY(hps_feed_create(&t->grid, t->dataset.gradients, &gradients, &t->gradients));
    }
    if (t->dataset.holdout > 0) {
        options.first = t->dataset.train;
        options.rows = t->dataset.holdout;
        options.shuffled = options.keeps = false;
        HPS_TRY(hps_feed_create(&t->grid, t->dataset.store, &options, &t->heldout));
    }
    return HPS_OK;
}

static uint64_t weight_seed(const hps_config *c)
{
    return (uint64_t)(c->train.weight_seed == HPS_AUTO_INT ? c->train.seed : c->train.weight_seed);
}

/* Feeds, scale, V, trainer and, in a new run, the initial parameters. */
static hps_status make_trainer(hps_training *t)
{
    const hps_config *c = t->config;
    const int64_t rows = c->train.sample < t->dataset.train ? c->train.sample : t->dataset.train;
    const bool fresh = t->model->step == 0;
    hps_sample sample;

    set_selection(c, t->model);
    HPS_TRY(hps_training_feeds(t));
    hps_feed_set_change(t->feed, t->change);
    HPS_TRY(set_scale(t, rows));
    if (t->heldout != NULL) {
        hps_feed_set_norm(t->heldout, t->model->norm, t->model->scale);
        hps_feed_set_change(t->heldout, t->change);
    }
    HPS_TRY(hps_sample_take(&t->grid, t->feed, rows, t->dataset.info->d, fresh, &sample));
    t->options = hps_training_options(c, sample.V);
    hps_status status = hps_trainer_create(&t->grid, t->kernels, t->model, &t->options, &t->trainer);
    if (status == HPS_OK && fresh) {
        status = hps_model_initialise(hps_trainer_forward(t->trainer), t->feed, &sample, weight_seed(c),
                                      c->train.encoder_scale == HPS_AUTO_REAL ? 0 : c->train.encoder_scale);
    }
    hps_sample_destroy(&sample);
    return status;
}

/* With the number of data groups, where it was to be found out, all that decides the bits is settled. */
static hps_status settle(hps_training *t, const char *path)
{
    if (t->config->train.groups == HPS_AUTO_INT) {
        HPS_TRY(hps_training_choose_groups(t, path));
        HPS_TRY(hps_grid_create(t->world, (int)t->config->train.groups, &t->grid));
    }
    HPS_TRY(hps_agree(t->world, hps_config_text(t->config, &t->text)));
    t->hash = hps_config_hash(t->config);
    return path != NULL ? resume(t, path) : new_model(t);
}

/* The device's memory did not do. */
static hps_status advise(const hps_training *t)
{
    const hps_store_info *info = t->dataset.info;
    const hps_rank_question run = {t->config, t->kernels, info, t->dataset.gradients != NULL, t->resident_at_start};
    hps_cost_case size = hps_cost_case_of(t->config, info->d, (int)hps_dtype_size(info->dtype), 0);

    size.R = t->grid.R;
    size.P = t->grid.P;
    size.threads = (int)t->config->grid.threads;
    return hps_device_advise(&run, &size, t->device_left);
}

hps_status hps_training_prepare(hps_training *t)
{
    char *path = NULL;

    t->resident_at_start = t->first != NULL ? t->first->resident_at_start : hps_memory_resident();
    t->live_at_start = hps_memory_live();
    hps_memory_peak_anew();
    if (t->config->train.groups != HPS_AUTO_INT) {
        HPS_TRY(hps_grid_create(t->world, (int)t->config->train.groups, &t->grid));
    }
    HPS_TRY(hps_device_take(t->world, t->config->kernels.backend, &t->kernels));
    t->device_left = hps_device_left(t->world, t->kernels);
    HPS_TRY(open_data(t));
    hps_status status = find_checkpoint(t, &path);
    if (status == HPS_OK) {
        status = settle(t, path);
    }
    free(path);
    status = status == HPS_OK ? make_trainer(t) : status;
    HPS_TRY(status == HPS_ENOMEM && t->device_left > 0 && t->grid.P > 0 ? advise(t) : status);
    t->state = hps_model_bytes(&t->model->shard, hps_training_roles(t->config));
    t->buffers = hps_memory_live() - t->live_at_start - t->state;
    t->starting = hps_memory_peak() - hps_memory_live();
    return HPS_OK;
}

void hps_training_release(hps_training *t)
{
    hps_metrics_close(&t->metrics);
    hps_trainer_destroy(&t->trainer);
    if (t->first == NULL) {
        hps_feed_destroy(&t->feed);
        hps_feed_destroy(&t->heldout);
        hps_feed_destroy(&t->gradients);
    }
    hps_model_destroy(&t->model);
    if (t->first == NULL) {
        hps_dataset_close(&t->dataset);
    }
    hps_grid_destroy(&t->grid);
    HPS_FREE(&t->text);
}
