/* Whether what stands in a model file is what was written. */
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/model/checksum.h"
#include "hpsae/store/hdf5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUMS = HPS_ROLES * HPS_TENSORS + 1, PIECE_BYTES = 8 << 20 };

_Static_assert(sizeof(hps_checkpoint_sums) == SUMS * sizeof(uint64_t), "the sums are one array for MPI");

void hps_checkpoint_add_up(MPI_Comm comm, const hps_model *model, hps_checkpoint_sums *sums)
{
    memset(sums, 0, sizeof(*sums));
    for (int r = 0; r < HPS_ROLES; r++) {
        for (int t = 0; t < HPS_TENSORS && model->role[r].slab != NULL; t++) {
            sums->tensor[r][t] = hps_checksum_tensor(model, (hps_role)r, (hps_tensor)t);
        }
    }
    sums->fired = model->fired != NULL ? hps_checksum_own_fired(model) : 0;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, SUMS, MPI_UINT64_T, MPI_SUM, comm));
}

uint64_t hps_checkpoint_sum_values(const hps_checkpoint_sums *sums)
{
    uint64_t sum = 0;

    for (int t = 0; t < HPS_TENSORS; t++) {
        sum += sums->tensor[HPS_VALUE][t];
    }
    return sum;
}

static hps_status compare_one(hid_t file, const char *name, uint64_t sum)
{
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    char text[17], *stated = NULL;

    if (set < 0 || !hps_h5_get_fixed_text(set, "checksum", &stated)) {
        H5Dclose(set);
        return hps_fail(HPS_EFORMAT, "damaged: the checksum of %s cannot be read", name);
    }
    H5Dclose(set);
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)sum);
    const bool same = strcmp(text, stated) == 0;
    HPS_FREE(&stated);
    return same ? HPS_OK : hps_fail(HPS_EFORMAT, "damaged: the checksum of %s differs", name);
}

hps_status hps_checkpoint_compare(hid_t file, unsigned roles, const hps_checkpoint_sums *sums)
{
    char name[HPS_DATASET_NAME];

    for (int r = 0; r < HPS_ROLES; r++) {
        for (int t = 0; t < HPS_TENSORS && (roles & 1u << r) != 0; t++) {
            hps_checkpoint_dataset((hps_role)r, (hps_tensor)t, name);
            HPS_TRY(compare_one(file, name, sums->tensor[r][t]));
        }
    }
    return roles & 1u << HPS_MOMENT1 ? compare_one(file, "/fired", sums->fired) : HPS_OK;
}

/* Reads rows [row, row + count) of a dataset of one or two dimensions. */
static hps_status read_rows(hid_t set, const char *name, hid_t type, int64_t row, int64_t count, int64_t width,
                            void *values)
{
    const hid_t in_file = H5Dget_space(set);
    const hsize_t start[2] = {(hsize_t)row, 0}, size[2] = {(hsize_t)count, (hsize_t)width};
    const hid_t in_memory = H5Screate_simple(H5Sget_simple_extent_ndims(in_file), size, NULL);
    char reason[256];

    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, size, NULL);
    const herr_t code = H5Dread(set, type, in_memory, in_file, H5P_DEFAULT, values);
    H5Sclose(in_memory);
    H5Sclose(in_file);
    return code >= 0 ? HPS_OK : hps_fail(HPS_EIO, "%s cannot be read: %s", name, hps_h5_reason(reason));
}

/* A band of rows of one dataset, in pieces. */
typedef struct {
    hps_role role;
    hps_tensor tensor; /* HPS_TENSORS: the dead counters */
    int64_t first, end, width;
} band;

static hps_status sum_band(hid_t file, const band *b, int64_t piece, void *values, uint64_t *sum)
{
    const bool fired = b->tensor == HPS_TENSORS;
    char name[HPS_DATASET_NAME] = "/fired";
    hps_status status = HPS_OK;

    if (!fired) {
        hps_checkpoint_dataset(b->role, b->tensor, name);
    }
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    for (int64_t row = b->first; row < b->end && status == HPS_OK; row += piece) {
        const int64_t rows = b->end - row < piece ? b->end - row : piece;
        const hps_block block = {b->role, b->tensor, row, rows, 0, b->width};
        status = read_rows(set, name, fired ? H5T_NATIVE_INT64 : H5T_NATIVE_FLOAT, row, rows, b->width, values);
        *sum += status != HPS_OK ? 0
                : fired          ? hps_checksum_fired(row, rows, values)
                                 : hps_checksum_block(&block, values, b->width);
    }
    H5Dclose(set);
    return status;
}

/* Local.  This rank's bands of all datasets. */
static hps_status sum_bands(hid_t file, const hps_checkpoint_head *head, int rank, int size, void *values,
                            hps_checkpoint_sums *sums)
{
    for (int r = 0; r < HPS_ROLES; r++) {
        for (int t = 0; t <= HPS_TENSORS && (head->roles & 1u << r) != 0; t++) {
            const int64_t rows = t == HPS_B_DEC ? head->d : head->n;
            const bool matrix = t == HPS_W_ENC || t == HPS_W_DEC;
            const band mine = {(hps_role)r, (hps_tensor)t, rows * rank / size, rows * (rank + 1) / size,
                               matrix ? head->d : 1};
            const int64_t piece = PIECE_BYTES / (mine.width * 8) + 1;
            if (t == HPS_TENSORS && r != HPS_MOMENT1) {
                continue;
            }
            HPS_TRY(sum_band(file, &mine, piece, values, t < HPS_TENSORS ? &sums->tensor[r][t] : &sums->fired));
        }
    }
    return HPS_OK;
}

/* Local. */
static hps_status sum_file(const char *path, const hps_checkpoint_head *head, int rank, int size,
                           hps_checkpoint_sums *sums)
{
    char *values;
    hid_t file;

    HPS_TRY(HPS_ALLOC(&values, PIECE_BYTES + 8 * head->d, "rows to verify"));
    hps_status status = hps_h5_open(path, &file);
    if (status == HPS_OK) {
        status = hps_checkpoint_at(path, sum_bands(file, head, rank, size, values, sums));
        H5Fclose(file);
    }
    HPS_FREE(&values);
    return status;
}

hps_status hps_checkpoint_verify(MPI_Comm comm, const char *path, const hps_checkpoint_head *head)
{
    hps_checkpoint_sums sums = {0};
    hps_status status = HPS_OK;
    int rank, size;
    hid_t file;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    HPS_MPI(MPI_Comm_size(comm, &size));
    HPS_TRY(hps_agree(comm, sum_file(path, head, rank, size, &sums)));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &sums, SUMS, MPI_UINT64_T, MPI_SUM, comm));
    if (rank == 0) {
        status = hps_h5_open(path, &file);
        if (status == HPS_OK) {
            status = hps_checkpoint_at(path, hps_checkpoint_compare(file, head->roles, &sums));
            H5Fclose(file);
        }
    }
    return hps_share_status(comm, status);
}
