/* What follows from the point.json of all points: sweep.json, results.csv, results.h5. */
#include "sweep_lock.h"
#include "sweep_record.h"

#include "hpsae/base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The columns that every table has, in this order; kinds as in sweep_record.h. */
static const char *const first_columns[][2] = {
    {"point", "s"},     {"status", "s"}, {"latents", "i"}, {"k", "i"},       {"d", "i"},      {"select", "s"},
    {"objective", "s"}, {"lr", "r"},     {"seed", "i"},    {"batch", "i"},   {"tokens", "i"}, {"flops", "r"},
    {"seconds", "r"},   {"ranks", "i"},  {"threads", "i"}, {"backend", "s"}, {"host", "s"},   {"checksum", "s"},
};

static hps_status no_memory(void)
{
    return hps_fail(HPS_ENOMEM, "no memory for the results of the sweep");
}

/* Puts the point.json of a point into its entry of sweep.json; its row, if it has one, into rows. */
static void take_point(const char *output, json_t *entry, json_t *rows)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    char below[HPS_SWEEP_NAME + 32], path[HPS_PATH_MAX];

    snprintf(below, sizeof(below), "points/%s/point.json", name);
    json_t *file = hps_path_join(output, below, path) == HPS_OK ? json_load_file(path, 0, NULL) : NULL;
    const char *status = json_string_value(json_object_get(file, "status"));
    snprintf(below, sizeof(below), "points/%s/point.lock", name);
    if (status == NULL ||
        (strcmp(status, "running") == 0 && hps_path_join(output, below, path) == HPS_OK && !hps_lock_is_held(path))) {
        status = "waiting";
    }
    json_object_set_new(entry, "status", json_string(status));
    json_t *reason = json_object_get(file, "reason"), *row = json_object_get(file, "row");
    json_object_set_new(entry, "reason", reason != NULL ? json_incref(reason) : json_null());
    if (json_is_object(row)) {
        json_array_append(rows, row);
    }
    json_decref(file);
}

/* The first columns, then what the rows have besides. */
static json_t *columns_of(const json_t *rows)
{
    json_t *columns = json_object(), *row, *value;
    const char *name;
    size_t i;

    for (size_t c = 0; c < sizeof(first_columns) / sizeof(first_columns[0]); c++) {
        json_object_set_new(columns, first_columns[c][0], json_string(first_columns[c][1]));
    }
    json_array_foreach (rows, i, row) {
        json_object_foreach (row, name, value) {
            const char *known = json_string_value(json_object_get(columns, name));
            if (known == NULL) {
                json_object_set_new(columns, name, json_string(json_is_integer(value) ? "i" : "r"));
            } else if (known[0] == 'i' && json_is_real(value)) {
                json_object_set_new(columns, name, json_string("r"));
            }
        }
    }
    return columns;
}

/* The shortest of 15 to 17 digits that read back as the same number. */
static void write_real(double value, FILE *file)
{
    char text[32];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    fputs(text, file);
}

static void write_field(const json_t *value, FILE *file)
{
    if (json_is_string(value)) {
        fputs(json_string_value(value), file); /* names, words and hosts: no comma, no quote */
    } else if (json_is_integer(value)) {
        fprintf(file, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        write_real(json_real_value(value), file);
    }
}

static void write_table(json_t *columns, const json_t *rows, FILE *file)
{
    const json_t *row;
    const char *name;
    json_t *kind;
    size_t i;

    json_object_foreach (columns, name, kind) {
        fprintf(file, "%s%s", name == json_object_iter_key(json_object_iter(columns)) ? "" : ",", name);
    }
    fputc('\n', file);
    json_array_foreach (rows, i, row) {
        json_object_foreach (columns, name, kind) {
            fputs(name == json_object_iter_key(json_object_iter(columns)) ? "" : ",", file);
            write_field(json_object_get(row, name), file);
        }
        fputc('\n', file);
    }
}

static hps_status write_csv(const char *output, json_t *columns, const json_t *rows)
{
    char path[HPS_PATH_MAX], *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);

    if (file == NULL) {
        return no_memory();
    }
    write_table(columns, rows, file);
    hps_status status = fclose(file) == 0 ? hps_path_join(output, "results.csv", path) : no_memory();
    if (status == HPS_OK) {
        status = hps_file_replace(path, text, length);
    }
    free(text);
    return status;
}

static hps_status write_sweep(const char *output, const json_t *file)
{
    char path[HPS_PATH_MAX], *text = json_dumps(file, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    hps_status status = text != NULL ? hps_path_join(output, "sweep.json", path) : no_memory();
    if (status == HPS_OK) {
        status = hps_file_replace(path, text, strlen(text));
    }
    free(text);
    return status;
}

/* Whether an entry of an earlier sweep.json has more than its name. */
static bool was_begun(const char *output, const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    char below[HPS_SWEEP_NAME + 32], path[HPS_PATH_MAX];

    if (name == NULL || strlen(name) >= HPS_SWEEP_NAME || strchr(name, '/') != NULL) {
        return false;
    }
    snprintf(below, sizeof(below), "points/%s/point.json", name);
    return hps_path_join(output, below, path) == HPS_OK && access(path, F_OK) == 0;
}

/* The points of the configuration, then those of an earlier one that were begun; without the first, all there were. */
static json_t *join(const char *output, json_t *points, const json_t *old)
{
    json_t *all = json_array(), *known = json_object(), *entry;
    size_t i;

    json_array_foreach (points, i, entry) {
        json_object_set_new(known, json_string_value(json_object_get(entry, "name")), json_true());
        json_array_append_new(all, json_copy(entry));
    }
    json_array_foreach (old, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && json_object_get(known, name) == NULL && (points == NULL || was_begun(output, entry))) {
            json_array_append_new(all, json_copy(entry));
        }
    }
    json_decref(known);
    return all;
}

static hps_status publish(const char *output, json_t *points)
{
    char path[HPS_PATH_MAX];
    json_t *rows = json_array(), *entry;
    size_t i;

    HPS_TRY(hps_path_join(output, "sweep.json", path));
    json_t *old = json_load_file(path, 0, NULL);
    json_t *all = join(output, points, json_object_get(old, "points"));
    json_array_foreach (all, i, entry) {
        take_point(output, entry, rows);
    }
    json_t *file = json_pack("{s:s,s:i,s:o}", "format", "hpsae-sweep", "format_version", 1, "points", all);
    json_t *columns = columns_of(rows);
    hps_status status = write_sweep(output, file);
    status = status == HPS_OK ? write_csv(output, columns, rows) : status;
    status = status == HPS_OK ? hps_path_join(output, "results.h5", path) : status;
    status = status == HPS_OK ? hps_sweep_results_h5(path, columns, rows) : status;
    json_decref(columns);
    json_decref(file);
    json_decref(old);
    json_decref(rows);
    return status;
}

hps_status hps_sweep_publish(const char *output, json_t *points)
{
    char path[HPS_PATH_MAX];
    hps_lock_state state;
    int lock;

    HPS_TRY(hps_path_join(output, "results.lock", path));
    HPS_TRY(hps_lock_take(path, true, &lock, &state));
    const hps_status status = publish(output, points);
    hps_lock_release(&lock);
    return status;
}
