#include "hpsae/ensemble/ensemble_forward.h"

#include "member.h"

#include "hpsae/base/memory.h"

#include <string.h>

static hps_status allocate(hps_ensemble_forward *f)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    HPS_TRY(HPS_ALLOC(&f->forward, f->ensemble->file.members, "members"));
    HPS_TRY(HPS_ALLOC(&f->x, f->B * f->lde, "batch of activations"));
    return HPS_ALLOC(&f->R, f->B * f->ldd, "residuals");
}

/* Collective. */
static hps_status create_members(hps_ensemble_forward *f, const hps_kernels *kernels, int threads)
{
    const hps_ensemble *e = f->ensemble;

    if (e->file.method == HPS_ENSEMBLE_BOOSTING) {
        HPS_TRY(hps_chain_create(e->grid, kernels, e->file.members, e->model, f->B, threads, &f->chain));
        for (int j = 0; j < e->file.members; j++) {
            f->forward[j] = hps_chain_forward(f->chain, j);
        }
        return HPS_OK;
    }
    for (int j = 0; j < e->file.members; j++) {
        HPS_TRY(hps_member_forward_create(e->grid, kernels, e->model[j], f->B, threads, &f->forward[j]));
    }
    return HPS_OK;
}

hps_status hps_ensemble_forward_create(const hps_ensemble *ensemble, const hps_kernels *kernels, int64_t B, int threads,
                                       hps_ensemble_forward **forward)
{
    hps_status status = HPS_ALLOC(forward, 1, "forward pass");

    if (status == HPS_OK) {
        (*forward)->ensemble = ensemble;
        (*forward)->B = B;
        (*forward)->lde = ensemble->model[0]->lde;
        (*forward)->ldd = ensemble->model[0]->ldd;
        status = allocate(*forward);
    }
    status = hps_agree(ensemble->grid->model, status);
    if (status == HPS_OK) {
        status = create_members(*forward, kernels, threads);
    }
    if (status != HPS_OK) {
        hps_ensemble_forward_destroy(forward);
    }
    return status;
}

void hps_ensemble_forward_destroy(hps_ensemble_forward **forward)
{
    hps_ensemble_forward *f = *forward;

    if (f == NULL) {
        return;
    }
    for (int j = 0; f->chain == NULL && f->forward != NULL && j < f->ensemble->file.members; j++) {
        hps_forward_destroy(&f->forward[j]);
    }
    hps_chain_destroy(&f->chain);
    HPS_FREE(&f->forward);
    HPS_FREE(&f->x);
    HPS_FREE(&f->R);
    HPS_FREE(forward);
}

void hps_ensemble_forward_prefix(const hps_ensemble_forward *f, int64_t B, int members, float *R)
{
    const int64_t count = B * f->ldd;

    if (f->chain != NULL) {
        memcpy(R, f->forward[members - 1]->R, (size_t)count * sizeof(*R));
        return;
    }
    memcpy(R, f->forward[0]->R, (size_t)count * sizeof(*R));
    for (int j = 1; j < members; j++) {
        for (int64_t i = 0; i < count; i++) {
            R[i] += f->forward[j]->R[i];
        }
    }
    for (int64_t i = 0; i < count; i++) {
        R[i] /= (float)members;
    }
}

hps_status hps_ensemble_forward_run(hps_ensemble_forward *f, int64_t B)
{
    const int members = f->ensemble->file.members;

    for (int j = 0; j < members; j++) {
        HPS_TRY(f->chain != NULL ? hps_chain_stage(f->chain, j, B, f->x)
                                 : hps_member_forward_run(f->forward[j], B, f->x));
    }
    hps_ensemble_forward_prefix(f, B, members, f->R);
    return HPS_OK;
}
