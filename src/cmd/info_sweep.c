#include "info_sweep.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool hps_info_is_sweep(const char *path, char *path_of, size_t size)
{
    static const char name[] = "sweep.json";
    const size_t length = strlen(path), behind = strlen(name);
    struct stat about;

    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        return snprintf(path_of, size, "%s/%s", path, name) < (int)size && access(path_of, F_OK) == 0;
    }
    return snprintf(path_of, size, "%s", path) < (int)size && length >= behind &&
           strcmp(path + length - behind, name) == 0;
}

static void count_points(const json_t *points, json_t *about)
{
    static const char *const states[] = {"complete", "failed", "running", "waiting"};
    const json_t *point;
    size_t i;

    for (size_t s = 0; s < sizeof(states) / sizeof(states[0]); s++) {
        json_int_t count = 0;
        json_array_foreach (points, i, point) {
            const char *status = json_string_value(json_object_get(point, "status"));
            count += status != NULL && strcmp(status, states[s]) == 0;
        }
        json_object_set_new(about, states[s], json_integer(count));
    }
}

static void add_failures(const json_t *points, json_t *about)
{
    json_t *failures = json_object();
    const json_t *point;
    size_t i;

    json_array_foreach (points, i, point) {
        const char *name = json_string_value(json_object_get(point, "name"));
        const json_t *reason = json_object_get(point, "reason");
        if (name != NULL && json_is_string(reason)) {
            json_object_set_new(failures, name, json_string(json_string_value(reason)));
        }
    }
    if (json_object_size(failures) > 0) {
        json_object_set(about, "failures", failures);
    }
    json_decref(failures);
}

hps_status hps_info_sweep(const char *path, bool all, json_t *about)
{
    json_error_t error;
    json_t *file = json_load_file(path, 0, &error), *points = json_object_get(file, "points");
    const char *format = json_string_value(json_object_get(file, "format"));

    if (format == NULL || strcmp(format, "hpsae-sweep") != 0 || !json_is_array(points)) {
        json_decref(file);
        return hps_fail(HPS_EFORMAT, "%s: is no sweep.json of 'hpsae sweep': %s", path,
                        file == NULL ? error.text : "its format says something else");
    }
    json_object_set_new(about, "kind", json_string("sweep"));
    json_object_set_new(about, "file", json_string(path));
    json_object_set_new(about, "count", json_integer((json_int_t)json_array_size(points)));
    count_points(points, about);
    add_failures(points, about);
    if (all) {
        json_object_set(about, "points", points);
    }
    json_decref(file);
    return HPS_OK;
}
