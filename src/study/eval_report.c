#include "eval_report.h"

#include "hpsae/base/log.h"
#include "hpsae/base/report.h"
#include "hpsae/base/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

json_t *hps_density_json(int64_t latents, const int64_t *fired, int64_t rows)
{
    enum { BINS = 80 };
    int64_t count[BINS] = {0}, never = 0;
    json_t *edges = json_array(), *counts = json_array();

    for (int64_t i = 0; i < latents; i++) {
        if (fired[i] == 0) {
            never++;
            continue;
        }
        const double decades = hps_ln((double)fired[i] / (double)rows) / hps_ln(10);
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

/* Two lists of one length: sizes and the ev that they reach. */
static json_t *evs(const char *name, int count, const int64_t *size, const double *ev)
{
    json_t *sizes = json_array(), *values = json_array();

    for (int i = 0; i < count; i++) {
        json_array_append_new(sizes, json_integer(size[i]));
        json_array_append_new(values, hps_json_real(ev[i]));
    }
    return json_pack("{s:o,s:o}", name, sizes, "ev", values);
}

int64_t hps_silent_latents(const hps_model *m, int64_t dead_tokens)
{
    int64_t count = 0;

    for (int64_t i = 0; m->fired != NULL && i < m->shard.n; i++) {
        count += m->tokens - m->fired[i] >= dead_tokens;
    }
    return m->fired != NULL ? count : -1;
}

/* Share of latents silent over the last dead_tokens tokens of training; null where the model does not know. */
static json_t *dead(const hps_findings *f)
{
    const int64_t count = hps_silent_latents(f->model, f->dead_tokens);

    return count < 0 ? json_null() : json_real((double)count / (double)f->model->shard.n);
}

const char *hps_pick_name(hps_pick_rule rule)
{
    static const char *const names[] = {[HPS_PICK_TOPK] = "topk",
                                        [HPS_PICK_BATCH] = "batch_topk",
                                        [HPS_PICK_THRESHOLD] = "threshold",
                                        [HPS_PICK_GRADIENT] = "gradient"};

    return names[rule];
}

static void set(json_t *out, const char *name, double value)
{
    json_object_set_new(out, name, hps_json_real(value));
}

static void set_first_order(json_t *out, const hps_evaluation *r)
{
    if (r->has_gradients) {
        set(out, "first_order", r->first_order);
        set(out, "first_order_abs", r->first_order_abs);
        set(out, "first_order_r2", r->first_order_r2);
    }
}

static json_t *gradient_select(const hps_evaluation *r)
{
    json_t *out = json_object();

    set(out, "mse", r->mse);
    set(out, "ev", r->ev);
    set(out, "l0", r->l0);
    set_first_order(out, r);
    return out;
}

static void set_figures(json_t *out, const hps_findings *f)
{
    const hps_evaluation *r = &f->result;

    set(out, "mse", r->mse);
    set(out, "fvu", r->fvu);
    set(out, "ev", r->ev);
    set(out, "ev_dimmean", r->ev_dimmean);
    set(out, "l0", r->l0);
    json_object_set_new(out, "dead", dead(f));
    set(out, "alive_eval", (double)r->alive / (double)f->model->shard.n);
    json_object_set_new(out, "ev_at_k", evs("k", r->points, r->k, r->ev_at_k));
    if (r->prefixes > 0) {
        json_object_set_new(out, "prefix_ev", evs("prefix", r->prefixes, r->prefix, r->prefix_ev));
    }
    set(out, "shrinkage", f->shrinkage.rows > 0 ? f->shrinkage.shrinkage : NAN);
    json_object_set_new(out, "shrinkage_rows", json_integer(f->shrinkage.rows));
    set(out, "max_cos", f->max_cos);
    set_first_order(out, r);
    if (f->has_gradient_select) {
        json_object_set_new(out, "gradient_select", gradient_select(&f->gradient_select));
    }
    json_object_set_new(out, "density", hps_density_json(f->model->shard.n, f->fired, f->result.rows));
}

json_t *hps_findings_json(const hps_findings *f)
{
    json_t *out = json_object();
    char hex[17];

    snprintf(hex, sizeof(hex), "%016" PRIx64, f->checksum);
    json_object_set_new(out, "model", json_string(f->path));
    json_object_set_new(out, "hook", json_string(f->hook));
    if (f->whitened) {
        json_object_set_new(out, "space", json_string("whitened"));
    }
    json_object_set_new(out, "latents", json_integer(f->model->shard.n));
    json_object_set_new(out, "k", json_integer(f->model->k));
    json_object_set_new(out, "selection", json_string(hps_pick_name(f->pick.rule)));
    json_object_set_new(out, "rows", json_integer(f->result.rows));
    set_figures(out, f);
    json_object_set_new(out, "step", json_integer(f->model->step));
    json_object_set_new(out, "tokens", json_integer(f->model->tokens));
    json_object_set_new(out, "checksum", json_string(hex));
    return out;
}

/* Sizes above the ev that they reach, a few to a line. */
static void log_evs(const char *name, const char *of, int count, const int64_t *size, const double *ev)
{
    enum { A_LINE = 10 };

    for (int from = 0; from < count; from += A_LINE) {
        char sizes[12 * A_LINE] = "", values[12 * A_LINE] = "";
        for (int i = from; i < count && i < from + A_LINE; i++) {
            snprintf(sizes + 9 * (i - from), 12, " %8lld", (long long)size[i]);
            snprintf(values + 9 * (i - from), 12, " %8.5f", ev[i]);
        }
        hps_log("eval", "  %-10s%s", of, sizes);
        hps_log("eval", "  %-10s%s", name, values);
    }
}

static void log_first_order(const char *by, const hps_evaluation *r)
{
    if (r->has_gradients) {
        hps_log("eval", "  first_order%s %.4g, first_order_abs %.4g, first_order_r2 %.5f", by, r->first_order,
                r->first_order_abs, r->first_order_r2);
    }
}

void hps_findings_log(const hps_findings *f)
{
    const hps_evaluation *r = &f->result;

    if (f->whitened) {
        hps_log("eval", "the store is whitened: ev and mse are those of whitened activations");
    }
    hps_log("eval", "ev %.5f, ev_dimmean %.5f, mse %.6g, L0 %.2f, %.1f %% of the latents fired", r->ev, r->ev_dimmean,
            r->mse, r->l0, 100 * (double)r->alive / (double)f->model->shard.n);
    log_evs("ev_at_k", "k", r->points, r->k, r->ev_at_k);
    log_evs("prefix_ev", "prefix", r->prefixes, r->prefix, r->prefix_ev);
    if (f->shrinkage.rows > 0) {
        hps_log("eval", "  shrinkage  %+.5f: values fitted anew over those given, less 1; on %lld rows",
                f->shrinkage.shrinkage, (long long)f->shrinkage.rows);
    }
    if (!isnan(f->max_cos)) {
        hps_log("eval", "  max_cos    %.5f: mean cosine of a decoder row with the nearest other", f->max_cos);
    }
    log_first_order("", r);
    if (f->has_gradient_select) {
        hps_log("eval", "  selected by gradient: ev %.5f, mse %.6g, L0 %.2f", f->gradient_select.ev,
                f->gradient_select.mse, f->gradient_select.l0);
        log_first_order(" so selected", &f->gradient_select);
    }
}
