/* How the model of a file selects: attributes select, alpha, beta, threshold and, with nested sizes, prefixes. */
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/model/checksum.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <math.h>
#include <string.h>

const char *hps_select_name(hps_select select)
{
    return hps_config_word("model.select", select);
}

void hps_head_take_selection(const hps_model *model, hps_checkpoint_head *head)
{
    head->select = model->select;
    head->alpha = model->alpha;
    head->beta = model->beta;
    head->threshold = model->threshold;
    head->prefixes = model->prefixes;
    memcpy(head->prefix, model->prefix, sizeof(head->prefix));
}

void hps_head_give_selection(const hps_checkpoint_head *head, hps_model *model)
{
    model->select = head->select;
    model->alpha = head->alpha;
    model->beta = head->beta;
    model->threshold = head->threshold;
    model->prefixes = head->prefixes;
    memcpy(model->prefix, head->prefix, sizeof(model->prefix));
}

uint64_t hps_head_selection_checksum(const hps_checkpoint_head *head, uint64_t before)
{
    const int64_t counts[] = {(int64_t)head->select, head->prefixes};
    const double reals[] = {head->alpha, head->beta, head->threshold};

    before = hps_checksum_bytes(before, counts, sizeof(counts));
    before = hps_checksum_bytes(before, reals, sizeof(reals));
    return hps_checksum_bytes(before, head->prefix, (size_t)head->prefixes * sizeof(head->prefix[0]));
}

static hps_status put_prefixes(hid_t file, const hps_checkpoint_head *head)
{
    const hsize_t count = (hsize_t)head->prefixes;
    const hid_t space = H5Screate_simple(1, &count, NULL);
    const hid_t attribute = H5Acreate2(file, "prefixes", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool done = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, head->prefix) >= 0;
    char reason[256];

    if (!done) {
        hps_fail(HPS_EIO, "attribute prefixes cannot be written: %s", hps_h5_reason(reason));
    }
    H5Aclose(attribute);
    H5Sclose(space);
    return done ? HPS_OK : HPS_EIO;
}

hps_status hps_head_write_selection(hid_t file, const hps_checkpoint_head *head)
{
    HPS_TRY(hps_h5_set_fixed_text(file, "select", hps_select_name(head->select)));
    HPS_TRY(hps_h5_set_real(file, "alpha", head->alpha));
    HPS_TRY(hps_h5_set_real(file, "beta", head->beta));
    HPS_TRY(hps_h5_set_real(file, "threshold", head->threshold));
    return head->prefixes > 0 ? put_prefixes(file, head) : HPS_OK;
}

static hps_status get_select(hid_t file, hps_select *select)
{
    char *text = NULL;

    if (!hps_h5_get_fixed_text(file, "select", &text)) {
        return hps_fail(HPS_EFORMAT, "attribute select is missing or of the wrong kind");
    }
    int found = HPS_SELECT_GRADIENT; /* the last */
    while (found >= 0 && strcmp(text, hps_select_name((hps_select)found)) != 0) {
        found--;
    }
    *select = (hps_select)found;
    const hps_status status =
        found >= 0 ? HPS_OK : hps_fail(HPS_EFORMAT, "select \"%.40s\" is not one of topk, batch_topk, gradient", text);
    HPS_FREE(&text);
    return status;
}

static hps_status get_real(hid_t file, const char *name, double *value)
{
    if (!hps_h5_get_reals(file, name, 1, value) || !isfinite(*value)) {
        return hps_fail(HPS_EFORMAT, "attribute %s is missing or no number", name);
    }
    return HPS_OK;
}

static hps_status get_prefixes(hid_t file, hps_checkpoint_head *head)
{
    const hid_t attribute = hps_h5_has(file, "prefixes") ? H5Aopen(file, "prefixes", H5P_DEFAULT) : H5I_INVALID_HID;

    if (attribute < 0) {
        return HPS_OK;
    }
    const hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    const hssize_t count = H5Sget_simple_extent_npoints(space);
    const bool fits = count > 0 && count <= HPS_PREFIXES_MAX && H5Tget_class(type) == H5T_INTEGER;
    bool good = fits && H5Aread(attribute, H5T_NATIVE_INT64, head->prefix) >= 0;
    H5Tclose(type);
    H5Sclose(space);
    H5Aclose(attribute);
    for (hssize_t i = 0; i < count && good; i++) {
        good = head->prefix[i] > (i == 0 ? 0 : head->prefix[i - 1]);
    }
    if (!good || head->prefix[count - 1] != head->n) {
        return hps_fail(HPS_EFORMAT, "attribute prefixes is no list of ascending sizes that ends at n, %lld",
                        (long long)head->n);
    }
    head->prefixes = (int)count;
    return HPS_OK;
}

hps_status hps_head_read_selection(hid_t file, int64_t version, hps_checkpoint_head *head)
{
    head->select = HPS_SELECT_TOPK;
    head->alpha = 1;
    head->beta = 0;
    head->threshold = -1;
    head->prefixes = 0;
    if (version < HPS_MODEL_FILE_SELECTS) {
        return HPS_OK;
    }
    HPS_TRY(get_select(file, &head->select));
    HPS_TRY(get_real(file, "alpha", &head->alpha));
    HPS_TRY(get_real(file, "beta", &head->beta));
    HPS_TRY(get_real(file, "threshold", &head->threshold));
    return get_prefixes(file, head);
}
