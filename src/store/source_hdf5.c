#include "source.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <stdio.h>
#include <string.h>

static const char group_name[] = "/activations";

/* The datasets found under a group: how many, the first one, and all their names for a message. */
typedef struct {
    const char *prefix;
    bool only_2d;
    int count;
    char first[512], names[512];
} finding;

static void add_name(finding *found, const char *name)
{
    const size_t used = strlen(found->names);

    if (found->count == 0) {
        snprintf(found->first, sizeof(found->first), "%s%s", found->prefix, name);
    }
    snprintf(found->names + used, sizeof(found->names) - used, "%s%s", found->count > 0 ? ", " : "", name);
    found->count++;
}

static int dimensions_of(hid_t dataset, int64_t shape[2])
{
    const hid_t space = H5Dget_space(dataset);
    const int dimensions = H5Sget_simple_extent_ndims(space);
    hsize_t extent[32] = {0};

    H5Sget_simple_extent_dims(space, extent, NULL);
    H5Sclose(space);
    shape[0] = (int64_t)extent[0];
    shape[1] = (int64_t)extent[1];
    return dimensions;
}

static herr_t note_dataset(hid_t group, const char *name, const H5L_info_t *link, void *into)
{
    finding *found = into;
    const hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    int64_t shape[2];

    (void)link;
    if (object >= 0) {
        if (H5Iget_type(object) == H5I_DATASET && (!found->only_2d || dimensions_of(object, shape) == 2)) {
            add_name(found, name);
        }
        H5Oclose(object);
    }
    return 0;
}

static bool link_exists(hid_t file, const char *path)
{
    char part[512];

    /* Each step of the path must be asked for by itself. */
    for (const char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", end == NULL ? (int)strlen(path) : (int)(end - path), path);
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0) {
            return false;
        }
        if (end == NULL) {
            return H5Oexists_by_name(file, path, H5P_DEFAULT) > 0;
        }
    }
}

static void list_candidates(hid_t file, finding *found)
{
    if (link_exists(file, group_name)) {
        const hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
        *found = (finding){.prefix = "/activations/"};
        H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, note_dataset, found);
        H5Gclose(group);
    } else {
        *found = (finding){.prefix = "/", .only_2d = true};
        H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, note_dataset, found);
    }
}

static hps_status choose_only(const hps_source *source, hps_choice choice, char dataset[512])
{
    finding found;

    list_candidates(source->file, &found);
    if (found.count == 0) {
        return hps_fail(HPS_EFORMAT, "%s: no dataset under /activations and none of shape [rows, d]", source->path);
    }
    if (found.count > 1) {
        return hps_fail(HPS_EFORMAT, "%s: has several datasets of activations: %s; choose one with %s", source->path,
                        found.names, choice.key);
    }
    memcpy(dataset, found.first, sizeof(found.first));
    return HPS_OK;
}

/* A name is first looked for under /activations, then from the root; one that begins with a slash is a path. */
static hps_status choose_named(const hps_source *source, hps_choice choice, char dataset[512])
{
    finding found;

    if (choice.name[0] == '/') {
        snprintf(dataset, 512, "%s", choice.name);
    } else {
        snprintf(dataset, 512, "%s/%s", group_name, choice.name);
        if (!link_exists(source->file, dataset)) {
            snprintf(dataset, 512, "/%s", choice.name);
        }
    }
    if (link_exists(source->file, dataset)) {
        return HPS_OK;
    }
    list_candidates(source->file, &found);
    return hps_fail(HPS_EFORMAT, "%s: no dataset %s; it has: %s; set %s", source->path, choice.name,
                    found.count > 0 ? found.names : "none of shape [rows, d]", choice.key);
}

static hps_status name_hook(hps_source *source)
{
    const size_t prefix = sizeof(group_name);

    if (strncmp(source->dataset, group_name, prefix - 1) == 0 && source->dataset[prefix - 1] == '/') {
        return hps_text_copy(source->dataset + prefix, &source->hook);
    }
    if (hps_h5_get_text(source->array.dataset, "hook_name", &source->hook)) {
        return HPS_OK;
    }
    return hps_text_copy(source->dataset + 1, &source->hook);
}

/* Chunks that a band of rows touches must fit the cache, or each is read and unpacked again for every block. */
static hid_t open_dataset(hid_t file, const char *path)
{
    const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);

    H5Pset_chunk_cache(access, 12421, (size_t)64 << 20, 1.0);
    const hid_t dataset = H5Dopen2(file, path, access);
    H5Pclose(access);
    return dataset;
}

hps_status hps_source_open_hdf5(hps_choice choice, hps_source *source)
{
    char dataset[512] = "", kind[64] = "", what[540];
    int64_t shape[2];

    HPS_TRY(hps_h5_open(source->path, &source->file));
    HPS_TRY(choice.name[0] == '\0' ? choose_only(source, choice, dataset) : choose_named(source, choice, dataset));
    HPS_TRY(hps_text_copy(dataset, &source->dataset));
    const hid_t opened = open_dataset(source->file, dataset);
    if (opened < 0) {
        return hps_fail(HPS_EFORMAT, "%s: %s is not a dataset", source->path, dataset);
    }
    const int dimensions = dimensions_of(opened, shape);
    const bool known = hps_h5_dtype(opened, &source->dtype, kind);
    snprintf(what, sizeof(what), "dataset %s", dataset);
    HPS_TRY(hps_array_of_dataset(source->path, source->fd, opened, &source->array));
    HPS_TRY(hps_source_check_shape(source, what, dimensions, shape));
    source->d = shape[1];
    if (!known) {
        return hps_fail(HPS_EFORMAT,
                        "%s: %s holds %s; activations are float16, float32, float64, or uint16 words of "
                        "bfloat16",
                        source->path, what, kind);
    }
    return name_hook(source);
}
