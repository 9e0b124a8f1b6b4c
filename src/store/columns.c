#include "columns.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = HPS_OUTPUT_DATASETS };

static hps_status name_hook(const hps_sources *sources, const char *wanted, char **hook)
{
    const char *found = wanted;

    for (int64_t i = 0; i < sources->count && found[0] == '\0'; i++) {
        found = sources->items[i].hook;
    }
    if (found[0] == '\0') {
        return hps_fail(HPS_ECONFIG,
                        "%s: the file does not name its activations; set shuffle.hook (say, "
                        "blocks.15.hook_resid_post)",
                        sources->items[0].path);
    }
    HPS_TRY(hps_text_copy(found, hook));
    for (char *c = *hook; *c != '\0'; c++) {
        *c = (char)(*c == '/' ? '.' : *c); /* a slash would open a group */
    }
    return HPS_OK;
}

static hps_dtype output_dtype(const hps_sources *sources, hps_store_dtype wanted)
{
    const hps_dtype first = sources->items[0].dtype;

    switch (wanted) {
    case HPS_STORE_FLOAT16:
        return HPS_F16;
    case HPS_STORE_BFLOAT16:
        return HPS_BF16;
    case HPS_STORE_FLOAT32:
        return HPS_F32;
    case HPS_STORE_KEEP:
        break;
    }
    return first == HPS_F64 ? HPS_F32 : first;
}

static hps_status add_activations(const hps_sources *sources, hps_store_dtype dtype, hps_columns *columns)
{
    hps_column *column = &columns->items[0];

    if (dtype == HPS_STORE_KEEP && !sources->same_dtype) {
        return hps_fail(HPS_EFORMAT, "%s: the input files differ in dtype (this one: %s); set shuffle.dtype",
                        sources->items[0].path, hps_dtype_name(sources->items[0].dtype));
    }
    HPS_TRY(HPS_ALLOC(&column->arrays, sources->count, "the table of input files"));
    snprintf(column->name, sizeof(column->name), "/activations/%.500s", columns->hook);
    column->words = true;
    column->dtype = output_dtype(sources, dtype);
    column->out_bytes = sources->d * (int64_t)hps_dtype_size(column->dtype);
    for (int64_t i = 0; i < sources->count; i++) {
        column->arrays[i] = sources->items[i].array;
        column->in_bytes =
            column->in_bytes > column->arrays[i].row_bytes ? column->in_bytes : column->arrays[i].row_bytes;
    }
    columns->count = 1;
    return HPS_OK;
}

static bool movable(hid_t dataset)
{
    const hid_t type = H5Dget_type(dataset);
    const bool plain = H5Tdetect_class(type, H5T_VLEN) <= 0 && H5Tdetect_class(type, H5T_REFERENCE) <= 0 &&
                       H5Tis_variable_str(type) <= 0;

    H5Tclose(type);
    return plain;
}

/* Opens a dataset of one file; false when it is not there or not of a kind that can be moved as bytes. */
static bool open_array(const hps_source *source, const char *name, hps_array *array)
{
    *array = HPS_NO_ARRAY;
    if (source->file < 0) {
        return false;
    }
    const hid_t dataset = H5Dopen2(source->file, name, H5P_DEFAULT);
    if (dataset >= 0 && !movable(dataset)) {
        H5Dclose(dataset);
        return false;
    }
    return dataset >= 0 && hps_array_of_dataset(source->path, source->fd, dataset, array) == HPS_OK;
}

static bool same_kind(const hps_array *a, const hps_array *b)
{
    return a->row_bytes == b->row_bytes && H5Tequal(a->memory, b->memory) > 0;
}

static bool same_content(const hps_array *a, const hps_array *b)
{
    char *here = NULL, *there = NULL;
    bool same = a->rows == b->rows && same_kind(a, b) && HPS_ALLOC(&here, a->rows * a->row_bytes, "labels") == HPS_OK &&
                HPS_ALLOC(&there, a->rows * a->row_bytes, "labels") == HPS_OK;

    same = same && hps_array_read(a, 0, a->rows, here) == HPS_OK && hps_array_read(b, 0, b->rows, there) == HPS_OK &&
           memcmp(here, there, (size_t)(a->rows * a->row_bytes)) == 0;
    HPS_FREE(&here);
    HPS_FREE(&there);
    return same;
}

/* What a dataset is to the activations, judged over all files. */
typedef enum { PER_ROW, PER_DOCUMENT, ODD } relation;

static relation relate(const hps_sources *sources, const hps_array *arrays)
{
    bool rows = true, documents = true;

    for (int64_t i = 0; i < sources->count; i++) {
        rows = rows && arrays[i].rows == sources->items[i].array.rows && same_kind(&arrays[i], &arrays[0]);
        documents = documents && (i == 0 || same_content(&arrays[i], &arrays[0]));
    }
    return rows ? PER_ROW : documents ? PER_DOCUMENT : ODD;
}

static void close_arrays(const hps_sources *sources, hps_array **arrays)
{
    for (int64_t i = 0; *arrays != NULL && i < sources->count; i++) {
        hps_array_close(&(*arrays)[i]);
    }
    HPS_FREE(arrays);
}

static void take_column(hps_columns *columns, const char *name, hps_array *arrays)
{
    hps_column *column = &columns->items[columns->count++];
    char kind[64];

    snprintf(column->name, sizeof(column->name), "%s", name);
    column->arrays = arrays;
    column->in_bytes = column->out_bytes = arrays[0].row_bytes;
    column->words = hps_h5_dtype(arrays[0].dataset, &column->dtype, kind);
}

static hps_status add_beside(hps_columns *columns, const char *name, const char *as, bool may_be_documents)
{
    const hps_sources *sources = columns->sources;
    hps_array *arrays;
    bool everywhere = true;

    HPS_TRY(HPS_ALLOC(&arrays, sources->count, "the table of input files"));
    for (int64_t i = 0; i < sources->count; i++) {
        everywhere = open_array(&sources->items[i], name, &arrays[i]) && everywhere;
    }
    const relation is = everywhere ? relate(sources, arrays) : ODD;
    if (is == PER_ROW && columns->count < COLUMNS_MAX) {
        take_column(columns, as, arrays);
        return HPS_OK;
    }
    if (is == PER_DOCUMENT && may_be_documents && columns->copies < COLUMNS_MAX) {
        snprintf(columns->copied[columns->copies++], sizeof(columns->copied[0]), "%s", name);
    } else {
        hps_warn("store", "%s: %s is left out: %s", sources->items[0].path, name,
                 everywhere ? "it has not one row for each row of the activations, alike in all files"
                            : "it is not in every input file as plain numbers");
    }
    close_arrays(sources, &arrays);
    return HPS_OK;
}

typedef struct {
    hps_columns *columns;
    const char *group;
    hps_status status;
} visit;

static herr_t visit_dataset(hid_t group, const char *name, const H5L_info_t *link, void *into)
{
    visit *v = into;
    char path[600];
    const hid_t object = H5Oopen(group, name, H5P_DEFAULT);

    (void)link;
    if (object >= 0 && H5Iget_type(object) == H5I_DATASET) {
        snprintf(path, sizeof(path), "%s/%.500s", v->group, name);
        v->status = add_beside(v->columns, path, path, strcmp(v->group, "/labels") == 0);
    }
    if (object >= 0) {
        H5Oclose(object);
    }
    return v->status == HPS_OK ? 0 : 1;
}

static hps_status add_group(hps_columns *columns, const char *group)
{
    visit v = {.columns = columns, .group = group};
    const hid_t file = columns->sources->items[0].file;

    if (H5Lexists(file, group, H5P_DEFAULT) > 0) {
        const hid_t opened = H5Gopen2(file, group, H5P_DEFAULT);
        if (opened >= 0) {
            H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_dataset, &v);
            H5Gclose(opened);
        }
    }
    return v.status;
}

static hps_status add_gradients(hps_columns *columns)
{
    const hps_source *head = &columns->sources->items[0];
    char name[600], as[600];

    snprintf(name, sizeof(name), "/gradients/%.500s", head->hook);
    snprintf(as, sizeof(as), "/gradients/%.500s", columns->hook);
    if (H5Lexists(head->file, "/gradients", H5P_DEFAULT) > 0 && H5Lexists(head->file, name, H5P_DEFAULT) > 0) {
        return add_beside(columns, name, as, false);
    }
    return HPS_OK;
}

static hps_status check_models(const hps_sources *sources)
{
    char *first = NULL, *other = NULL;
    hps_status status = HPS_OK;

    for (int64_t i = 0; i < sources->count && status == HPS_OK; i++) {
        char **into = first == NULL ? &first : &other;
        if (sources->items[i].file >= 0 && hps_h5_get_text(sources->items[i].file, "model_name", into) &&
            other != NULL && strcmp(first, other) != 0) {
            status = hps_fail(HPS_EFORMAT, "%s: activations of %s, those before are of %s; a store holds one model's",
                              sources->items[i].path, other, first);
        }
        HPS_FREE(&other);
    }
    HPS_FREE(&first);
    return status;
}

hps_status hps_columns_open(const hps_sources *sources, const char *hook, hps_store_dtype dtype, hps_columns *columns)
{
    *columns = (hps_columns){.sources = sources};
    HPS_TRY(check_models(sources));
    HPS_TRY(name_hook(sources, hook, &columns->hook));
    HPS_TRY(HPS_ALLOC(&columns->items, COLUMNS_MAX, "the table of datasets"));
    HPS_TRY(HPS_ALLOC(&columns->copied, COLUMNS_MAX, "the table of datasets"));
    HPS_TRY(add_activations(sources, dtype, columns));
    if (sources->items[0].file >= 0) {
        HPS_TRY(add_gradients(columns));
        HPS_TRY(add_group(columns, "/tokens"));
        HPS_TRY(add_group(columns, "/labels"));
    }
    for (int64_t c = 0; c < columns->count; c++) {
        columns->in_bytes += columns->items[c].in_bytes;
        columns->out_bytes += columns->items[c].out_bytes;
    }
    return HPS_OK;
}

void hps_columns_close(hps_columns *columns)
{
    for (int64_t c = 1; c < columns->count; c++) {
        close_arrays(columns->sources, &columns->items[c].arrays);
    }
    if (columns->items != NULL) {
        HPS_FREE(&columns->items[0].arrays);
    }
    HPS_FREE(&columns->items);
    HPS_FREE(&columns->copied);
    HPS_FREE(&columns->hook);
    columns->count = 0;
}
