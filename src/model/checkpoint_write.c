#include "hpsae/base/disk.h"
#include "hpsae/base/file.h"
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/model/checksum.h"
#include "hpsae/store/hdf5.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALIGNMENT = 4096, HEAD_BYTES = 256 << 10 };

static bool has(const hps_model *model, int role)
{
    return model->role[role].slab != NULL;
}

/* Rank 0.  The head of the file to be; strings are copies. */
static hps_status make_head(const hps_model *model, const char *config, uint64_t hash, const hps_checkpoint_sums *sums,
                            hps_checkpoint_head *head)
{
    *head = (hps_checkpoint_head){.n = model->shard.n,
                                  .d = model->shard.d,
                                  .k = model->k,
                                  .tokens = model->tokens,
                                  .step = model->step,
                                  .config_hash = hash,
                                  .checksum_values = hps_checkpoint_sum_values(sums),
                                  .checksum_state = sums->fired + hps_checksum_progress(model->tokens, model->step) +
                                                    hps_checksum_selection(model),
                                  .config = strdup(config),
                                  .hook = strdup(model->hook != NULL ? model->hook : ""),
                                  .model_name = strdup(model->model_name != NULL ? model->model_name : ""),
                                  .norm = (int)model->norm,
                                  .scale = model->scale,
                                  .whitening = model->whitening};
    hps_head_take_selection(model, head);
    for (int i = 0; i < HPS_ROLES * HPS_TENSORS; i++) {
        head->checksum_state += sums->tensor[i / HPS_TENSORS][i % HPS_TENSORS];
    }
    if (head->config == NULL || head->hook == NULL || head->model_name == NULL) {
        return hps_fail(HPS_ENOMEM, "no memory for the head of a model file");
    }
    return HPS_OK;
}

static hps_status create_dataset(hid_t file, const char *name, hid_t type, int dimensions, const hsize_t size[2],
                                 uint64_t checksum)
{
    const hid_t space = H5Screate_simple(dimensions, size, NULL), property = H5Pcreate(H5P_DATASET_CREATE);
    hps_status status;
    char text[17], reason[256];

    H5Pset_alloc_time(property, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(property, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(property, false);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, property, H5P_DEFAULT);
    if (set >= 0) {
        snprintf(text, sizeof(text), "%016llx", (unsigned long long)checksum);
        status = hps_h5_set_fixed_text(set, "checksum", text);
        H5Dclose(set);
    } else {
        status = hps_fail(HPS_EIO, "%s cannot be created: %s", name, hps_h5_reason(reason));
    }
    H5Pclose(property);
    H5Sclose(space);
    return status;
}

static hps_status create_role(hid_t file, const hps_model *model, hps_role role, const hps_checkpoint_sums *sums)
{
    char name[HPS_DATASET_NAME];
    hsize_t size[2];

    snprintf(name, sizeof(name), "/%s", hps_role_name(role));
    const hid_t property = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(property, false);
    const hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, property, H5P_DEFAULT);
    H5Pclose(property);
    if (group < 0) {
        return hps_fail(HPS_EIO, "%s cannot be created", name);
    }
    H5Gclose(group);
    for (int t = 0; t < HPS_TENSORS; t++) {
        hps_checkpoint_dataset(role, (hps_tensor)t, name);
        const int dimensions = hps_checkpoint_shape(model->shard.n, model->shard.d, (hps_tensor)t, size);
        HPS_TRY(create_dataset(file, name, H5T_IEEE_F32LE, dimensions, size, sums->tensor[role][t]));
    }
    return HPS_OK;
}

static hps_status create_objects(hid_t file, const hps_model *model, const hps_checkpoint_head *head,
                                 const hps_checkpoint_sums *sums)
{
    const hsize_t latents[2] = {(hsize_t)model->shard.n, 0};

    HPS_TRY(hps_head_write(file, head));
    for (int r = 0; r < HPS_ROLES; r++) {
        if (has(model, r)) {
            HPS_TRY(create_role(file, model, (hps_role)r, sums));
        }
    }
    return model->fired == NULL ? HPS_OK : create_dataset(file, "/fired", H5T_STD_I64LE, 1, latents, sums->fired);
}

int64_t hps_checkpoint_bytes(int64_t n, int64_t d, unsigned roles, bool fired)
{
    int64_t bytes = HEAD_BYTES + (fired ? 8 * n : 0);

    for (int r = 0; r < HPS_ROLES; r++) {
        bytes += roles & 1u << r ? (2 * n * d + n + d) * (int64_t)sizeof(float) + HPS_TENSORS * ALIGNMENT : 0;
    }
    return bytes;
}

static int64_t estimate(const hps_model *model, const char *config)
{
    unsigned roles = 0;

    for (int r = 0; r < HPS_ROLES; r++) {
        roles |= has(model, r) ? 1u << r : 0;
    }
    return (int64_t)strlen(config) + hps_checkpoint_bytes(model->shard.n, model->shard.d, roles, model->fired != NULL);
}

/*
 * The format of HDF5 1.8 has checksums on all that the library must understand: without them a flipped bit there sends it
 * astray.  All attributes stand in the root's header; nothing notes its time, so the same model is the same bytes.
 */
static hid_t create_file(const char *path)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);

    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_alignment(access, ALIGNMENT, ALIGNMENT);
    H5Pset_obj_track_times(creation, false);
    H5Pset_attr_phase_change(creation, 64, 32);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    H5Pclose(creation);
    H5Pclose(access);
    return file;
}

/*
 * Rank 0.  Everything but the numbers, so that only writes into room already taken are left to do together.  HDF5 does
 * not survive a file that it cannot close: a full disk is found before the file is created, the room (which creating
 * gives back) taken again before anything is written.
 */
static hps_status lay_out(const char *path, const hps_model *model, const hps_checkpoint_head *head,
                          const hps_checkpoint_sums *sums)
{
    const int64_t bytes = estimate(model, head->config);
    struct stat about;
    char reason[256];

    hps_h5_start();
    HPS_TRY(hps_disk_reserve(path, bytes));
    const hid_t file = create_file(path);
    if (file < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be created: %s", path, hps_h5_reason(reason));
    }
    hps_status status = hps_disk_reserve(path, bytes);
    if (status == HPS_OK) {
        status = hps_checkpoint_at(path, create_objects(file, model, head, sums));
    }
    const bool closed = H5Fclose(file) >= 0;
    HPS_TRY(status);
    if (!closed || stat(path, &about) != 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, hps_h5_reason(reason));
    }
    return hps_disk_reserve(path, about.st_size);
}

/* Collective. */
static hps_status move_all(MPI_Comm comm, hid_t file, const hps_model *model)
{
    for (int r = 0; r < HPS_ROLES; r++) {
        for (int t = 0; t < HPS_TENSORS && has(model, r); t++) {
            HPS_TRY(hps_checkpoint_move(comm, file, model, (hps_role)r, (hps_tensor)t, HPS_TO_FILE));
        }
    }
    return model->fired == NULL ? HPS_OK : hps_checkpoint_move_fired(comm, file, model, HPS_TO_FILE);
}

/* Collective. */
static hps_status write_numbers(MPI_Comm comm, const char *path, const hps_model *model)
{
    hid_t file;
    char reason[256];

    HPS_TRY(hps_checkpoint_open_all(comm, path, H5F_ACC_RDWR, &file));
    const hps_status moved = hps_checkpoint_at(path, move_all(comm, file, model));
    const bool closed = H5Fclose(file) >= 0;
    HPS_TRY(moved);
    return hps_agree(comm,
                     closed ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be closed: %s", path, hps_h5_reason(reason)));
}

/* Rank 0.  The mark of a whole file, set when all else is in it. */
static hps_status complete(const char *path)
{
    const int64_t yes = 1;
    char reason[256];
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t attribute = file < 0 ? -1 : H5Aopen(file, "complete", H5P_DEFAULT);
    bool done = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &yes) >= 0;

    if (attribute >= 0) {
        done = H5Aclose(attribute) >= 0 && done;
    }
    if (file >= 0) {
        done = H5Fclose(file) >= 0 && done;
    }
    return done ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be completed: %s", path, hps_h5_reason(reason));
}

/* Rank 0. */
static hps_status prepare(const hps_model *model, const char *config, uint64_t hash, const hps_checkpoint_sums *sums,
                          const char *temporary)
{
    hps_checkpoint_head head;
    hps_status status = make_head(model, config, hash, sums, &head);

    if (status == HPS_OK) {
        status = lay_out(temporary, model, &head, sums);
    }
    hps_checkpoint_head_free(&head);
    return status;
}

/* Rank 0. */
static hps_status finish(const char *temporary, const char *path)
{
    HPS_TRY(complete(temporary));
    return hps_disk_commit(temporary, path);
}

hps_status hps_checkpoint_write(MPI_Comm comm, const hps_model *model, const char *config, uint64_t hash,
                                const char *path)
{
    const bool root = model->shard.p == 0;
    char temporary[HPS_PATH_MAX + 8];
    hps_checkpoint_sums sums;

    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    hps_checkpoint_add_up(comm, model, &sums);
    hps_status status = hps_share_status(comm, root ? prepare(model, config, hash, &sums, temporary) : HPS_OK);
    if (status == HPS_OK) {
        status = write_numbers(comm, temporary, model);
    }
    if (status == HPS_OK) {
        status = hps_share_status(comm, root ? finish(temporary, path) : HPS_OK);
    }
    if (status == HPS_OK) {
        return HPS_OK;
    }
    if (root) {
        unlink(temporary);
    }
    HPS_MPI(MPI_Barrier(comm));
    return hps_fail(status, "%s; %s", hps_status_message(),
                    config[0] != '\0' ? "the older checkpoint is kept" : "nothing was changed");
}
