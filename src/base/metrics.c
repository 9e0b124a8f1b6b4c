#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hps_metrics {
    FILE *file;
    char *path;
};

json_t *hps_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static hps_status fail(const char *path, const char *what)
{
    return hps_fail(HPS_EIO, "%s: cannot be %s: %s", path, what, strerror(errno));
}

/* Whether a line is whole, and of a step not beyond `step`. */
static bool worth_keeping(const char *line, size_t length, int64_t step)
{
    json_t *object = length > 0 && line[length - 1] == '\n' ? json_loadb(line, length, 0, NULL) : NULL;
    const json_t *of = json_object_get(object, "step");
    const bool keep = json_is_object(object) && (of == NULL || json_integer_value(of) <= step);

    json_decref(object);
    return keep;
}

/* Bytes of the file that stay. */
static long kept_length(FILE *file, int64_t step)
{
    char *line = NULL;
    size_t size = 0;
    long kept = 0;
    ssize_t length;

    while ((length = getline(&line, &size, file)) > 0 && worth_keeping(line, (size_t)length, step)) {
        kept += length;
    }
    free(line);
    return kept;
}

static hps_status cut(const char *path, int64_t step)
{
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        return errno == ENOENT ? HPS_OK : fail(path, "read");
    }
    const long kept = step < 0 ? 0 : kept_length(file, step);
    const hps_status status = ferror(file) ? fail(path, "read") : HPS_OK;
    fclose(file);
    HPS_TRY(status);
    return truncate(path, kept) == 0 ? HPS_OK : fail(path, "cut to its valid lines");
}

hps_status hps_metrics_open(const char *path, int64_t step, hps_metrics **metrics)
{
    *metrics = NULL;
    HPS_TRY(cut(path, step));
    HPS_TRY(HPS_ALLOC(metrics, 1, "metrics"));
    hps_status status = HPS_ALLOC(&(*metrics)->path, (int64_t)strlen(path) + 1, "metrics");
    if (status == HPS_OK) {
        strcpy((*metrics)->path, path);
        (*metrics)->file = fopen(path, "ae");
        status = (*metrics)->file == NULL ? fail(path, "written") : HPS_OK;
    }
    if (status != HPS_OK) {
        hps_metrics_close(metrics);
    }
    return status;
}

hps_status hps_metrics_line(hps_metrics *metrics, json_t *line)
{
    if (line == NULL) {
        return hps_fail(HPS_ENOMEM, "%s: no memory for a line", metrics->path);
    }
    const int bad = json_dumpf(line, metrics->file, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(line);
    if (bad != 0 || fputc('\n', metrics->file) == EOF || fflush(metrics->file) != 0) {
        return fail(metrics->path, "written");
    }
    return HPS_OK;
}

void hps_metrics_close(hps_metrics **metrics)
{
    if (*metrics == NULL) {
        return;
    }
    if ((*metrics)->file != NULL) {
        fclose((*metrics)->file);
    }
    HPS_FREE(&(*metrics)->path);
    HPS_FREE(metrics);
}
