/* The table of a sweep as one compound dataset, /results. */
#include "sweep_record.h"

#include "hpsae/base/disk.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name;
    char kind;
    size_t offset, size;
    hid_t type;
} column;

typedef struct {
    column *column; /* [count] */
    int64_t count;
    size_t row; /* bytes */
    char *rows; /* [rows][row] */
} table;

static size_t longest(const json_t *rows, const char *name)
{
    const json_t *row;
    size_t i, most = 1;

    json_array_foreach (rows, i, row) {
        const char *text = json_string_value(json_object_get(row, name));
        const size_t length = text == NULL ? 0 : strlen(text);
        most = length > most ? length : most;
    }
    return most;
}

static hps_status lay_out(const json_t *columns, const json_t *rows, table *t)
{
    const char *name;
    json_t *kind;

    HPS_TRY(HPS_ALLOC(&t->column, (int64_t)json_object_size(columns), "table"));
    json_object_foreach ((json_t *)(uintptr_t)columns, name, kind) {
        column *c = &t->column[t->count++];
        *c = (column){.name = name, .kind = json_string_value(kind)[0], .offset = t->row, .size = 8};
        if (c->kind == 's') {
            c->size = longest(rows, name);
            c->type = H5Tcopy(H5T_C_S1);
            H5Tset_size(c->type, c->size);
            H5Tset_strpad(c->type, H5T_STR_NULLPAD);
        } else {
            c->type = H5Tcopy(c->kind == 'i' ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE);
        }
        t->row += c->size;
    }
    return HPS_ALLOC(&t->rows, (int64_t)json_array_size(rows) * (int64_t)t->row, "table");
}

/* What is missing: an empty text, -1, NaN. */
static void fill_field(const column *c, const json_t *value, char *row)
{
    const char *text = json_string_value(value);
    const int64_t integer = json_is_integer(value) ? (int64_t)json_integer_value(value) : -1;
    const double real = json_is_number(value) ? json_number_value(value) : NAN;

    if (c->kind == 's') {
        memcpy(row + c->offset, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
    } else {
        memcpy(row + c->offset, c->kind == 'i' ? (const void *)&integer : (const void *)&real, c->size);
    }
}

static void fill(const json_t *rows, table *t)
{
    const json_t *row;
    size_t i;

    json_array_foreach (rows, i, row) {
        for (int64_t c = 0; c < t->count; c++) {
            fill_field(&t->column[c], json_object_get(row, t->column[c].name), t->rows + i * t->row);
        }
    }
}

static hps_status write_dataset(hid_t file, const table *t, hsize_t rows)
{
    const hid_t type = H5Tcreate(H5T_COMPOUND, t->row), space = H5Screate_simple(1, &rows, NULL);

    for (int64_t c = 0; c < t->count; c++) {
        H5Tinsert(type, t->column[c].name, t->column[c].offset, t->column[c].type);
    }
    const hid_t set = H5Dcreate2(file, "results", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = set >= 0 && (rows == 0 || H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, t->rows) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Tclose(type);
    char reason[256];
    return good ? HPS_OK : hps_fail(HPS_EIO, "%s", hps_h5_reason(reason));
}

static hps_status write_file(const char *path, const table *t, size_t rows)
{
    char reason[256];

    hps_h5_start();
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, hps_h5_reason(reason));
    }
    hps_status status = hps_h5_set_text(file, "format", "hpsae-sweep-results");
    status = status == HPS_OK ? hps_h5_set_int(file, "format_version", 1) : status;
    status = status == HPS_OK ? write_dataset(file, t, (hsize_t)rows) : status;
    const bool closed = H5Fclose(file) >= 0;
    if (status != HPS_OK || !closed) {
        char words[HPS_MESSAGE_MAX];
        snprintf(words, sizeof(words), "%s", status != HPS_OK ? hps_status_message() : hps_h5_reason(reason));
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, words);
    }
    return HPS_OK;
}

hps_status hps_sweep_results_h5(const char *path, const json_t *columns, const json_t *rows)
{
    char temporary[HPS_PATH_MAX + 8];
    table t = {.count = 0};

    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    hps_status status = lay_out(columns, rows, &t);
    if (status == HPS_OK) {
        fill(rows, &t);
        status = write_file(temporary, &t, json_array_size(rows));
    }
    for (int64_t c = 0; c < t.count; c++) {
        H5Tclose(t.column[c].type);
    }
    HPS_FREE(&t.column);
    HPS_FREE(&t.rows);
    status = status == HPS_OK ? hps_disk_commit(temporary, path) : status;
    if (status != HPS_OK) {
        unlink(temporary);
    }
    return status;
}
