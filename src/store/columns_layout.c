#include "columns.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <string.h>

/* Attributes that a shuffle writes anew, or that hold no longer. */
static const char *const own_attributes[] = {
    "format",        "format_version", "shuffled", "shuffle_seed", "complete",     "fingerprint",   "source_files",
    "rows_left_out", "hook_name",      "n_tokens", "mean",         "mean_sq_norm", "logical_dtype", NULL};

static bool listed(const char *name, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(name, *list) == 0) {
            return true;
        }
    }
    return false;
}

static hps_status copy_value(hid_t attribute, const char *name, hid_t to)
{
    const hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const hssize_t points = H5Sget_simple_extent_npoints(space);
    char *value = NULL, reason[256];
    hps_status status = HPS_ALLOC(&value, points * (hssize_t)H5Tget_size(type), "an attribute");

    if (status == HPS_OK && H5Aread(attribute, type, value) >= 0) {
        const hid_t copy = H5Acreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        if (copy < 0 || H5Awrite(copy, type, value) < 0) {
            status = hps_fail(HPS_EIO, "attribute %s cannot be written: %s", name, hps_h5_reason(reason));
        }
        H5Aclose(copy);
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, value);
    }
    HPS_FREE(&value);
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

typedef struct {
    hid_t to;
    const char *const *except;
    hps_status status;
} copying;

static herr_t copy_attribute(hid_t from, const char *name, const H5A_info_t *info, void *into)
{
    copying *job = into;

    (void)info;
    if (!listed(name, job->except)) {
        const hid_t attribute = H5Aopen(from, name, H5P_DEFAULT);
        job->status = copy_value(attribute, name, job->to);
        H5Aclose(attribute);
    }
    return job->status == HPS_OK ? 0 : 1;
}

hps_status hps_attributes_copy(hid_t from, hid_t to, const char *const *except)
{
    copying job = {.to = to, .except = except};

    H5Aiterate2(from, H5_INDEX_NAME, H5_ITER_INC, NULL, copy_attribute, &job);
    return job.status;
}

static hps_status lay_out_words(const hps_columns *columns, int64_t rows, hps_output *output)
{
    const hps_column *column = &columns->items[0];
    const hid_t from = column->arrays[0].dataset;
    hid_t dataset;
    hps_status status =
        hps_output_add_words(output, column->name, column->dtype, rows, columns->sources->d, columns->hook, &dataset);

    if (status == HPS_OK && from >= 0) {
        status = hps_attributes_copy(from, dataset, own_attributes);
    }
    H5Dclose(dataset);
    return status;
}

/* Gradients that are written anew: their norm, too, is found by who writes them. */
static hps_status lay_out_floats(const hps_columns *columns, const hps_column *column, int64_t rows, hps_output *output)
{
    static const char *const none[] = {"hook_name", "n_tokens", "logical_dtype", "rms_norm", NULL};
    hid_t dataset;
    hps_status status =
        hps_output_add_words(output, column->name, HPS_F32, rows, columns->sources->d, columns->hook, &dataset);

    if (status == HPS_OK) {
        status = hps_attributes_copy(column->arrays[0].dataset, dataset, none);
    }
    H5Dclose(dataset);
    return status;
}

static hps_status lay_out_beside(const hps_column *column, int64_t rows, hps_output *output)
{
    static const char *const none[] = {"n_tokens", NULL};
    hsize_t shape[32] = {0};
    hid_t dataset;
    const hps_array *array = &column->arrays[0];
    const hid_t space = H5Dget_space(array->dataset);
    const int dimensions = H5Sget_simple_extent_dims(space, shape, NULL);

    H5Sclose(space);
    shape[0] = (hsize_t)rows;
    hps_status status = hps_output_add(output, column->name, array->memory, dimensions, shape, &dataset);
    if (status == HPS_OK) {
        status = hps_attributes_copy(array->dataset, dataset, none);
    }
    if (status == HPS_OK && hps_h5_has(array->dataset, "n_tokens")) {
        status = hps_h5_set_int(dataset, "n_tokens", rows);
    }
    H5Dclose(dataset);
    return status;
}

static hps_status copy_whole(hid_t from, const char *name, hps_output *output)
{
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    char reason[256];

    H5Pset_create_intermediate_group(links, 1);
    const herr_t code = H5Ocopy(from, name, output->file, name, H5P_DEFAULT, links);
    H5Pclose(links);
    return code >= 0 ? HPS_OK
                     : hps_fail(HPS_EIO, "%s: %s cannot be written: %s", output->path, name, hps_h5_reason(reason));
}

hps_status hps_columns_lay_out(const hps_columns *columns, int64_t rows, hps_output *output)
{
    const hid_t head = columns->sources->items[0].file;

    if (head >= 0) {
        HPS_TRY(hps_attributes_copy(head, output->file, own_attributes));
    }
    HPS_TRY(lay_out_words(columns, rows, output));
    for (int64_t c = 1; c < columns->count; c++) {
        const hps_column *column = &columns->items[c];
        HPS_TRY(column->floats ? lay_out_floats(columns, column, rows, output) : lay_out_beside(column, rows, output));
    }
    for (int64_t i = 0; i < columns->copies; i++) {
        HPS_TRY(copy_whole(head, columns->copied[i], output));
    }
    return HPS_OK;
}
