/* The head of a model file: who it is, what it holds, whether it was completed. */
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/model/checksum.h"
#include "hpsae/store/hdf5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format[] = "hpsae-model";
static const char *const norms[] = {[HPS_NORM_NONE] = "none", [HPS_NORM_SCALE] = "scale", [HPS_NORM_TOKEN] = "token"};

void hps_checkpoint_dataset(hps_role role, hps_tensor tensor, char name[HPS_DATASET_NAME])
{
    static const char *const tensors[HPS_TENSORS] = {"W_enc", "b_enc", "W_dec", "b_dec"};

    snprintf(name, HPS_DATASET_NAME, "/%s/%s", hps_role_name(role), tensors[tensor]);
}

int hps_checkpoint_shape(int64_t n, int64_t d, hps_tensor tensor, hsize_t size[2])
{
    size[0] = (hsize_t)(tensor == HPS_B_DEC ? d : n);
    size[1] = (hsize_t)d;
    return tensor == HPS_W_ENC || tensor == HPS_W_DEC ? 2 : 1;
}

hps_status hps_checkpoint_at(const char *path, hps_status status)
{
    return status == HPS_OK ? HPS_OK : hps_fail(status, "%s: %s", path, hps_status_message());
}

/* Over everything in the head that a stray bit could change without another check noticing. */
static uint64_t head_checksum(const hps_checkpoint_head *head, int64_t version)
{
    const int64_t numbers[] = {head->n, head->d, head->k, head->tokens, head->step, head->norm};
    const uint64_t hashes[] = {head->config_hash, head->checksum_values, head->checksum_state};
    const char *const texts[] = {head->config, head->hook, head->model_name};
    uint64_t sum = hps_checksum_bytes(0, numbers, sizeof(numbers));

    sum = hps_checksum_bytes(sum, hashes, sizeof(hashes));
    sum = hps_checksum_bytes(sum, &head->scale, sizeof(head->scale));
    for (int i = 0; i < 3; i++) {
        sum = hps_checksum_bytes(sum, texts[i], strlen(texts[i]));
    }
    sum = version < HPS_MODEL_FILE_SELECTS ? sum : hps_head_selection_checksum(head, sum);
    return version < HPS_MODEL_FILE_WHITENED ? sum : hps_checksum_bytes(sum, &head->whitening, sizeof(head->whitening));
}

/* Hexadecimal, as the log shows checksums. */
static hps_status set_hash(hid_t file, const char *name, uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    return hps_h5_set_fixed_text(file, name, text);
}

/* As a dataset: an attribute may not pass 64 KiB. */
static hps_status put_config(hid_t file, const char *config)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), property = H5Pcreate(H5P_DATASET_CREATE);
    char reason[256];

    H5Tset_size(type, strlen(config) + 1);
    H5Pset_obj_track_times(property, false);
    const hid_t set = H5Dcreate2(file, "/config", type, space, H5P_DEFAULT, property, H5P_DEFAULT);
    const bool done = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, config) >= 0;
    if (!done) {
        hps_fail(HPS_EIO, "/config cannot be written: %s", hps_h5_reason(reason));
    }
    H5Dclose(set);
    H5Pclose(property);
    H5Sclose(space);
    H5Tclose(type);
    return done ? HPS_OK : HPS_EIO;
}

hps_status hps_head_write(hid_t file, const hps_checkpoint_head *head)
{
    const int64_t version = head->whitening != 0 ? HPS_MODEL_FILE_WHITENED : HPS_MODEL_FILE_SELECTS;

    HPS_TRY(hps_h5_set_fixed_text(file, "format", format));
    HPS_TRY(hps_h5_set_int(file, "format_version", version));
    HPS_TRY(hps_h5_set_int(file, "n", head->n));
    HPS_TRY(hps_h5_set_int(file, "d", head->d));
    HPS_TRY(hps_h5_set_int(file, "k", head->k));
    HPS_TRY(hps_h5_set_fixed_text(file, "norm", norms[head->norm]));
    HPS_TRY(hps_h5_set_real(file, "scale", head->scale));
    HPS_TRY(hps_head_write_selection(file, head));
    HPS_TRY(hps_h5_set_fixed_text(file, "hook", head->hook));
    HPS_TRY(hps_h5_set_fixed_text(file, "model_name", head->model_name));
    HPS_TRY(hps_h5_set_int(file, "tokens", head->tokens));
    HPS_TRY(hps_h5_set_int(file, "step", head->step));
    HPS_TRY(set_hash(file, "config_hash", head->config_hash));
    HPS_TRY(set_hash(file, "checksum_values", head->checksum_values));
    HPS_TRY(set_hash(file, "checksum_state", head->checksum_state));
    HPS_TRY(set_hash(file, "checksum_head", head_checksum(head, version)));
    if (head->whitening != 0) {
        HPS_TRY(set_hash(file, "whitening", head->whitening));
    }
    HPS_TRY(hps_h5_set_int(file, "complete", 0));
    return put_config(file, head->config);
}

static hps_status missing(const char *name)
{
    return hps_fail(HPS_EFORMAT, "attribute %s is missing or of the wrong kind", name);
}

static hps_status get_int(hid_t file, const char *name, int64_t *value)
{
    return hps_h5_get_int(file, name, value) ? HPS_OK : missing(name);
}

/* Text of malloc: a head may outlive the allocator's count. */
static hps_status get_text(hid_t file, const char *name, char **text)
{
    char *counted = NULL;

    if (!hps_h5_get_fixed_text(file, name, &counted)) {
        return missing(name);
    }
    *text = strdup(counted);
    HPS_FREE(&counted);
    return *text != NULL ? HPS_OK : hps_fail(HPS_ENOMEM, "no memory for attribute %s", name);
}

static hps_status get_hash(hid_t file, const char *name, uint64_t *value)
{
    char *text = NULL, *end = NULL;

    HPS_TRY(get_text(file, name, &text));
    *value = strtoull(text, &end, 16);
    const bool whole = end == text + 16 && *end == '\0';
    free(text);
    return whole ? HPS_OK : hps_fail(HPS_EFORMAT, "attribute %s is not 16 hexadecimal digits", name);
}

static hps_status get_config(hid_t file, char **config)
{
    const hid_t set = H5Lexists(file, "/config", H5P_DEFAULT) > 0 ? H5Dopen2(file, "/config", H5P_DEFAULT) : -1;

    if (set < 0) {
        return hps_fail(HPS_EFORMAT, "/config is missing");
    }
    const hid_t type = H5Dget_type(set);
    const bool text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) <= 0 && H5Tget_size(type) < 1u << 28;
    *config = text ? calloc(H5Tget_size(type) + 1, 1) : NULL;
    const herr_t got = *config == NULL ? -1 : H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *config);
    H5Tclose(type);
    H5Dclose(set);
    return got < 0 ? hps_fail(HPS_EFORMAT, "/config is not a text that can be read") : HPS_OK;
}

static hps_status get_norm(hid_t file, int *norm)
{
    char *text;

    HPS_TRY(get_text(file, "norm", &text));
    for (*norm = HPS_NORM_TOKEN; *norm >= 0 && strcmp(text, norms[*norm]) != 0;) {
        --*norm;
    }
    const hps_status status =
        *norm < 0 ? hps_fail(HPS_EFORMAT, "norm \"%.40s\" is not one of none, scale, token", text) : HPS_OK;
    free(text);
    return status;
}

static hps_status get_attributes(hid_t file, int64_t version, hps_checkpoint_head *head)
{
    uint64_t checksum;

    HPS_TRY(get_int(file, "n", &head->n));
    HPS_TRY(get_int(file, "d", &head->d));
    HPS_TRY(get_int(file, "k", &head->k));
    HPS_TRY(get_norm(file, &head->norm));
    if (!hps_h5_get_reals(file, "scale", 1, &head->scale)) {
        return missing("scale");
    }
    HPS_TRY(hps_head_read_selection(file, version, head));
    HPS_TRY(get_text(file, "hook", &head->hook));
    HPS_TRY(get_text(file, "model_name", &head->model_name));
    HPS_TRY(get_int(file, "tokens", &head->tokens));
    HPS_TRY(get_int(file, "step", &head->step));
    HPS_TRY(get_hash(file, "config_hash", &head->config_hash));
    HPS_TRY(get_hash(file, "checksum_values", &head->checksum_values));
    HPS_TRY(get_hash(file, "checksum_state", &head->checksum_state));
    HPS_TRY(get_hash(file, "checksum_head", &checksum));
    if (version >= HPS_MODEL_FILE_WHITENED) {
        HPS_TRY(get_hash(file, "whitening", &head->whitening));
    }
    HPS_TRY(get_config(file, &head->config));
    if (checksum != head_checksum(head, version)) {
        return hps_fail(HPS_EFORMAT, "damaged: the head's checksum differs");
    }
    return HPS_OK;
}

static hps_status check_format(hid_t file, int64_t *version)
{
    int64_t complete;
    char *text;

    if (get_text(file, "format", &text) != HPS_OK) {
        return hps_fail(HPS_EFORMAT, "not a model of hpsae (no attribute format = \"%s\")", format);
    }
    const bool ours = strcmp(text, format) == 0;
    const hps_status status =
        ours ? HPS_OK : hps_fail(HPS_EFORMAT, "not a model of hpsae (format = \"%.40s\", not \"%s\")", text, format);
    free(text);
    HPS_TRY(status);
    HPS_TRY(get_int(file, "format_version", version));
    if (*version < 1 || *version > HPS_MODEL_FILE_VERSION) {
        return hps_fail(HPS_EFORMAT, "format_version %lld; this program reads versions 1 to %d", (long long)*version,
                        HPS_MODEL_FILE_VERSION);
    }
    HPS_TRY(get_int(file, "complete", &complete));
    return complete == 1 ? HPS_OK : hps_fail(HPS_EFORMAT, "torn: its writing was never completed");
}

static hps_status check_dataset(hid_t file, const char *name, int rank, const hsize_t size[2], H5T_class_t class)
{
    hsize_t found[2] = {0, 0};
    const hid_t set = H5Lexists(file, name, H5P_DEFAULT) > 0 ? H5Dopen2(file, name, H5P_DEFAULT) : -1;

    if (set < 0) {
        return hps_fail(HPS_EFORMAT, "dataset %s is missing", name);
    }
    const hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    const bool fits = H5Sget_simple_extent_ndims(space) == rank &&
                      H5Sget_simple_extent_dims(space, found, NULL) == rank && found[0] == size[0] &&
                      (rank == 1 || found[1] == size[1]) && H5Tget_class(type) == class &&
                      H5Tget_size(type) == (class == H5T_FLOAT ? 4 : 8) && H5Dget_offset(set) != HADDR_UNDEF;
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(set);
    if (!fits) {
        return hps_fail(HPS_EFORMAT, "dataset %s does not have the shape and type that n and d ask for", name);
    }
    return HPS_OK;
}

static hps_status check_role(hid_t file, hps_role role, hps_checkpoint_head *head)
{
    char name[HPS_DATASET_NAME];
    hsize_t size[2];

    snprintf(name, sizeof(name), "/%s", hps_role_name(role));
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0) {
        return HPS_OK;
    }
    for (int t = 0; t < HPS_TENSORS; t++) {
        hps_checkpoint_dataset(role, (hps_tensor)t, name);
        const int rank = hps_checkpoint_shape(head->n, head->d, (hps_tensor)t, size);
        HPS_TRY(check_dataset(file, name, rank, size, H5T_FLOAT));
    }
    head->roles |= 1u << role;
    return HPS_OK;
}

static hps_status get_head(hid_t file, hps_checkpoint_head *head)
{
    int64_t version;

    HPS_TRY(check_format(file, &version));
    HPS_TRY(get_attributes(file, version, head));
    if (head->n < 1 || head->d < 1 || head->n >= INT32_MAX || head->d >= INT32_MAX || head->k < 1 ||
        head->k > head->n) {
        return hps_fail(HPS_EFORMAT, "n %lld, d %lld, k %lld are no sizes of a dictionary", (long long)head->n,
                        (long long)head->d, (long long)head->k);
    }
    for (int r = 0; r < HPS_ROLES; r++) {
        HPS_TRY(check_role(file, (hps_role)r, head));
    }
    if ((head->roles & 1u << HPS_VALUE) == 0) {
        return hps_fail(HPS_EFORMAT, "group /value is missing");
    }
    const hsize_t latents[2] = {(hsize_t)head->n, 0};
    return head->roles & 1u << HPS_MOMENT1 ? check_dataset(file, "/fired", 1, latents, H5T_INTEGER) : HPS_OK;
}

hps_status hps_head_read(const char *path, hps_checkpoint_head *head)
{
    hid_t file;

    memset(head, 0, sizeof(*head));
    HPS_TRY(hps_h5_open(path, &file));
    const hps_status status = hps_checkpoint_at(path, get_head(file, head));
    H5Fclose(file);
    if (status != HPS_OK) {
        hps_checkpoint_head_free(head);
    }
    return status;
}

void hps_checkpoint_head_free(hps_checkpoint_head *head)
{
    free(head->config);
    free(head->hook);
    free(head->model_name);
    head->config = head->hook = head->model_name = NULL;
}

/* Collective: rank 0's text to all. */
static hps_status share_text(MPI_Comm comm, bool root, char **text)
{
    int count = root ? (int)strlen(*text) + 1 : 0;

    HPS_MPI(MPI_Bcast(&count, 1, MPI_INT, 0, comm));
    if (!root) {
        *text = malloc((size_t)count);
    }
    HPS_TRY(hps_agree(comm, *text != NULL ? HPS_OK : hps_fail(HPS_ENOMEM, "no memory for the head of a model file")));
    HPS_MPI(MPI_Bcast(*text, count, MPI_CHAR, 0, comm));
    return HPS_OK;
}

hps_status hps_checkpoint_read_head(MPI_Comm comm, const char *path, hps_checkpoint_head *head)
{
    hps_status status = HPS_OK;
    int rank;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    memset(head, 0, sizeof(*head));
    if (rank == 0) {
        status = hps_head_read(path, head);
    }
    HPS_TRY(hps_share_status(comm, status));
    hps_checkpoint_head mine = *head;
    HPS_MPI(MPI_Bcast(head, sizeof(*head), MPI_BYTE, 0, comm));
    head->config = mine.config;
    head->hook = mine.hook;
    head->model_name = mine.model_name;
    char **const texts[] = {&head->config, &head->hook, &head->model_name};
    for (int i = 0; i < 3 && status == HPS_OK; i++) {
        status = share_text(comm, rank == 0, texts[i]);
    }
    if (status != HPS_OK) {
        hps_checkpoint_head_free(head);
    }
    return status;
}
