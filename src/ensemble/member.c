#include "member.h"

#include <string.h>

/* A model with a threshold may come from elsewhere and say nothing of its k: buffers are made for at least this one. */
enum { THRESHOLD_ROOM = 128 };

hps_status hps_member_forward_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model, int64_t B,
                                     int threads, hps_forward **forward)
{
    const hps_pick_rule rule = hps_pick_in_use(model).rule;
    const int64_t room = model->shard.n < THRESHOLD_ROOM ? model->shard.n : THRESHOLD_ROOM;
    const int64_t k = rule == HPS_PICK_THRESHOLD && model->k < room ? room : model->k;
    const hps_forward_options options = {.B = B, .k_max = k, .k = k, .rules = 1u << rule, .threads = threads};

    return hps_forward_create(grid, kernels, model, &options, forward);
}

hps_status hps_member_forward_run(hps_forward *f, int64_t B, const float *x)
{
    const hps_pick pick = hps_pick_in_use(f->model);

    memcpy(f->y, x, (size_t)(B * f->model->lde) * sizeof(*x));
    HPS_TRY(hps_forward_select(f, B, &pick));
    hps_forward_decode(f, B, -1, false);
    return HPS_OK;
}
