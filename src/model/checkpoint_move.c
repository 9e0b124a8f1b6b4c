/* Between a model's slabs and datasets [n, d]: the selections of each rank, and the rounds in which they are moved. */
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/store/hdf5.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int64_t hps_checkpoint_round_bytes = 32 << 20;

/* A dataset under way. */
typedef struct {
    MPI_Comm comm;
    char name[HPS_DATASET_NAME];
    hid_t set, type, transfer;
    int dimensions;
    hps_direction direction;
} passage;

hps_status hps_checkpoint_open_all(MPI_Comm comm, const char *path, unsigned flags, hid_t *file)
{
    const int wanted = flags == H5F_ACC_RDONLY ? R_OK : R_OK | W_OK;
    hps_status status = HPS_OK;
    char reason[256];

    hps_h5_start();
    *file = H5I_INVALID_HID;
    if (access(path, wanted) != 0) {
        status = hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    /* A file that one rank does not see is not opened by any. */
    HPS_TRY(hps_agree(comm, status));
    const hid_t property = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(property, comm, MPI_INFO_NULL);
    H5Pset_all_coll_metadata_ops(property, true);
    *file = H5Fopen(path, flags, property);
    H5Pclose(property);
    if (*file < 0) {
        status = hps_fail(HPS_EIO, "%s: cannot be opened by all ranks: %s", path, hps_h5_reason(reason));
    }
    status = hps_agree(comm, status);
    if (status != HPS_OK && *file >= 0) {
        H5Fclose(*file);
    }
    return status;
}

/* Global rows of a round: the same on every rank, whole deals of HPS_BLOCK latents to each. */
static int64_t round_rows(const hps_model *model, const hps_tensor_layout *layout)
{
    const int64_t P = model->shard.P, blocks = (model->shard.d + HPS_BLOCK - 1) / HPS_BLOCK;
    const int64_t unit = layout->layout == HPS_BY_LATENT ? HPS_BLOCK * P : 1;
    const int64_t widest = layout->layout == HPS_BY_COLUMN ? (blocks + P - 1) / P * HPS_BLOCK : layout->columns;
    const int64_t rank_rows = layout->layout == HPS_BY_LATENT ? HPS_BLOCK : 1;
    const int64_t units = hps_checkpoint_round_bytes / (rank_rows * widest * (int64_t)sizeof(float));

    return (units < 1 ? 1 : units) * unit;
}

/* How many local rows come before global row g, a multiple of what round_rows counts in. */
static int64_t rows_before(const hps_model *model, const hps_tensor_layout *layout, int64_t g)
{
    if (layout->layout == HPS_REPLICATED && model->shard.p != 0) {
        return 0; /* rank 0 moves what all hold */
    }
    const int64_t q = layout->layout == HPS_BY_LATENT ? g / model->shard.P : g;
    return g >= layout->rows || q > layout->local_rows ? layout->local_rows : q;
}

/* The file's side of local rows [q, q + count): blocks of latents dealt out, or a band. */
static hid_t select_file(const passage *way, const hps_model *model, const hps_tensor_layout *layout, int64_t q,
                         int64_t count)
{
    const hid_t space = H5Dget_space(way->set);
    const bool dealt = layout->layout == HPS_BY_LATENT;
    const int64_t block = dealt ? HPS_BLOCK : count, whole = count / block, rest = count % block;
    const hsize_t width = (hsize_t)layout->width;
    const hsize_t start[2] = {(hsize_t)hps_model_row(model, layout, q), (hsize_t)layout->c0};
    const hsize_t stride[2] = {(hsize_t)(dealt ? block * model->shard.P : block), width};
    const hsize_t number[2] = {(hsize_t)whole, 1}, size[2] = {(hsize_t)block, width};

    H5Sselect_none(space);
    if (whole > 0) {
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, number, size);
    }
    if (rest > 0) {
        const hsize_t last[2] = {(hsize_t)hps_model_row(model, layout, q + whole * block), (hsize_t)layout->c0};
        const hsize_t once[2] = {1, 1}, left[2] = {(hsize_t)rest, width};
        H5Sselect_hyperslab(space, H5S_SELECT_OR, last, NULL, once, left);
    }
    return space;
}

static hid_t select_memory(const passage *way, const hps_tensor_layout *layout, int64_t count)
{
    const hsize_t size[2] = {(hsize_t)count, (hsize_t)layout->ld}, start[2] = {0, 0};
    const hsize_t part[2] = {(hsize_t)count, (hsize_t)layout->width};
    const hid_t space = H5Screate_simple(way->dimensions, size, NULL);

    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, part, NULL);
    return space;
}

/* Collective.  One transfer; ranks that have nothing to move take part with empty selections. */
static hps_status transfer(const passage *way, hid_t in_memory, hid_t in_file, void *memory)
{
    const bool to_file = way->direction == HPS_TO_FILE;
    char reason[256];
    hps_status status = HPS_OK;

    errno = 0;
    const herr_t code = to_file ? H5Dwrite(way->set, way->type, in_memory, in_file, way->transfer, memory)
                                : H5Dread(way->set, way->type, in_memory, in_file, way->transfer, memory);

    if (code < 0) {
        const char *of_system = errno != 0 ? strerror(errno) : "no reason given";
        status = hps_fail(HPS_EIO, "%s cannot be %s: %s (%s)", way->name, to_file ? "written" : "read",
                          hps_h5_reason(reason), of_system);
    }
    return hps_agree(way->comm, status);
}

static hps_status move_rows(const passage *way, const hps_model *model, const hps_tensor_layout *layout, float *values,
                            int64_t q, int64_t count)
{
    const hsize_t one = 1;
    float nothing = 0;
    hid_t in_file, in_memory;

    if (count > 0 && layout->width > 0) {
        in_file = select_file(way, model, layout, q, count);
        in_memory = select_memory(way, layout, count);
        values += q * layout->ld;
    } else {
        in_file = H5Dget_space(way->set);
        in_memory = H5Screate_simple(1, &one, NULL);
        H5Sselect_none(in_file);
        H5Sselect_none(in_memory); /* a null dataspace would write one element */
        values = &nothing;
    }
    const hps_status status = transfer(way, in_memory, in_file, values);
    H5Sclose(in_memory);
    H5Sclose(in_file);
    return status;
}

/* Collective. */
static hps_status begin(MPI_Comm comm, hid_t file, hps_direction direction, passage *way)
{
    way->comm = comm;
    way->direction = direction;
    way->transfer = H5Pcreate(H5P_DATASET_XFER);
    H5Pset_dxpl_mpio(way->transfer, H5FD_MPIO_COLLECTIVE);
    way->set = H5Dopen2(file, way->name, H5P_DEFAULT);
    return hps_agree(comm, way->set >= 0 ? HPS_OK : hps_fail(HPS_EIO, "%s cannot be opened", way->name));
}

static void end(passage *way)
{
    H5Pclose(way->transfer);
    if (way->set >= 0) {
        H5Dclose(way->set);
    }
}

hps_status hps_checkpoint_move(MPI_Comm comm, hid_t file, const hps_model *model, hps_role role, hps_tensor tensor,
                               hps_direction direction)
{
    const hps_tensor_layout layout = hps_model_layout(model, tensor);
    const int64_t rows = round_rows(model, &layout);
    float *values = hps_model_tensor(model, role, tensor);
    passage way = {.type = H5T_NATIVE_FLOAT};
    hsize_t size[2];

    hps_checkpoint_dataset(role, tensor, way.name);
    way.dimensions = hps_checkpoint_shape(model->shard.n, model->shard.d, tensor, size);
    hps_status status = begin(comm, file, direction, &way);
    for (int64_t g = 0; g < layout.rows && status == HPS_OK; g += rows) {
        const int64_t q = rows_before(model, &layout, g);
        status = move_rows(&way, model, &layout, values, q, rows_before(model, &layout, g + rows) - q);
    }
    end(&way);
    if (status == HPS_OK && direction == HPS_FROM_FILE && layout.layout == HPS_REPLICATED) {
        HPS_MPI(MPI_Bcast(values, (int)layout.rows, MPI_FLOAT, 0, comm));
    }
    return status;
}

hps_status hps_checkpoint_move_fired(MPI_Comm comm, hid_t file, const hps_model *model, hps_direction direction)
{
    passage way = {.name = "/fired", .type = H5T_NATIVE_INT64, .dimensions = 1};
    hps_status status = begin(comm, file, direction, &way);

    if (status == HPS_OK) {
        const hid_t space = H5Dget_space(way.set);
        if (model->shard.p != 0) {
            H5Sselect_none(space);
        }
        status = transfer(&way, space, space, model->fired);
        H5Sclose(space);
    }
    end(&way);
    if (status == HPS_OK && direction == HPS_FROM_FILE) {
        HPS_MPI(MPI_Bcast(model->fired, (int)model->shard.n, MPI_INT64_T, 0, comm));
    }
    return status;
}
