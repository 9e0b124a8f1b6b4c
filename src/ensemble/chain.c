#include "hpsae/ensemble/chain.h"

#include "member.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

enum { PIECE_FLOATS = 1 << 20 }; /* of the residuals that travel in one message */

struct hps_chain {
    const hps_grid *grid;
    int stages;
    hps_forward **forward;    /* [stages]; owned */
    int64_t piece;            /* tokens of a message */
    float *here, *everywhere; /* [piece, w] of this rank; [piece, d], the ranks' columns one after the other */
    int64_t *first;           /* [P + 1] columns of rank p: first[p] .. first[p + 1] - 1 */
    int *counts, *offsets;    /* [P] floats of a message */
};

static hps_status find_columns(hps_chain *c, const hps_model *m)
{
    for (int p = 0; p < c->grid->P; p++) {
        hps_shard shard;
        HPS_TRY(hps_shard_create(m->shard.n, m->shard.d, c->grid->P, p, &shard));
        c->first[p] = shard.c0;
    }
    c->first[c->grid->P] = m->shard.d;
    return HPS_OK;
}

static hps_status allocate(hps_chain *c, const hps_model *m, int64_t B)
{
    const int64_t d = m->shard.d, fitting = PIECE_FLOATS / d > 0 ? PIECE_FLOATS / d : 1;

    c->piece = fitting < B ? fitting : B;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    HPS_TRY(HPS_ALLOC(&c->forward, c->stages, "stages"));
    HPS_TRY(HPS_ALLOC(&c->first, c->grid->P + 1, "columns of a chain"));
    HPS_TRY(HPS_ALLOC(&c->counts, c->grid->P, "columns of a chain"));
    HPS_TRY(HPS_ALLOC(&c->offsets, c->grid->P, "columns of a chain"));
    if (c->grid->P > 1) {
        HPS_TRY(HPS_ALLOC(&c->here, c->piece * m->shard.w, "residuals of a chain"));
        HPS_TRY(HPS_ALLOC(&c->everywhere, c->piece * d, "residuals of a chain"));
    }
    return find_columns(c, m);
}

hps_status hps_chain_create(const hps_grid *grid, const hps_kernels *kernels, int stages, hps_model *const *model,
                            int64_t B, int threads, hps_chain **chain)
{
    hps_status status = HPS_ALLOC(chain, 1, "chain");

    if (status == HPS_OK) {
        (*chain)->grid = grid;
        (*chain)->stages = stages;
        status = allocate(*chain, model[0], B);
    }
    status = hps_agree(grid->model, status);
    for (int j = 0; j < stages && status == HPS_OK; j++) {
        status = hps_member_forward_create(grid, kernels, model[j], B, threads, &(*chain)->forward[j]);
    }
    if (status != HPS_OK) {
        hps_chain_destroy(chain);
    }
    return status;
}

void hps_chain_destroy(hps_chain **chain)
{
    hps_chain *c = *chain;

    if (c == NULL) {
        return;
    }
    for (int j = 0; c->forward != NULL && j < c->stages; j++) {
        hps_forward_destroy(&c->forward[j]);
    }
    HPS_FREE(&c->forward);
    HPS_FREE(&c->here);
    HPS_FREE(&c->everywhere);
    HPS_FREE(&c->first);
    HPS_FREE(&c->counts);
    HPS_FREE(&c->offsets);
    HPS_FREE(chain);
}

void hps_chain_refresh(hps_chain *chain, int stage)
{
    hps_forward_refresh(chain->forward[stage]);
}

hps_forward *hps_chain_forward(const hps_chain *chain, int stage)
{
    return chain->forward[stage];
}

/* x[t, j] = -R[t, j] over `w` columns: the residual r - g(r) where R is g(r) - r. */
static void take_columns(int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldx, float *x)
{
    for (int64_t t = 0; t < B; t++) {
        for (int64_t j = 0; j < w; j++) {
            x[t * ldx + j] = -R[t * ldr + j];
        }
    }
}

/* Collective.  The columns of B tokens, at most a piece, from all ranks to all. */
static void spread(hps_chain *c, const hps_model *m, int64_t B, const float *R, float *x)
{
    const int P = c->grid->P;

    for (int p = 0; p < P; p++) {
        c->counts[p] = hps_count(B * (c->first[p + 1] - c->first[p]));
        c->offsets[p] = hps_count(B * c->first[p]);
    }
    for (int64_t t = 0; t < B; t++) {
        for (int64_t j = 0; j < m->shard.w; j++) {
            c->here[t * m->shard.w + j] = R[t * m->ldd + j];
        }
    }
    HPS_MPI(MPI_Allgatherv(c->here, c->counts[c->grid->p], MPI_FLOAT, c->everywhere, c->counts, c->offsets, MPI_FLOAT,
                           c->grid->model));
    for (int p = 0; p < P; p++) {
        const int64_t w = c->first[p + 1] - c->first[p];
        take_columns(B, w, w, c->everywhere + c->offsets[p], m->lde, x + c->first[p]);
    }
}

hps_status hps_chain_stage(hps_chain *c, int stage, int64_t B, float *x)
{
    const hps_forward *f = c->forward[stage];
    const hps_model *m = f->model;

    HPS_TRY(hps_member_forward_run(c->forward[stage], B, x));
    if (c->grid->P == 1) {
        take_columns(B, m->shard.d, m->ldd, f->R, m->lde, x);
        return HPS_OK;
    }
    for (int64_t done = 0; done < B; done += c->piece) {
        const int64_t take = B - done < c->piece ? B - done : c->piece;
        spread(c, m, take, f->R + done * m->ldd, x + done * m->lde);
    }
    return HPS_OK;
}

hps_status hps_chain_run(hps_chain *c, int64_t B, int stages, float *x)
{
    const int64_t lde = c->forward[0]->model->lde;

    for (int j = 0; j < stages; j++) {
        int64_t batch = B;
        for (int64_t done = 0; done < B;) {
            const int64_t take = B - done < batch ? B - done : batch;
            const hps_status status = hps_chain_stage(c, j, take, x + done * lde);
            if (status == HPS_EARG && take > 1) {
                batch = take / 2;
                continue;
            }
            HPS_TRY(status);
            done += take;
        }
    }
    return HPS_OK;
}
