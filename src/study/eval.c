#include "hpsae/study/eval.h"

#include "eval_ensemble.h"
#include "eval_report.h"
#include "publish.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/ensemble/ensemble.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/dataset.h"
#include "hpsae/model/device.h"
#include "hpsae/model/max_cos.h"

#include <math.h>

/* A model with a threshold may come from elsewhere and say nothing of its k: buffers are made for at least this one. */
enum { THRESHOLD_ROOM = 128 };

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    const char *path; /* of the model */
    hps_grid grid;
    hps_dataset dataset;
    const hps_kernels *kernels;
    hps_model *model;
    hps_forward *forward;
    hps_feed *feed, *gradients; /* gradients NULL where they are of no use */
    double gradient_rms;
    int64_t first, rows, curve;
    int64_t *fired; /* [n] */
    hps_findings found;
} evaluation;

hps_status hps_eval_rows(const hps_config *config, const hps_dataset *data, int64_t *first, int64_t *rows)
{
    const bool own_store = config->eval.store.count > 0;

    hps_dataset_rows(data, config->eval.rows, first, rows);
    if (*first < 0 || *rows < 1) {
        return hps_config_fail(config, own_store ? "eval.rows" : "data.holdout",
                               "no rows to evaluate: data.holdout "
                               "%.15g of a store of %lld rows; set data.holdout, or eval.rows to all",
                               config->data.holdout, (long long)data->info->rows);
    }
    return HPS_OK;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Whether the store's gradients can be used: those of the activation as the model sees it, but for a common factor. */
static bool takes_gradients(const evaluation *e)
{
    if (e->dataset.gradients == NULL) {
        return false;
    }
    if (e->model->norm == HPS_NORM_TOKEN) {
        hps_log("eval",
                "the store's gradients are left aside: they are of the activations as stored, the model's inputs and "
                "errors are normalised token by token, which no common factor undoes");
        return false;
    }
    return true;
}

static hps_status open_feeds(evaluation *e, int64_t batch)
{
    hps_feed_options options = {
        .first = e->first, .rows = e->rows, .batch = batch, .norm = e->model->norm, .scale = e->model->scale};

    HPS_TRY(hps_feed_create(&e->grid, e->dataset.store, &options, &e->feed));
    if (!takes_gradients(e)) {
        return HPS_OK;
    }
    options.norm = HPS_NORM_NONE;
    options.scale = 1;
    e->gradient_rms = hps_store_about(e->dataset.gradients)->rms_norm;
    return hps_feed_create(&e->grid, e->dataset.gradients, &options, &e->gradients);
}

/* How the main figures select.  Before BatchTopK's threshold is known, batches select, as in training. */
static hps_pick choose_pick(const hps_model *m, int64_t batch)
{
    const hps_pick pick = hps_pick_in_use(m);

    if (pick.rule == HPS_PICK_BATCH) {
        hps_warn("eval",
                 "the model has no threshold yet (train.threshold.start_step): latents are selected over batches "
                 "of %lld tokens, on which the figures then depend",
                 (long long)batch);
    }
    return pick;
}

static hps_status open_forward(evaluation *e, int64_t batch)
{
    const hps_config *c = e->config;
    const hps_model *m = e->model;
    const int64_t widest = e->curve > m->k ? e->curve : m->k, room = smaller(THRESHOLD_ROOM, m->shard.n);
    const bool by_gradient = m->select == HPS_SELECT_GRADIENT && e->gradients != NULL && e->gradient_rms > 0;

    e->found.pick = choose_pick(m, batch);
    const bool threshold = e->found.pick.rule == HPS_PICK_THRESHOLD;
    const int64_t k = threshold && widest < room ? room : widest;
    e->found.has_gradient_select = by_gradient;
    const unsigned rules = 1u << e->found.pick.rule | (by_gradient ? 1u << HPS_PICK_GRADIENT : 0);
    const hps_forward_options options = {
        .B = batch, .k_max = k, .k = k, .rules = rules, .threads = (int)c->grid.threads};
    return hps_forward_create(&e->grid, e->kernels, e->model, &options, &e->forward);
}

static hps_status prepare(evaluation *e)
{
    const hps_config *c = e->config;

    HPS_TRY(hps_grid_create(e->world, 1, &e->grid));
    HPS_TRY(hps_device_take(e->world, c->kernels.backend, &e->kernels));
    HPS_TRY(hps_dataset_open(e->world, c, &c->eval.store, true, &e->dataset));
    HPS_TRY(hps_eval_rows(c, &e->dataset, &e->first, &e->rows));
    HPS_TRY(hps_model_load(&e->grid, e->path, &e->model));
    HPS_TRY(hps_dataset_fits(&e->dataset, e->path, e->model->shard.d));
    HPS_TRY(hps_dataset_whitened(&e->dataset, e->path, e->model->whitening));
    const int64_t batch = smaller(c->eval.batch, e->rows), n = e->model->shard.n;
    e->curve = smaller(c->eval.curve == HPS_AUTO_INT ? 4 * e->model->k : c->eval.curve, n);
    HPS_TRY(open_feeds(e, batch));
    HPS_TRY(open_forward(e, batch));
    return hps_agree(e->world, HPS_ALLOC(&e->fired, n, "firing counts"));
}

static void release(evaluation *e)
{
    HPS_FREE(&e->fired);
    hps_forward_destroy(&e->forward);
    hps_feed_destroy(&e->feed);
    hps_feed_destroy(&e->gradients);
    hps_model_destroy(&e->model);
    hps_dataset_close(&e->dataset);
    hps_grid_destroy(&e->grid);
}

static hps_status measure(evaluation *e)
{
    const hps_config *c = e->config;
    hps_findings *found = &e->found;
    hps_evaluate_options options = {.rows = e->rows, .pick = found->pick, .curve = e->curve, .gradients = e->gradients};

    HPS_TRY(hps_evaluate(e->forward, e->feed, &options, e->fired, &found->result));
    if (found->has_gradient_select) {
        options.pick.rule = HPS_PICK_GRADIENT;
        options.curve = 0;
        options.gradient_rms = e->gradient_rms;
        options.variance = found->result.first_order_variance;
        HPS_TRY(hps_evaluate(e->forward, e->feed, &options, NULL, &found->gradient_select));
    }
    if (c->eval.shrinkage_rows > 0) {
        HPS_TRY(hps_shrinkage_measure(e->forward, e->feed, &found->pick, smaller(c->eval.shrinkage_rows, e->rows),
                                      &found->shrinkage));
    }
    if (found->shrinkage.left_out > 0) {
        hps_log("eval", "shrinkage: %lld rows left out, most of them of more than %d latents",
                (long long)found->shrinkage.left_out, (int)HPS_SHRINKAGE_SLOTS);
    }
    found->max_cos = NAN;
    return c->eval.max_cos ? hps_max_cos(&e->grid, e->kernels, e->model, (int)c->grid.threads, &found->max_cos)
                           : HPS_OK;
}

static hps_status finish(evaluation *e, bool json)
{
    hps_status status = HPS_OK;
    int rank;

    e->found.path = e->path;
    e->found.hook = e->dataset.info->hook;
    e->found.whitened = e->dataset.info->whitening != 0;
    e->found.model = e->model;
    e->found.dead_tokens = e->config->train.aux.dead_tokens;
    e->found.fired = e->fired;
    e->found.checksum = hps_model_checksum(e->grid.model, e->model).values;
    hps_findings_log(&e->found);
    HPS_MPI(MPI_Comm_rank(e->world, &rank));
    if (rank == 0) {
        json_t *out = hps_findings_json(&e->found);
        status = hps_publish(e->config->output, "eval.json", out, json);
        json_decref(out);
    }
    return hps_agree(e->world, status);
}

static hps_status eval_model(MPI_Comm world, const hps_config *config, const char *path, bool json, bool dry_run)
{
    evaluation e = {.world = world, .config = config, .path = path, .grid.model = MPI_COMM_NULL};

    hps_status status = hps_agree(world, prepare(&e));
    if (status == HPS_OK) {
        hps_log("eval", "%s on %lld rows of %s", e.path, (long long)e.rows, e.dataset.info->hook);
    }
    if (status == HPS_OK && !dry_run) {
        status = measure(&e);
        status = status == HPS_OK ? finish(&e, json) : status;
    }
    release(&e);
    return status;
}

hps_status hps_study_eval(MPI_Comm world, const hps_config *config, bool json, bool dry_run)
{
    const char *path = config->eval.model[0] != '\0' ? config->eval.model : config->output;
    bool ensemble;

    HPS_TRY(hps_ensemble_is(world, path, &ensemble));
    return ensemble ? hps_eval_ensemble(world, config, path, json, dry_run)
                    : eval_model(world, config, path, json, dry_run);
}
