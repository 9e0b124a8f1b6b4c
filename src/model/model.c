#include "hpsae/model/model.h"

#include "hpsae/base/memory.h"

#include <stddef.h>
#include <stdlib.h>

enum { FLOATS_A_LINE = 16 };

/* What the four tensors are: everything that treats them alike follows this table. */
static const struct {
    const char *name;
    hps_layout layout;
    size_t member;  /* of hps_tensors */
    bool of_inputs; /* rows are columns of the input (d), not latents (n) */
    bool matrix;    /* d columns, else one */
} tensors[HPS_TENSORS] = {
    [HPS_W_ENC] = {"W_enc", HPS_BY_LATENT, offsetof(hps_tensors, W_enc), false, true},
    [HPS_B_ENC] = {"b_enc", HPS_BY_LATENT, offsetof(hps_tensors, b_enc), false, false},
    [HPS_W_DEC] = {"W_dec", HPS_BY_COLUMN, offsetof(hps_tensors, W_dec), false, true},
    [HPS_B_DEC] = {"b_dec", HPS_REPLICATED, offsetof(hps_tensors, b), true, false},
};

static int64_t round_up(int64_t count)
{
    return (count + FLOATS_A_LINE - 1) / FLOATS_A_LINE * FLOATS_A_LINE;
}

static hps_tensor_layout layout_of(const hps_shard *shard, hps_tensor tensor)
{
    hps_tensor_layout layout = {.name = tensors[tensor].name, .layout = tensors[tensor].layout};

    layout.rows = tensors[tensor].of_inputs ? shard->d : shard->n;
    layout.columns = tensors[tensor].matrix ? shard->d : 1;
    layout.local_rows = layout.layout == HPS_BY_LATENT ? shard->own : layout.rows;
    layout.c0 = layout.layout == HPS_BY_COLUMN ? shard->c0 : 0;
    layout.width = layout.layout == HPS_BY_COLUMN ? shard->w : layout.columns;
    layout.ld = tensors[tensor].matrix ? round_up(layout.width) : 1;
    return layout;
}

/* Floats of a tensor in the slab, up to where the next one starts. */
static int64_t tensor_floats(const hps_shard *shard, hps_tensor tensor)
{
    const hps_tensor_layout layout = layout_of(shard, tensor);

    return round_up(layout.local_rows * layout.ld);
}

static int64_t slab_floats(const hps_shard *shard)
{
    int64_t floats = 0;

    for (int t = 0; t < HPS_TENSORS; t++) {
        floats += tensor_floats(shard, (hps_tensor)t);
    }
    return floats;
}

static float **member(hps_tensors *set, hps_tensor tensor)
{
    return (float **)(void *)((char *)set + tensors[tensor].member);
}

static hps_status create_role(const hps_shard *shard, hps_role role, hps_tensors *set)
{
    HPS_TRY(HPS_ALLOC(&set->slab, slab_floats(shard), hps_role_name(role)));
    float *next = set->slab;
    for (int t = 0; t < HPS_TENSORS; t++) {
        *member(set, (hps_tensor)t) = next;
        next += tensor_floats(shard, (hps_tensor)t);
    }
    return HPS_OK;
}

static hps_status create_arrays(hps_model *model, unsigned roles)
{
    for (int r = 0; r < HPS_ROLES; r++) {
        if (roles & 1u << r) {
            HPS_TRY(create_role(&model->shard, (hps_role)r, &model->role[r]));
        }
    }
    if (roles & 1u << HPS_MOMENT1) {
        HPS_TRY(HPS_ALLOC_BOTH(&model->fired, model->shard.n, "dead counters"));
    }
    return HPS_OK;
}

hps_status hps_model_create(const hps_grid *grid, int64_t n, int64_t d, int64_t k, unsigned roles, hps_model **model)
{
    hps_shard shard;
    hps_model *made;

    *model = NULL;
    HPS_TRY(hps_shard_create(n, d, grid->P, grid->p, &shard));
    if (d >= INT32_MAX || k < 1 || k > n) {
        return hps_fail(HPS_ECONFIG, "k %lld, %lld columns: k must lie in 1 .. %lld, columns below 2^31 - 1",
                        (long long)k, (long long)d, (long long)n);
    }
    HPS_TRY(HPS_ALLOC(&made, 1, "model"));
    made->shard = shard;
    made->lde = round_up(d);
    made->ldd = round_up(shard.w);
    made->k = k;
    made->scale = 1;
    made->alpha = 1;
    made->threshold = -1;
    const hps_status status = create_arrays(made, roles);
    if (status != HPS_OK) {
        hps_model_destroy(&made);
        return status;
    }
    *model = made;
    return HPS_OK;
}

void hps_model_destroy(hps_model **model)
{
    if (*model == NULL) {
        return;
    }
    for (int r = 0; r < HPS_ROLES; r++) {
        HPS_FREE(&(*model)->role[r].slab);
    }
    HPS_FREE(&(*model)->fired);
    free((*model)->hook);
    free((*model)->model_name);
    free((*model)->whitened_store);
    HPS_FREE(model);
}

int64_t hps_model_bytes(const hps_shard *shard, unsigned roles)
{
    int64_t bytes = 0;

    for (int r = 0; r < HPS_ROLES; r++) {
        bytes += roles & 1u << r ? slab_floats(shard) * (int64_t)sizeof(float) : 0;
    }
    return bytes + (roles & 1u << HPS_MOMENT1 ? shard->n * (int64_t)sizeof(int64_t) : 0);
}

hps_tensor_layout hps_model_layout(const hps_model *model, hps_tensor tensor)
{
    return layout_of(&model->shard, tensor);
}

float *hps_model_tensor(const hps_model *model, hps_role role, hps_tensor tensor)
{
    hps_tensors set = model->role[role];

    return *member(&set, tensor);
}

const char *hps_role_name(hps_role role)
{
    static const char *const names[HPS_ROLES] = {"value", "moment1", "moment2", "average"};

    return names[role];
}
