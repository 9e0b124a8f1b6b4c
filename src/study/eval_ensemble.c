#include "eval_ensemble.h"

#include "eval_report.h"
#include "publish.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/ensemble/ensemble_evaluate.h"
#include "hpsae/model/device.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    const char *path;
    hps_grid grid;
    hps_dataset dataset;
    hps_ensemble *ensemble;
    hps_ensemble_forward *forward;
    hps_feed *feed;
    int64_t first, rows;
    int64_t *fired; /* [latents of all members] */
    hps_ensemble_evaluation result;
} evaluation;

static void warn_of_batches(const evaluation *e, int64_t batch)
{
    for (int j = 0; j < e->ensemble->file.members; j++) {
        if (hps_pick_in_use(e->ensemble->model[j]).rule == HPS_PICK_BATCH) {
            hps_warn("eval",
                     "%s has no threshold yet (train.threshold.start_step): its latents are selected over batches of "
                     "%lld tokens, on which the figures then depend",
                     e->ensemble->file.member[j].directory, (long long)batch);
        }
    }
}

static hps_status prepare(evaluation *e)
{
    const hps_config *c = e->config;
    const hps_kernels *kernels;

    HPS_TRY(hps_grid_create(e->world, 1, &e->grid));
    HPS_TRY(hps_dataset_open(e->world, c, &c->eval.store, false, &e->dataset));
    HPS_TRY(hps_eval_rows(c, &e->dataset, &e->first, &e->rows));
    HPS_TRY(hps_ensemble_load(&e->grid, e->path, &e->ensemble));
    HPS_TRY(hps_dataset_fits(&e->dataset, e->path, e->ensemble->file.d));
    HPS_TRY(hps_dataset_whitened(&e->dataset, e->path, e->ensemble->model[0]->whitening));
    HPS_TRY(hps_agree(e->world, hps_device_without(c->kernels.backend, &kernels)));
    const int64_t batch = c->eval.batch < e->rows ? c->eval.batch : e->rows;
    const hps_model *m = e->ensemble->model[0];
    const hps_feed_options options = {
        .first = e->first, .rows = e->rows, .batch = batch, .norm = m->norm, .scale = m->scale};
    warn_of_batches(e, batch);
    HPS_TRY(hps_feed_create(&e->grid, e->dataset.store, &options, &e->feed));
    HPS_TRY(hps_ensemble_forward_create(e->ensemble, kernels, batch, (int)c->grid.threads, &e->forward));
    return hps_agree(e->world, HPS_ALLOC(&e->fired, e->ensemble->offset[e->ensemble->file.members], "firing counts"));
}

static void release(evaluation *e)
{
    hps_ensemble_evaluation_release(&e->result);
    HPS_FREE(&e->fired);
    hps_ensemble_forward_destroy(&e->forward);
    hps_feed_destroy(&e->feed);
    hps_ensemble_destroy(&e->ensemble);
    hps_dataset_close(&e->dataset);
    hps_grid_destroy(&e->grid);
}

static void set(json_t *out, const char *name, double value)
{
    json_object_set_new(out, name, hps_json_real(value));
}

static void set_checksum(json_t *out, uint64_t checksum)
{
    char hex[17];

    snprintf(hex, sizeof(hex), "%016" PRIx64, checksum);
    json_object_set_new(out, "checksum", json_string(hex));
}

/* Dead latents among `latents`, or null where a model does not know. */
static json_t *share_dead(int64_t dead, int64_t latents)
{
    return dead < 0 ? json_null() : json_real((double)dead / (double)latents);
}

static bool is_bagging(const evaluation *e)
{
    return e->ensemble->file.method == HPS_ENSEMBLE_BAGGING;
}

static json_t *member(const evaluation *e, int j)
{
    const hps_model *m = e->ensemble->model[j];
    const hps_member_evaluation *r = &e->result.member[j];
    json_t *out = json_object();

    json_object_set_new(out, "directory", json_string(e->ensemble->file.member[j].directory));
    json_object_set_new(out, "latents", json_integer(m->shard.n));
    json_object_set_new(out, "k", json_integer(m->k));
    json_object_set_new(out, "selection", json_string(hps_pick_name(hps_pick_in_use(m).rule)));
    set(out, "l0", r->l0);
    if (is_bagging(e)) {
        set(out, "ev", r->ev);
        set(out, "mse", r->mse);
    }
    json_object_set_new(out, "dead", share_dead(hps_silent_latents(m, e->config->train.aux.dead_tokens), m->shard.n));
    json_object_set_new(out, "step", json_integer(m->step));
    json_object_set_new(out, "tokens", json_integer(m->tokens));
    set_checksum(out, e->ensemble->own[j]);
    return out;
}

/* The ensembles of the first 1, 2, ... J members. */
static json_t *by_members(const evaluation *e)
{
    json_t *members = json_array(), *ks = json_array(), *l0s = json_array(), *evs = json_array();
    int64_t k = 0;
    double l0 = 0;

    for (int j = 0; j < e->ensemble->file.members; j++) {
        k += e->ensemble->model[j]->k;
        l0 += e->result.member[j].l0;
        json_array_append_new(members, json_integer(j + 1));
        json_array_append_new(ks, json_integer(k));
        json_array_append_new(l0s, hps_json_real(l0));
        json_array_append_new(evs, hps_json_real(e->result.member[j].prefix_ev));
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "members", members, "k", ks, "l0", l0s, "ev", evs);
}

/* Mean over the members. */
static double mean_member(const evaluation *e, size_t figure)
{
    const int members = e->ensemble->file.members;
    double sum = 0;

    for (int j = 0; j < members; j++) {
        sum += *(const double *)((const char *)&e->result.member[j] + figure);
    }
    return sum / members;
}

static void set_bagging(json_t *out, const evaluation *e)
{
    const double mse = mean_member(e, offsetof(hps_member_evaluation, mse));

    set(out, "members_ev", mean_member(e, offsetof(hps_member_evaluation, ev)));
    set(out, "members_mse", mse);
    set(out, "spread", e->result.spread);
    set(out, "identity", mse - e->result.spread);
}

static int64_t all_dead(const evaluation *e)
{
    int64_t sum = 0;

    for (int j = 0; j < e->ensemble->file.members; j++) {
        const int64_t dead = hps_silent_latents(e->ensemble->model[j], e->config->train.aux.dead_tokens);
        if (dead < 0) {
            return -1;
        }
        sum += dead;
    }
    return sum;
}

static void set_figures(json_t *out, const evaluation *e)
{
    const hps_ensemble_evaluation *r = &e->result;
    const int64_t latents = e->ensemble->offset[e->ensemble->file.members];

    set(out, "mse", r->mse);
    set(out, "fvu", r->fvu);
    set(out, "ev", r->ev);
    set(out, "ev_dimmean", r->ev_dimmean);
    set(out, "l0", r->l0);
    json_object_set_new(out, "dead", share_dead(all_dead(e), latents));
    set(out, "alive_eval", (double)r->alive / (double)latents);
    json_object_set_new(out, "ev_at_k", by_members(e));
    if (is_bagging(e)) {
        set_bagging(out, e);
    }
    json_object_set_new(out, "density", hps_density_json(latents, e->fired, r->rows));
}

static json_t *object(const evaluation *e)
{
    static const char *const left_out[] = {"prefix_ev",   "shrinkage",       "max_cos",       "gradient_select",
                                           "first_order", "first_order_abs", "first_order_r2"};
    json_t *out = json_object(), *members = json_array(), *names = json_array();

    json_object_set_new(out, "model", json_string(e->path));
    json_object_set_new(out, "hook", json_string(e->dataset.info->hook));
    if (e->dataset.info->whitening != 0) {
        hps_log("eval", "the store is whitened: ev and mse are those of whitened activations");
        json_object_set_new(out, "space", json_string("whitened"));
    }
    json_object_set_new(out, "ensemble", json_string(hps_ensemble_name(e->ensemble)));
    json_object_set_new(out, "members", json_integer(e->ensemble->file.members));
    json_object_set_new(out, "latents", json_integer(e->ensemble->offset[e->ensemble->file.members]));
    json_object_set_new(out, "k", json_integer(hps_ensemble_k(e->ensemble)));
    json_object_set_new(out, "rows", json_integer(e->rows));
    set_figures(out, e);
    for (int j = 0; j < e->ensemble->file.members; j++) {
        json_array_append_new(members, member(e, j));
    }
    json_object_set_new(out, "member", members);
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
        json_array_append_new(names, json_string(left_out[i]));
    }
    json_object_set_new(out, "left_out", names);
    set_checksum(out, e->ensemble->checksum);
    return out;
}

static void say(const evaluation *e)
{
    const hps_ensemble_evaluation *r = &e->result;
    const int64_t latents = e->ensemble->offset[e->ensemble->file.members];

    hps_log("eval", "ev %.5f, ev_dimmean %.5f, mse %.6g, L0 %.2f, %.1f %% of the latents fired", r->ev, r->ev_dimmean,
            r->mse, r->l0, 100 * (double)r->alive / (double)latents);
    for (int j = 0; j < e->ensemble->file.members; j++) {
        char own[48] = "";
        if (is_bagging(e)) {
            snprintf(own, sizeof(own), "; alone %.5f", r->member[j].ev);
        }
        hps_log("eval", "  up to %-10s ev %.5f%s", e->ensemble->file.member[j].directory, r->member[j].prefix_ev, own);
    }
    if (is_bagging(e)) {
        const double mse = mean_member(e, offsetof(hps_member_evaluation, mse));
        hps_log("eval", "  mse of the members %.6g, less their spread %.6g: %.6g", mse, r->spread, mse - r->spread);
    }
}

static hps_status finish(evaluation *e, bool json)
{
    hps_status status = HPS_OK;

    say(e);
    if (e->grid.p == 0) {
        json_t *out = object(e);
        status = hps_publish(e->config->output, "eval.json", out, json);
        json_decref(out);
    }
    return hps_agree(e->world, status);
}

hps_status hps_eval_ensemble(MPI_Comm world, const hps_config *config, const char *path, bool json, bool dry_run)
{
    evaluation e = {.world = world, .config = config, .path = path, .grid.model = MPI_COMM_NULL};

    hps_status status = hps_agree(world, prepare(&e));
    if (status == HPS_OK) {
        hps_log("eval", "%s, %s of %d, on %lld rows of %s", path, hps_ensemble_name(e.ensemble),
                e.ensemble->file.members, (long long)e.rows, e.dataset.info->hook);
    }
    if (status == HPS_OK && !dry_run) {
        status = hps_ensemble_evaluate(e.forward, e.feed, e.rows, e.fired, &e.result);
        status = status == HPS_OK ? finish(&e, json) : status;
    }
    release(&e);
    return status;
}
