#include "hpsae/model/forward.h"

#include "select.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <omp.h>

enum { PIECE = 1024 }; /* below that the encoder's product loses */

static bool serves(const hps_forward_options *o, hps_pick_rule rule)
{
    return (o->rules & 1u << rule) != 0;
}

/* Room for the slots of a batch: k a token, and where a token may have any number, more, and all of one token; one data
 * group may have all slots of a batch that it shares. */
static int64_t slots_of(const hps_model *m, int groups, const hps_forward_options *o)
{
    const int64_t slots = o->B * o->k;
    const int64_t times = serves(o, HPS_PICK_GRADIENT) ? 8 : serves(o, HPS_PICK_THRESHOLD) ? 4 : 2;
    const int64_t shared = o->shared ? 2 * slots * groups : 0;
    int64_t some = slots * times;

    if (o->rules >> HPS_PICK_BATCH == 0) {
        return slots;
    }
    some = some > shared ? some : shared;
    return some > m->shard.n ? some : m->shard.n;
}

static hps_status allocate(hps_forward *f, const hps_forward_options *o)
{
    const hps_model *m = f->model;
    enum { WIDE = 512 }; /* by gradient many values of a token are in question */
    const int64_t room = hps_topk_room(f->B, f->k, f->grid->P);
    const int64_t k_max = serves(o, HPS_PICK_GRADIENT) && o->k_max < WIDE ? WIDE : o->k_max;
    const int64_t shared = (o->shared ? f->grid->R : 1) * o->k; /* a data group may have all slots of a batch */
    const hps_workspace_size size = {.B = f->B,
                                     .d = m->shard.d,
                                     .k_max = k_max,
                                     .own = m->shard.own,
                                     .slots = f->B * (shared > o->k_max ? shared : o->k_max),
                                     .n = m->shard.n,
                                     .threads = f->threads};

    if (o->k_max > 0 && f->B > INT32_MAX / 8 / o->k_max / (o->shared ? f->grid->R : 1)) {
        return hps_fail(HPS_ECONFIG,
                        "a batch of %lld tokens with %lld slots each is more than one message holds: use a "
                        "smaller train.batch",
                        (long long)f->B, (long long)o->k_max);
    }
    HPS_TRY(hps_merge_pieces_create(f->grid->P, f->threads, &f->pieces));
    if (f->grid->P > 1) {
        HPS_TRY(hps_topk_again_create(f->B, m->lde, o->k_max, &f->again));
    }
    HPS_TRY(HPS_ALLOC(&f->latent, m->shard.own, "latent numbers"));
    HPS_TRY(HPS_ALLOC_BOTH(&f->y, f->B * m->lde, "batch of activations"));
    HPS_TRY(HPS_ALLOC_BOTH(&f->y_norm, f->grid->P * ((f->B + f->grid->P - 1) / f->grid->P), "norms of activations"));
    HPS_TRY(HPS_ALLOC_BOTH(&f->z_sum, f->B, "sums of values"));
    HPS_TRY(HPS_ALLOC_BOTH(&f->scale, f->B, "scales"));
    HPS_TRY(HPS_ALLOC_BOTH(&f->slots.first, f->B + 1, "slots"));
    HPS_TRY(HPS_ALLOC(&f->slots.slot, f->capacity, "slots"));
    HPS_TRY(HPS_ALLOC(&f->slots.dz_fixed, room > f->capacity ? room : f->capacity, "slots"));
    HPS_TRY(HPS_ALLOC(&f->slots.dz, f->capacity, "slots"));
    HPS_TRY(HPS_ALLOC(&f->R, f->B * m->ldd, "residuals"));
    if (f->kernels->batch != NULL) {
        HPS_TRY(HPS_ALLOC(&f->apart, f->B * m->lde, "batch of activations"));
        HPS_TRY(HPS_ALLOC_BOTH(&f->bound, f->B, "bounds"));
    }
    f->centred = f->apart != NULL ? f->apart : f->y;
    if (serves(o, HPS_PICK_GRADIENT)) {
        HPS_TRY(HPS_ALLOC_BOTH(&f->g, f->B * m->lde, "batch of gradients"));
    }
    if (o->rules >> HPS_PICK_BATCH != 0) {
        HPS_TRY(hps_searcher_create(f, serves(o, HPS_PICK_GRADIENT), &f->searcher));
    }
    return f->kernels->workspace_create(&size, &f->ws);
}

hps_status hps_forward_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model,
                              const hps_forward_options *options, hps_forward **forward)
{
    hps_status status = HPS_ALLOC(forward, 1, "forward pass");

    if (status == HPS_OK) {
        hps_forward *f = *forward;
        f->grid = grid;
        f->kernels = kernels;
        f->model = model;
        f->B = options->B;
        f->k = options->k;
        f->threads = options->threads;
        f->piece = PIECE;
        f->capacity = slots_of(model, grid->R, options);
        status = allocate(f, options);
    }
    status = hps_agree(grid->model, status);
    if (status != HPS_OK) {
        hps_forward_destroy(forward);
        return status;
    }
    if (hps_grid_is_planned(grid)) {
        return HPS_OK;
    }
    for (int64_t l = 0; l < model->shard.own; l++) {
        (*forward)->latent[l] = (int32_t)hps_shard_latent(&model->shard, l);
    }
    hps_forward_refresh(*forward);
    return HPS_OK;
}

void hps_forward_destroy(hps_forward **forward)
{
    hps_forward *f = *forward;

    if (f == NULL) {
        return;
    }
    hps_merge_pieces_destroy(&f->pieces);
    hps_topk_again_destroy(&f->again);
    if (f->ws != NULL) {
        f->kernels->workspace_destroy(&f->ws);
    }
    HPS_FREE(&f->latent);
    HPS_FREE(&f->y);
    HPS_FREE(&f->apart);
    HPS_FREE(&f->bound);
    HPS_FREE(&f->g);
    hps_searcher_destroy(&f->searcher);
    HPS_FREE(&f->y_norm);
    HPS_FREE(&f->z_sum);
    HPS_FREE(&f->scale);
    HPS_FREE(&f->slots.first);
    HPS_FREE(&f->slots.slot);
    HPS_FREE(&f->slots.dz_fixed);
    HPS_FREE(&f->slots.dz);
    HPS_FREE(&f->R);
    HPS_FREE(forward);
}

void hps_forward_refresh(hps_forward *f)
{
    const hps_model *m = f->model;
    const hps_tensors *value = &m->role[HPS_VALUE];
    float square = 0;

#pragma omp parallel for schedule(static) num_threads(f->threads) reduction(max : square)
    for (int64_t l = 0; l < m->shard.own; l++) {
        const float *e = value->W_enc + l * m->lde;
        square = fmaxf(square, hps_dot(m->shard.d, e, e));
    }
    f->encoder = (hps_encoder){.own = m->shard.own,
                               .d = m->shard.d,
                               .lde = m->lde,
                               .W_enc = value->W_enc,
                               .b_enc = value->b_enc,
                               .latent = f->latent,
                               .row_norm = sqrtf(square) * 1.00001f};
    f->kernels->prepare(f->ws, &f->encoder);
}

void hps_forward_decode(hps_forward *f, int64_t B, int64_t first_slots, bool dz)
{
    const hps_model *m = f->model;
    const double begin = omp_get_wtime();

    if (dz && f->kernels->batch != NULL) {
        f->kernels->batch->scales(f->ws, B, f->y_norm, f->z_sum, NULL, f->bound, f->scale);
    }
    for (int64_t t = 0; dz && f->kernels->batch == NULL && t < B; t++) {
        f->scale[t] = hps_fixed_scale(hps_residual_bound(f->y_norm[t], f->z_sum[t]));
    }
    f->kernels->decode(f->ws, B, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, &f->slots, first_slots, -1, m->lde,
                       f->centred + m->shard.c0, f->scale, dz, f->R);
    f->seconds_decode = omp_get_wtime() - begin;
}
