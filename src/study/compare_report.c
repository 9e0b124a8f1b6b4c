#include "compare_report.h"

#include "hpsae/base/log.h"
#include "hpsae/base/report.h"
#include "hpsae/base/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static double mean_of(int64_t count, const float *values)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++) {
        sum += (double)values[i];
    }
    return isfinite(sum) ? sum / (double)count : NAN;
}

static int64_t count_diverse(int64_t count, const float *values)
{
    int64_t diverse = 0;

    for (int64_t i = 0; i < count; i++) {
        diverse += (double)values[i] < HPS_DIVERSE;
    }
    return diverse;
}

/*
 * What the largest of M cosines of random directions comes to, sqrt(2 ln M / d), M the rows of the other dictionaries; the
 * mean over all rows, where those numbers differ.
 */
static double floor_of(const hps_comparison *c)
{
    double sum = 0;

    for (int64_t s = 0; s < c->list->count; s++) {
        const double n = (double)c->list->item[s].n, others = (double)c->rows - n;
        sum += n * sqrt(2 * hps_ln(others) / (double)c->list->item[s].d);
    }
    return sum / (double)c->rows;
}

void hps_comparison_sum_up(hps_comparison *c, const float *within, const float *across)
{
    int64_t offset = 0;

    for (int64_t s = 0; s < c->list->count; s++) {
        const int64_t n = c->list->item[s].n;
        c->of[s].max_cos = mean_of(n, within + offset);
        c->of[s].diversity = count_diverse(n, within + offset);
        c->of[s].stability = mean_of(n, across + offset);
        offset += n;
    }
    c->stability = mean_of(c->rows, across);
    c->floor = c->list->count > 1 ? floor_of(c) : NAN;
}

double hps_connectivity_of(const hps_comparison *c, const hps_likeness *one, int64_t m)
{
    return c->tokens > 0 && m > 0 ? 1 - (double)one->connections.pairs / (double)m / (double)m : NAN;
}

static double mean_match(const hps_comparison *c)
{
    double sum = 0;

    for (int64_t i = 0; i < c->matches; i++) {
        sum += c->match[i].mean;
    }
    return c->matches > 0 ? sum / (double)c->matches : NAN;
}

static void set(json_t *out, const char *name, double value)
{
    json_object_set_new(out, name, hps_json_real(value));
}

static json_t *dictionary_json(const hps_comparison *c, int64_t s)
{
    const hps_dictionary *d = &c->list->item[s];
    const hps_likeness *one = &c->of[s];
    json_t *out = json_object();
    char hex[17];

    snprintf(hex, sizeof(hex), "%016" PRIx64, one->checksum);
    json_object_set_new(out, "model", json_string(d->name));
    json_object_set_new(out, "latents", json_integer(d->n));
    json_object_set_new(out, "k", json_integer(d->k));
    json_object_set_new(out, "checksum", json_string(hex));
    set(out, "max_cos", one->max_cos);
    json_object_set_new(out, "diversity", json_integer(one->diversity));
    set(out, "stability", one->stability);
    set(out, "connectivity", hps_connectivity_of(c, one, d->n));
    set(out, "connectivity_alive", hps_connectivity_of(c, one, one->connections.alive));
    json_object_set_new(out, "alive", c->tokens > 0 ? json_integer(one->connections.alive) : json_null());
    return out;
}

json_t *hps_comparison_json(const hps_comparison *c)
{
    json_t *out = json_object(), *dictionaries = json_array(), *pairs = json_array();

    json_object_set_new(out, "d", json_integer(c->list->item[0].d));
    json_object_set_new(out, "rows", json_integer(c->rows));
    set(out, "stability", c->stability);
    set(out, "stability_floor", c->floor);
    set(out, "hungarian", mean_match(c));
    for (int64_t i = 0; i < c->matches; i++) {
        json_array_append_new(pairs, json_pack("{s:I,s:I,s:o}", "a", (json_int_t)c->match[i].a, "b",
                                               (json_int_t)c->match[i].b, "mean", hps_json_real(c->match[i].mean)));
    }
    json_object_set_new(out, "hungarian_pairs", pairs);
    json_object_set_new(out, "hungarian_skipped", c->skipped[0] != '\0' ? json_string(c->skipped) : json_null());
    json_object_set_new(out, "hook", c->hook != NULL ? json_string(c->hook) : json_null());
    json_object_set_new(out, "tokens", c->tokens > 0 ? json_integer(c->tokens) : json_null());
    for (int64_t s = 0; s < c->list->count; s++) {
        json_array_append_new(dictionaries, dictionary_json(c, s));
    }
    json_object_set_new(out, "dictionaries", dictionaries);
    return out;
}

static void log_dictionary(const hps_comparison *c, int64_t s)
{
    const hps_dictionary *d = &c->list->item[s];
    const hps_likeness *one = &c->of[s];

    hps_log("compare", "%s: max_cos %.5f, diversity %lld of %lld rows", d->name, one->max_cos,
            (long long)one->diversity, (long long)d->n);
    if (c->list->count > 1) {
        hps_log("compare", "  stability of its rows %.5f", one->stability);
    }
    if (c->tokens > 0) {
        hps_log("compare", "  connectivity %.6f over %lld tokens; %.6f among the %lld latents that fired",
                hps_connectivity_of(c, one, d->n), (long long)c->tokens,
                hps_connectivity_of(c, one, one->connections.alive), (long long)one->connections.alive);
    }
}

void hps_comparison_log(const hps_comparison *c)
{
    for (int64_t s = 0; s < c->list->count; s++) {
        log_dictionary(c, s);
    }
    if (c->list->count > 1) {
        hps_log("compare", "stability %.5f over %lld rows; random rows would reach about %.5f", c->stability,
                (long long)c->rows, c->floor);
    }
    for (int64_t i = 0; i < c->matches; i++) {
        hps_log("compare", "hungarian %.5f: %s and %s, matched one to one", c->match[i].mean,
                c->list->item[c->match[i].a].name, c->list->item[c->match[i].b].name);
    }
    if (c->list->count > 1 && c->skipped[0] != '\0') {
        hps_log("compare", "hungarian skipped: %s", c->skipped);
    }
}
