/* point.json: how far a point is, and its row of the table. */
#include "sweep_record.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const char format[] = "hpsae-sweep-point";
static const char *const states[] = {[HPS_POINT_WAITING] = "waiting",
                                     [HPS_POINT_RUNNING] = "running",
                                     [HPS_POINT_COMPLETE] = "complete",
                                     [HPS_POINT_FAILED] = "failed",
                                     [HPS_POINT_DIVERGED] = "failed"};

/* A JSON file of a directory; NULL where it is not there or not whole. */
static json_t *load(const char *directory, const char *name)
{
    char path[HPS_PATH_MAX];

    return hps_path_join(directory, name, path) == HPS_OK ? json_load_file(path, 0, NULL) : NULL;
}

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

hps_status hps_point_read(const char *directory, hps_point_state *state, uint64_t *hash)
{
    char path[HPS_PATH_MAX];
    json_error_t error;

    *state = HPS_POINT_WAITING;
    *hash = 0;
    HPS_TRY(hps_path_join(directory, "point.json", path));
    json_t *file = json_load_file(path, 0, &error);
    if (file == NULL && json_error_code(&error) == json_error_cannot_open_file) {
        return HPS_OK;
    }
    const char *said = text_in(file, "status");
    bool known = strcmp(text_in(file, "format"), format) == 0;
    for (int s = HPS_POINT_WAITING; s <= HPS_POINT_FAILED; s++) {
        *state = strcmp(said, states[s]) == 0 ? (hps_point_state)s : *state;
    }
    known = known && strcmp(said, states[*state]) == 0;
    if (json_is_true(json_object_get(file, "diverged"))) {
        *state = HPS_POINT_DIVERGED;
    }
    *hash = strtoull(text_in(file, "config_hash"), NULL, 16);
    json_decref(file);
    return known ? HPS_OK
                 : hps_fail(HPS_EFORMAT,
                            "%s: does not say how far the point is; remove it to have the point looked at anew", path);
}

json_t *hps_point_set(const hps_sweep_point *point)
{
    json_t *set = json_object();

    for (int64_t s = 0; s < point->count; s++) {
        json_t *value = json_loads(point->set[s].text, JSON_DECODE_ANY, NULL);
        json_object_set_new(set, point->set[s].path, value != NULL ? value : json_string(point->set[s].text));
    }
    return set;
}

/*
 * Seconds of the training's steps: what the lines of metrics.jsonl say of their tokens.  They are those of a straight run,
 * whatever was lost to kills.
 */
static double step_seconds(const char *directory)
{
    char path[HPS_PATH_MAX], *line = NULL;
    double seconds = 0, before = 0;
    size_t size = 0;
    ssize_t length;

    FILE *file = hps_path_join(directory, "metrics.jsonl", path) == HPS_OK ? fopen(path, "re") : NULL;
    while (file != NULL && (length = getline(&line, &size, file)) > 0) {
        json_t *object = json_loadb(line, (size_t)length, 0, NULL);
        const double rate = json_number_value(json_object_get(object, "tokens_per_s"));
        const double tokens = json_number_value(json_object_get(object, "tokens"));
        seconds += rate > 0 && tokens > before ? (tokens - before) / rate : 0;
        before = tokens > before ? tokens : before;
        json_decref(object);
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
    return seconds;
}

static json_t *or_null(json_t *borrowed)
{
    return borrowed != NULL ? json_incref(borrowed) : json_null();
}

/* What the run itself says: where it ran, and what came of it. */
static void add_run(const char *directory, int ranks, json_t *row)
{
    json_t *run = load(directory, "run.json"), *hosts = json_object_get(run, "hosts");
    const char *host = json_object_iter_key(json_object_iter(hosts));

    json_object_set_new(row, "seconds", hps_json_real(step_seconds(directory)));
    json_object_set_new(row, "ranks", json_integer(ranks));
    json_object_set_new(row, "threads", json_integer(omp_get_max_threads()));
    json_object_set_new(row, "backend", or_null(json_object_get(json_object_get(run, "kernels"), "backend")));
    json_object_set_new(row, "host", host != NULL ? json_string(host) : json_null());
    json_object_set_new(row, "checksum", json_null());
    json_decref(run);
}

/* Every scalar of eval.json under its name there, but those that the row has. */
static void add_evaluation(const char *directory, json_t *row)
{
    json_t *found = load(directory, "eval.json"), *value;
    const char *name;

    json_object_set_new(row, "checksum", or_null(json_object_get(found, "checksum")));
    json_object_foreach (found, name, value) {
        if ((json_is_number(value) || json_is_null(value)) && json_object_get(row, name) == NULL) {
            json_object_set(row, name, value);
        }
    }
    json_decref(found);
}

static json_t *row_of(const hps_sweep_point *point, hps_point_state state, int64_t d, int ranks)
{
    const hps_config *c = point->config;
    const int64_t steps = (c->train.tokens + c->train.batch - 1) / c->train.batch, tokens = steps * c->train.batch;
    json_t *row = json_object();

    json_object_set_new(row, "point", json_string(point->name));
    json_object_set_new(row, "status", json_string(states[state]));
    json_object_set_new(row, "latents", json_integer(c->model.latents));
    json_object_set_new(row, "k", json_integer(c->model.k));
    json_object_set_new(row, "d", json_integer(d));
    json_object_set_new(row, "select", json_string(hps_config_word("model.select", c->model.select)));
    json_object_set_new(row, "objective", json_string(hps_config_word("train.objective", c->train.objective)));
    json_object_set_new(row, "lr", hps_json_real(c->train.lr));
    json_object_set_new(row, "seed", json_integer(c->train.seed));
    json_object_set_new(row, "batch", json_integer(c->train.batch));
    json_object_set_new(row, "tokens", json_integer(tokens));
    json_object_set_new(row, "flops",
                        hps_json_real(hps_training_flops(c->model.latents, d, c->model.k, (double)tokens)));
    add_run(c->output, ranks, row);
    if (state == HPS_POINT_COMPLETE) {
        add_evaluation(c->output, row);
    }
    return row;
}

static hps_status write_json(const char *path, const json_t *object)
{
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    if (text == NULL) {
        return hps_fail(HPS_ENOMEM, "%s: no memory for it", path);
    }
    const hps_status status = hps_file_replace(path, text, strlen(text));
    free(text);
    return status;
}

hps_status hps_point_write(const hps_sweep_point *point, hps_point_state state, const char *reason, int64_t d,
                           int ranks)
{
    const bool ended = state >= HPS_POINT_COMPLETE;
    char path[HPS_PATH_MAX], hex[17];
    json_t *file = json_object();

    snprintf(hex, sizeof(hex), "%016" PRIx64, hps_config_hash(point->config));
    json_object_set_new(file, "format", json_string(format));
    json_object_set_new(file, "format_version", json_integer(1));
    json_object_set_new(file, "name", json_string(point->name));
    json_object_set_new(file, "set", hps_point_set(point));
    json_object_set_new(file, "status", json_string(states[state]));
    json_object_set_new(file, "reason", reason != NULL ? json_string(reason) : json_null());
    json_object_set_new(file, "diverged", json_boolean(state == HPS_POINT_DIVERGED));
    json_object_set_new(file, "config_hash", json_string(hex));
    json_object_set_new(file, "row", ended ? row_of(point, state, d, ranks) : json_null());
    hps_status status = hps_path_join(point->config->output, "point.json", path);
    if (status == HPS_OK) {
        status = write_json(path, file);
    }
    json_decref(file);
    return status;
}
