/* A calibration as a JSON file. */
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/model/cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char FORMAT[] = "hpsae bench 1";

/* One number of a case: how it is called, and where it stands. */
typedef struct {
    const char *name;
    int64_t value;
} entry;

enum { ENTRIES = 14 };

static void entries_of(const hps_cost_case *c, entry e[ENTRIES])
{
    const entry all[ENTRIES] = {{"n", c->n},
                                {"d", c->d},
                                {"batch", c->B},
                                {"k", c->k},
                                {"aux_k", c->aux_k},
                                {"dead", c->dead},
                                {"nested", c->nested},
                                {"clip", c->clip},
                                {"average", c->average},
                                {"word_bytes", c->word_bytes},
                                {"groups", c->R},
                                {"ranks", c->P},
                                {"threads", c->threads},
                                {"nodes", c->nodes}};
    memcpy(e, all, sizeof(all));
}

static json_t *case_json(const hps_cost_case *c)
{
    entry e[ENTRIES];
    json_t *object = json_object();

    entries_of(c, e);
    for (int i = 0; i < ENTRIES; i++) {
        json_object_set_new(object, e[i].name, json_integer(e[i].value));
    }
    json_object_set_new(object, "select", json_string(hps_config_word("model.select", c->select)));
    return object;
}

static json_t *measured_json(const hps_calibration *c)
{
    json_t *list = json_array();

    for (int64_t m = 0; m < c->count; m++) {
        json_t *one = json_object(), *seconds = json_object();
        for (int p = 0; p < HPS_PHASES; p++) {
            json_object_set_new(seconds, hps_phase_name((hps_phase)p), hps_json_real(c->measured[m].seconds[p]));
        }
        json_object_set_new(one, "case", case_json(&c->measured[m].size));
        json_object_set_new(one, "seconds", seconds);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *coefficients_json(const hps_calibration *c)
{
    json_t *phases = json_object();

    for (int p = 0; p < HPS_PHASES; p++) {
        json_t *one = json_object();
        for (int i = 0; hps_cost_feature_name((hps_phase)p, i) != NULL; i++) {
            json_object_set_new(one, hps_cost_feature_name((hps_phase)p, i), hps_json_real(c->coefficient[p][i]));
        }
        json_object_set_new(phases, hps_phase_name((hps_phase)p), one);
    }
    return phases;
}

json_t *hps_calibration_json(const hps_calibration *c)
{
    const hps_cost_limits *l = &c->limits;
    json_t *root = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:I}", "format", FORMAT, "host", c->host, "cpu", c->cpu,
                             "backend", c->backend, "ranks", c->ranks, "ranks_per_node", c->ranks_per_node, "threads",
                             c->threads, "libraries", (json_int_t)c->libraries);

    if (root == NULL) {
        return NULL;
    }
    json_object_set_new(root, "limits",
                        json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "screen_flops", hps_json_real(l->screen_flops),
                                  "float32_flops", hps_json_real(l->float32_flops), "memory_bytes",
                                  hps_json_real(l->memory_bytes), "latency", hps_json_real(l->latency),
                                  "allreduce_bytes", hps_json_real(l->allreduce_bytes), "merge_pairs",
                                  hps_json_real(l->merge_pairs), "read_bytes", hps_json_real(l->read_bytes)));
    if (!c->network_assumed) {
        json_object_set_new(root, "network",
                            json_pack("{s:f,s:f}", "latency", c->network.latency, "bytes", c->network.bytes));
    }
    json_object_set_new(root, "coefficients", coefficients_json(c));
    json_object_set_new(root, "measured", measured_json(c));
    return root;
}

/* ---- reading ---- */

/* Where a value stands, for messages. */
typedef struct {
    const char *path, *section;
} place;

static hps_status refuse(const place *at, const char *key, const char *wanted)
{
    return hps_fail(HPS_EFORMAT, "%s: %s%s%s: %s; write the file anew with `hpsae bench`", at->path, at->section,
                    at->section[0] != '\0' ? "." : "", key, wanted);
}

static hps_status take_real(const place *at, const json_t *object, const char *key, double *value)
{
    const json_t *found = json_object_get(object, key);

    if (json_is_null(found)) {
        *value = 0;
        return HPS_OK;
    }
    if (!json_is_number(found) || !(json_number_value(found) >= 0)) {
        return refuse(at, key, "a number of at least 0 is wanted");
    }
    *value = json_number_value(found);
    return HPS_OK;
}

static hps_status take_count(const place *at, const json_t *object, const char *key, int64_t least, int64_t most,
                             int64_t *value)
{
    const json_t *found = json_object_get(object, key);
    const bool whole = json_is_integer(found);

    if (!whole || json_integer_value(found) < least || json_integer_value(found) > most) {
        char words[96];
        snprintf(words, sizeof(words), "a whole number from %lld to %lld is wanted", (long long)least, (long long)most);
        return refuse(at, key, words);
    }
    *value = json_integer_value(found);
    return HPS_OK;
}

static hps_status take_int(const place *at, const json_t *object, const char *key, int *value)
{
    int64_t count = 0;

    HPS_TRY(take_count(at, object, key, 1, 1 << 24, &count));
    *value = (int)count;
    return HPS_OK;
}

static void take_text(const json_t *object, const char *key, char text[HPS_COST_TEXT])
{
    const char *found = json_string_value(json_object_get(object, key));

    snprintf(text, HPS_COST_TEXT, "%s", found != NULL ? found : "not known");
}

static hps_status take_head(const place *at, const json_t *root, hps_calibration *c)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const json_t *library = json_object_get(root, "libraries");

    if (format == NULL || strcmp(format, FORMAT) != 0) {
        return hps_fail(HPS_EFORMAT,
                        "%s: not a bench file of this version: \"format\" is not \"%s\"; write one with "
                        "`hpsae bench`",
                        at->path, FORMAT);
    }
    take_text(root, "host", c->host);
    take_text(root, "cpu", c->cpu);
    take_text(root, "backend", c->backend);
    HPS_TRY(take_int(at, root, "ranks", &c->ranks));
    HPS_TRY(take_int(at, root, "ranks_per_node", &c->ranks_per_node));
    HPS_TRY(take_int(at, root, "threads", &c->threads));
    if (json_is_integer(library) && json_integer_value(library) > 0) {
        c->libraries = json_integer_value(library);
    }
    return HPS_OK;
}

static hps_status take_limits(const char *path, const json_t *root, hps_calibration *c)
{
    const place at = {path, "limits"}, network = {path, "network"};
    const json_t *limits = json_object_get(root, "limits"), *wire = json_object_get(root, "network");
    hps_cost_limits *l = &c->limits;

    HPS_TRY(take_real(&at, limits, "screen_flops", &l->screen_flops));
    HPS_TRY(take_real(&at, limits, "float32_flops", &l->float32_flops));
    HPS_TRY(take_real(&at, limits, "memory_bytes", &l->memory_bytes));
    HPS_TRY(take_real(&at, limits, "latency", &l->latency));
    HPS_TRY(take_real(&at, limits, "allreduce_bytes", &l->allreduce_bytes));
    HPS_TRY(take_real(&at, limits, "merge_pairs", &l->merge_pairs));
    HPS_TRY(take_real(&at, limits, "read_bytes", &l->read_bytes));
    if (!json_is_object(wire)) {
        return HPS_OK;
    }
    HPS_TRY(take_real(&network, wire, "latency", &c->network.latency));
    HPS_TRY(take_real(&network, wire, "bytes", &c->network.bytes));
    if (!(c->network.bytes > 0)) {
        return refuse(&network, "bytes", "a number above 0 is wanted");
    }
    c->network_assumed = false;
    return HPS_OK;
}

static hps_status take_coefficients(const char *path, const json_t *root, hps_calibration *c)
{
    const json_t *phases = json_object_get(root, "coefficients");

    for (int p = 0; p < HPS_PHASES; p++) {
        const json_t *one = json_object_get(phases, hps_phase_name((hps_phase)p));
        char section[64];
        snprintf(section, sizeof(section), "coefficients.%s", hps_phase_name((hps_phase)p));
        const place at = {path, section};
        for (int i = 0; hps_cost_feature_name((hps_phase)p, i) != NULL; i++) {
            HPS_TRY(take_real(&at, one, hps_cost_feature_name((hps_phase)p, i), &c->coefficient[p][i]));
        }
    }
    return HPS_OK;
}

static hps_status take_case(const place *at, const json_t *object, hps_cost_case *c)
{
    static const int64_t least[ENTRIES] = {1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1};
    const char *select = json_string_value(json_object_get(object, "select"));
    entry e[ENTRIES];
    int s = 0;

    entries_of(c, e);
    for (int i = 0; i < ENTRIES; i++) {
        HPS_TRY(take_count(at, object, e[i].name, least[i], i < 6 ? INT64_MAX / 4096 : 1 << 24, &e[i].value));
    }
    while (s < 3 && (select == NULL || strcmp(select, hps_config_word("model.select", (unsigned)s)) != 0)) {
        s++;
    }
    if (s == 3) {
        return refuse(at, "select", "topk, batch_topk or gradient is wanted");
    }
    *c = (hps_cost_case){.n = e[0].value,
                         .d = e[1].value,
                         .B = e[2].value,
                         .k = e[3].value,
                         .aux_k = e[4].value,
                         .dead = e[5].value,
                         .select = (hps_select)s,
                         .nested = e[6].value,
                         .clip = e[7].value != 0,
                         .average = e[8].value != 0,
                         .word_bytes = (int)e[9].value,
                         .R = (int)e[10].value,
                         .P = (int)e[11].value,
                         .threads = (int)e[12].value,
                         .nodes = (int)e[13].value};
    return HPS_OK;
}

static hps_status take_measured(const char *path, const json_t *root, hps_calibration *c)
{
    const json_t *list = json_object_get(root, "measured");

    c->count = (int64_t)json_array_size(list);
    if (c->count == 0) {
        return HPS_OK;
    }
    HPS_TRY(HPS_ALLOC(&c->measured, c->count, "measured cases"));
    for (int64_t m = 0; m < c->count; m++) {
        const json_t *one = json_array_get(list, (size_t)m), *seconds = json_object_get(one, "seconds");
        char section[64];
        snprintf(section, sizeof(section), "measured[%lld]", (long long)m);
        const place at = {path, section};
        HPS_TRY(take_case(&at, json_object_get(one, "case"), &c->measured[m].size));
        for (int p = 0; p < HPS_PHASES; p++) {
            HPS_TRY(take_real(&at, seconds, hps_phase_name((hps_phase)p), &c->measured[m].seconds[p]));
        }
    }
    return HPS_OK;
}

static hps_status take_all(const char *path, const json_t *root, hps_calibration *c)
{
    const place at = {path, ""};

    HPS_TRY(take_head(&at, root, c));
    HPS_TRY(take_limits(path, root, c));
    HPS_TRY(take_coefficients(path, root, c));
    return take_measured(path, root, c);
}

hps_status hps_calibration_read(const char *path, hps_calibration *c)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);

    hps_calibration_builtin(c);
    c->assumed = false;
    if (root == NULL) {
        const bool unread = error.line < 0;
        return hps_fail(unread ? HPS_EIO : HPS_EFORMAT, "%s:%d:%d: %s; name a file that `hpsae bench` wrote", path,
                        unread ? 1 : error.line, unread ? 1 : error.column, error.text);
    }
    const hps_status status = take_all(path, root, c);
    json_decref(root);
    if (status != HPS_OK) {
        hps_calibration_release(c);
    }
    return status;
}

void hps_calibration_release(hps_calibration *c)
{
    HPS_FREE(&c->measured);
    c->count = 0;
}
