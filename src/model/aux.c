#include "hpsae/model/aux.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/slots.h"

static hps_status allocate(const hps_forward *f, hps_aux *aux)
{
    const hps_model *m = f->model;
    const int64_t B = f->B;

    HPS_TRY(HPS_ALLOC_BOTH(&aux->rows, m->shard.own, "dead latents"));
    HPS_TRY(HPS_ALLOC_BOTH(&aux->slots.first, B + 1, "AuxK slots"));
    HPS_TRY(HPS_ALLOC(&aux->slots.slot, B * aux->k, "AuxK slots"));
    HPS_TRY(HPS_ALLOC(&aux->slots.dz_fixed, hps_topk_room(B, aux->k, f->grid->P), "AuxK slots"));
    HPS_TRY(HPS_ALLOC(&aux->slots.dz, B * aux->k, "AuxK slots"));
    HPS_TRY(hps_bucket_create(m->shard.n, B * aux->k, f->threads, &aux->bucket));
    HPS_TRY(HPS_ALLOC(&aux->R, B * m->ldd, "AuxK residuals"));
    HPS_TRY(HPS_ALLOC_BOTH(&aux->z_sum, B, "AuxK sums"));
    HPS_TRY(HPS_ALLOC_BOTH(&aux->bound, B, "AuxK sums"));
    HPS_TRY(HPS_ALLOC_BOTH(&aux->scale, B, "AuxK sums"));
    HPS_TRY(HPS_ALLOC_BOTH(&aux->sum, m->ldd, "AuxK sums"));
    return HPS_ALLOC_BOTH(&aux->square, m->ldd, "AuxK sums");
}

hps_status hps_aux_create(const hps_forward *forward, int64_t k, hps_aux **aux)
{
    hps_status status = HPS_ALLOC(aux, 1, "AuxK");

    if (status == HPS_OK) {
        (*aux)->k = k;
        status = allocate(forward, *aux);
    }
    status = hps_agree(forward->grid->model, status);
    if (status != HPS_OK) {
        hps_aux_destroy(aux);
        return status;
    }
    return HPS_OK;
}

void hps_aux_destroy(hps_aux **aux)
{
    hps_aux *a = *aux;

    if (a == NULL) {
        return;
    }
    HPS_FREE(&a->rows);
    HPS_FREE(&a->slots.first);
    HPS_FREE(&a->slots.slot);
    HPS_FREE(&a->slots.dz_fixed);
    HPS_FREE(&a->slots.dz);
    hps_bucket_destroy(&a->bucket);
    HPS_FREE(&a->R);
    HPS_FREE(&a->z_sum);
    HPS_FREE(&a->bound);
    HPS_FREE(&a->scale);
    HPS_FREE(&a->sum);
    HPS_FREE(&a->square);
    HPS_FREE(aux);
}

static bool is_dead(const hps_model *m, int64_t latent, int64_t dead_tokens)
{
    return m->tokens - m->fired[latent] >= dead_tokens;
}

int64_t hps_dead_latents(const hps_model *m, int64_t dead_tokens)
{
    int64_t dead = 0;

    for (int64_t i = 0; i < m->shard.n; i++) {
        dead += is_dead(m, i, dead_tokens);
    }
    return dead;
}

void hps_aux_forward(hps_aux *aux, hps_forward *f, int64_t B, int64_t dead_tokens, const double *main_bound)
{
    const hps_model *m = f->model;
    int64_t count = 0;

    for (int64_t l = 0; l < m->shard.own; l++) {
        if (is_dead(m, f->latent[l], dead_tokens)) {
            aux->rows[count++] = (int32_t)l;
        }
    }
    const hps_topk_rows dead = {count, aux->rows};
    hps_topk_select(f, &dead, B, aux->k, &aux->topk, &aux->slots, aux->z_sum);
    if (f->kernels->batch != NULL) {
        f->kernels->batch->scales(f->ws, B, NULL, aux->z_sum, main_bound, aux->bound, aux->scale);
    }
    for (int64_t t = 0; f->kernels->batch == NULL && t < B; t++) {
        aux->bound[t] = main_bound[t] + hps_residual_bound(0, aux->z_sum[t]);
        aux->scale[t] = hps_fixed_scale(aux->bound[t]);
    }
    aux->slots.latents = hps_dead_latents(m, dead_tokens);
    /* ehat - e = ehat + R of the main reconstruction. */
    f->kernels->decode(f->ws, B, m->shard.w, m->ldd, m->role[HPS_VALUE].W_dec, &aux->slots, -1, 1, m->ldd, f->R,
                       aux->scale, true, aux->R);
    f->kernels->column_sums(f->ws, B, m->shard.w, m->ldd, aux->R, m->ldd, aux->R, aux->sum, aux->square);
}
