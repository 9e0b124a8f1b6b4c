#include "hpsae/model/forward.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <omp.h>

static hps_status allocate(hps_forward *f, int64_t k_max)
{
    const hps_model *m = f->model;
    const hps_workspace_size size = {.B = f->B, .d = m->shard.d, .k_max = k_max, .threads = f->threads};

    if (k_max > 0 && f->B > INT32_MAX / k_max) {
        return hps_fail(HPS_ECONFIG,
                        "a batch of %lld tokens with %lld slots each is more than one message holds: use a "
                        "smaller train.batch",
                        (long long)f->B, (long long)k_max);
    }
    HPS_TRY(HPS_ALLOC(&f->latent, m->shard.own, "latent numbers"));
    HPS_TRY(HPS_ALLOC(&f->y, f->B * m->lde, "batch of activations"));
    HPS_TRY(HPS_ALLOC(&f->y_norm, f->B, "norms of activations"));
    HPS_TRY(HPS_ALLOC(&f->z_sum, f->B, "sums of values"));
    HPS_TRY(HPS_ALLOC(&f->scale, f->B, "scales"));
    HPS_TRY(HPS_ALLOC(&f->slots.first, f->B + 1, "slots"));
    HPS_TRY(HPS_ALLOC(&f->slots.slot, f->B * f->k, "slots"));
    HPS_TRY(HPS_ALLOC(&f->slots.dz_fixed, f->B * f->k, "slots"));
    HPS_TRY(HPS_ALLOC(&f->slots.dz, f->B * f->k, "slots"));
    HPS_TRY(HPS_ALLOC(&f->R, f->B * m->ldd, "residuals"));
    return f->kernels->workspace_create(&size, &f->ws);
}

hps_status hps_forward_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model, int64_t B,
                              int64_t k_max, int threads, hps_forward **forward)
{
    hps_status status = HPS_ALLOC(forward, 1, "forward pass");

    if (status == HPS_OK) {
        hps_forward *f = *forward;
        f->grid = grid;
        f->kernels = kernels;
        f->model = model;
        f->B = B;
        f->k = model->k;
        f->threads = threads;
        status = allocate(f, k_max);
    }
    status = hps_agree(grid->model, status);
    if (status != HPS_OK) {
        hps_forward_destroy(forward);
        return status;
    }
    hps_merge_create(model->k, &(*forward)->merge);
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
    hps_merge_destroy(&f->merge);
    if (f->ws != NULL) {
        f->kernels->workspace_destroy(&f->ws);
    }
    HPS_FREE(&f->latent);
    HPS_FREE(&f->y);
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
    float square = 0, bias = 0;

#pragma omp parallel for schedule(static) num_threads(f->threads) reduction(max : square, bias)
    for (int64_t l = 0; l < m->shard.own; l++) {
        const float *e = value->W_enc + l * m->lde;
        square = fmaxf(square, hps_dot(m->shard.d, e, e));
        bias = fmaxf(bias, fabsf(value->b_enc[l]));
    }
    f->encoder = (hps_encoder){.own = m->shard.own,
                               .d = m->shard.d,
                               .lde = m->lde,
                               .W_enc = value->W_enc,
                               .b_enc = value->b_enc,
                               .latent = f->latent,
                               .row_norm = sqrtf(square) * 1.00001f,
                               .bias = bias};
}

static void centre(hps_forward *f, int64_t B)
{
    const hps_model *m = f->model;
    const float *b = m->role[HPS_VALUE].b;

#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t t = 0; t < B; t++) {
        float *y = f->y + t * m->lde;
        double square = 0;
        for (int64_t j = 0; j < m->shard.d; j++) {
            y[j] -= b[j];
            square += (double)y[j] * (double)y[j];
        }
        f->y_norm[t] = (float)sqrt(square) * 1.000001f;
    }
}

void hps_slots_compact(int64_t B, int64_t k, hps_slots *slots, float *z_sum)
{
    int32_t kept = 0;

    for (int64_t t = 0; t < B; t++) {
        float sum = 0;
        slots->first[t] = kept;
        for (int64_t s = t * k; s < (t + 1) * k && slots->slot[s].value > 0; s++) {
            sum += slots->slot[s].value;
            slots->slot[kept++] = slots->slot[s];
        }
        z_sum[t] = sum;
    }
    slots->first[B] = kept;
}

void hps_forward_select(hps_forward *f, int64_t B)
{
    const double begin = omp_get_wtime();

    centre(f, B);
    f->kernels->encode(f->ws, &f->encoder, 0, NULL, B, f->model->lde, f->y, f->y_norm, f->k, f->slots.slot);
    const double encoded = omp_get_wtime();
    hps_merge_all(f->grid->model, &f->merge, B, f->slots.slot);
    hps_slots_compact(B, f->k, &f->slots, f->z_sum);
    f->seconds_encode = encoded - begin;
    f->seconds_merge = omp_get_wtime() - encoded;
}

void hps_forward_decode(hps_forward *f, int64_t B, bool dz)
{
    const hps_model *m = f->model;
    const double begin = omp_get_wtime();

    for (int64_t t = 0; dz && t < B; t++) {
        f->scale[t] = hps_fixed_scale(hps_residual_bound(f->y_norm[t], f->z_sum[t]));
    }
    f->kernels->decode(f->ws, B, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, &f->slots, -1, -1, m->lde,
                       f->y + m->shard.c0, f->scale, dz, f->R);
    f->seconds_decode = omp_get_wtime() - begin;
}
