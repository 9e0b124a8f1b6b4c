#include "hpsae/study/eval.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/dataset.h"
#include "hpsae/model/evaluate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    const char *path; /* of the model */
    hps_grid grid;
    hps_dataset dataset;
    hps_model *model;
    hps_forward *forward;
    hps_feed *feed;
    int64_t first, rows;
    int64_t *fired; /* [n] */
    hps_evaluation result;
} evaluation;

static hps_status choose_rows(evaluation *e)
{
    const hps_dataset *data = &e->dataset;
    const bool own_store = e->config->eval.store.count > 0;

    e->first = 0;
    e->rows = data->info->rows;
    if (e->config->eval.rows == HPS_ROWS_TRAIN) {
        e->rows = data->train;
    } else if (e->config->eval.rows == HPS_ROWS_HOLDOUT) {
        e->first = data->train;
        e->rows = data->holdout;
    }
    if (e->first < 0 || e->rows < 1) {
        return hps_config_fail(e->config, own_store ? "eval.rows" : "data.holdout",
                               "no rows to evaluate: data.holdout "
                               "%.15g of a store of %lld rows; set data.holdout, or eval.rows to all",
                               e->config->data.holdout, (long long)data->info->rows);
    }
    return HPS_OK;
}

static hps_status prepare(evaluation *e)
{
    const hps_config *c = e->config;

    HPS_TRY(hps_grid_create(e->world, (int)c->grid.groups, &e->grid));
    HPS_TRY(hps_dataset_open(e->world, c, &c->eval.store, true, &e->dataset));
    HPS_TRY(choose_rows(e));
    HPS_TRY(hps_model_load(&e->grid, e->path, &e->model));
    if (e->model->shard.d != e->dataset.info->d) {
        return hps_fail(HPS_ECONFIG,
                        "%s has d %lld, but the store %s has d %lld; choose the store that the model is for", e->path,
                        (long long)e->model->shard.d, e->dataset.info->hook, (long long)e->dataset.info->d);
    }
    const int64_t batch = c->eval.batch < e->rows ? c->eval.batch : e->rows;
    const hps_feed_options options = {
        .first = e->first, .rows = e->rows, .batch = batch, .norm = e->model->norm, .scale = e->model->scale};
    HPS_TRY(hps_feed_create(&e->grid, e->dataset.store, &options, &e->feed));
    const hps_forward_options forward = {.B = batch,
                                         .k_max = e->model->k,
                                         .k = e->model->k,
                                         .rules = 1u << hps_pick_in_use(e->model).rule,
                                         .threads = (int)c->grid.threads};
    HPS_TRY(hps_forward_create(&e->grid, hps_kernels_choose(c->kernels.backend), e->model, &forward, &e->forward));
    return hps_agree(e->world, HPS_ALLOC(&e->fired, e->model->shard.n, "firing counts"));
}

static void release(evaluation *e)
{
    HPS_FREE(&e->fired);
    hps_forward_destroy(&e->forward);
    hps_feed_destroy(&e->feed);
    hps_model_destroy(&e->model);
    hps_dataset_close(&e->dataset);
    hps_grid_destroy(&e->grid);
}

/*
 * Histogram of log10 of the firing frequency: bins of a tenth of a decade from 1e-8 to 1; latents that never fired are
 * counted apart.
 */
static json_t *density(const evaluation *e)
{
    enum { BINS = 80 };
    int64_t count[BINS] = {0}, never = 0;
    json_t *edges = json_array(), *counts = json_array();

    for (int64_t i = 0; i < e->model->shard.n; i++) {
        if (e->fired[i] == 0) {
            never++;
            continue;
        }
        const double decades = hps_ln((double)e->fired[i] / (double)e->rows) / hps_ln(10);
        const int bin = (int)((decades + 8) * 10);
        count[bin < 0 ? 0 : bin < BINS ? bin : BINS - 1]++;
    }
    for (int b = 0; b <= BINS; b++) {
        json_array_append_new(edges, json_real(-8 + 0.1 * b));
    }
    for (int b = 0; b < BINS; b++) {
        json_array_append_new(counts, json_integer(count[b]));
    }
    return json_pack("{s:o,s:o,s:I}", "edges", edges, "counts", counts, "never", (json_int_t)never);
}

static json_t *curve(const hps_evaluation *r)
{
    json_t *k = json_array(), *ev = json_array();

    for (int i = 0; i < r->points; i++) {
        json_array_append_new(k, json_integer(r->k[i]));
        json_array_append_new(ev, hps_json_real(r->ev_at_k[i]));
    }
    return json_pack("{s:o,s:o}", "k", k, "ev", ev);
}

/* Share of latents silent over the last dead_tokens tokens of training; null where the model does not know. */
static json_t *dead(const evaluation *e)
{
    const hps_model *m = e->model;
    int64_t count = 0;

    if (m->fired == NULL) {
        return json_null();
    }
    for (int64_t i = 0; i < m->shard.n; i++) {
        count += m->tokens - m->fired[i] >= e->config->train.aux.dead_tokens;
    }
    return json_real((double)count / (double)m->shard.n);
}

static json_t *report(const evaluation *e, hps_checksum sum)
{
    const hps_evaluation *r = &e->result;
    json_t *out = json_object();
    char hex[17];

    snprintf(hex, sizeof(hex), "%016" PRIx64, sum.values);
    json_object_set_new(out, "model", json_string(e->path));
    json_object_set_new(out, "hook", json_string(e->dataset.info->hook));
    json_object_set_new(out, "latents", json_integer(e->model->shard.n));
    json_object_set_new(out, "k", json_integer(e->model->k));
    json_object_set_new(out, "rows", json_integer(r->rows));
    json_object_set_new(out, "mse", hps_json_real(r->mse));
    json_object_set_new(out, "fvu", hps_json_real(r->fvu));
    json_object_set_new(out, "ev", hps_json_real(r->ev));
    json_object_set_new(out, "ev_dimmean", hps_json_real(r->ev_dimmean));
    json_object_set_new(out, "l0", hps_json_real(r->l0));
    json_object_set_new(out, "dead", dead(e));
    json_object_set_new(out, "alive_eval", hps_json_real((double)r->alive / (double)e->model->shard.n));
    json_object_set_new(out, "ev_at_k", curve(r));
    json_object_set_new(out, "density", density(e));
    json_object_set_new(out, "step", json_integer(e->model->step));
    json_object_set_new(out, "tokens", json_integer(e->model->tokens));
    json_object_set_new(out, "checksum", json_string(hex));
    return out;
}

/* Rank 0 writes eval.json and, if asked, the line on stdout. */
static hps_status publish(const evaluation *e, json_t *out, bool json)
{
    char path[HPS_PATH_MAX];

    HPS_TRY(hps_directory_make(e->config->output));
    HPS_TRY(hps_path_join(e->config->output, "eval.json", path));
    char *text = json_dumps(out, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
    if (text == NULL) {
        return hps_fail(HPS_ENOMEM, "no memory for %s", path);
    }
    const hps_status status = hps_file_replace(path, text, strlen(text));
    free(text);
    if (status == HPS_OK && json) {
        json_dumpf(out, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
        printf("\n");
    }
    return status;
}

static hps_status finish(const evaluation *e, bool json)
{
    const hps_evaluation *r = &e->result;
    const hps_checksum sum = hps_model_checksum(e->grid.model, e->model);
    hps_status status = HPS_OK;
    int rank;

    hps_log("eval", "ev %.5f, ev_dimmean %.5f, mse %.6g, L0 %.2f, %.1f %% of the latents fired", r->ev, r->ev_dimmean,
            r->mse, r->l0, 100 * (double)r->alive / (double)e->model->shard.n);
    HPS_MPI(MPI_Comm_rank(e->world, &rank));
    if (rank == 0) {
        json_t *out = report(e, sum);
        status = publish(e, out, json);
        json_decref(out);
    }
    return hps_agree(e->world, status);
}

hps_status hps_study_eval(MPI_Comm world, const hps_config *config, bool json, bool dry_run)
{
    evaluation e = {.world = world, .config = config, .grid.model = MPI_COMM_NULL};

    e.path = config->eval.model[0] != '\0' ? config->eval.model : config->output;
    hps_status status = hps_agree(world, prepare(&e));
    if (status == HPS_OK) {
        hps_log("eval", "%s on %lld rows of %s", e.path, (long long)e.rows, e.dataset.info->hook);
    }
    if (status == HPS_OK && !dry_run) {
        status = hps_evaluate(e.forward, e.feed, e.rows, true, e.fired, &e.result);
        if (status == HPS_OK) {
            status = finish(&e, json);
        }
    }
    release(&e);
    return status;
}
