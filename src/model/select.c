#include "select.h"

#include "hpsae/comm/sums.h"

#include <math.h>
#include <omp.h>

hps_pick hps_pick_in_use(const hps_model *m)
{
    const hps_pick_rule batch = m->threshold < 0 ? HPS_PICK_BATCH : HPS_PICK_THRESHOLD;

    return (hps_pick){.rule = m->select == HPS_SELECT_BATCH_TOPK ? batch : HPS_PICK_TOPK,
                      .k = m->k,
                      .alpha = m->alpha,
                      .beta = m->beta,
                      .threshold = m->threshold};
}

static void centre(hps_forward *f, int64_t B)
{
    const hps_model *m = f->model;
    const float *b = m->role[HPS_VALUE].b;

    if (f->kernels->batch != NULL) {
        f->kernels->batch->centre(f->ws, B, m->shard.d, m->lde, f->y, b, f->centred, f->y_norm);
        return;
    }

#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t t = 0; t < B; t++) {
        float *y = f->y + t * m->lde;
        for (int64_t j = 0; j < m->shard.d; j++) {
            y[j] -= b[j];
        }
    }
}

/* Starts on y_norm: each rank takes the norms of its share of the tokens, which are not needed before decoding. */
static void take_norms(hps_forward *f, int64_t B, MPI_Request *request)
{
    const hps_model *m = f->model;
    const int64_t share = (B + f->grid->P - 1) / f->grid->P, first = f->grid->p * share;
    const int64_t end = first + share < B ? first + share : B;

    *request = MPI_REQUEST_NULL;
    if (f->kernels->batch != NULL) { /* they came with y */
        return;
    }
#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t t = first; t < end; t++) {
        const float *y = f->y + t * m->lde;
        double square = 0;
        for (int64_t j = 0; j < m->shard.d; j++) {
            square += (double)y[j] * (double)y[j];
        }
        f->y_norm[t] = (float)sqrt(square) * 1.000001f;
    }
    if (f->grid->P > 1) {
        HPS_MPI(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_FLOAT, f->y_norm, hps_count(share), MPI_FLOAT, f->grid->model,
                               request));
    }
}

void hps_slots_compact(int64_t B, int64_t k, int64_t keep, hps_slots *slots, float *z_sum)
{
    int32_t kept = 0;

    for (int64_t t = 0; t < B; t++) {
        float sum = 0;
        slots->first[t] = kept;
        for (int64_t s = t * k; s < t * k + keep && slots->slot[s].value > 0; s++) {
            sum += slots->slot[s].value;
            slots->slot[kept++] = slots->slot[s];
        }
        z_sum[t] = sum;
    }
    slots->first[B] = kept;
}

void hps_select_topk(hps_forward *f, int64_t B, const hps_pick *pick)
{
    const hps_topk_rows all = {0, NULL};

    hps_topk_select(f, &all, B, pick->k, &f->topk, &f->slots, f->z_sum);
}

hps_status hps_forward_select(hps_forward *f, int64_t B, const hps_pick *pick)
{
    const double begin = omp_get_wtime();
    MPI_Request norms;
    hps_status status = HPS_OK;

    f->seconds_encode = 0;
    centre(f, B);
    take_norms(f, B, &norms);
    switch (pick->rule) {
    case HPS_PICK_TOPK:
        hps_select_topk(f, B, pick);
        break;
    case HPS_PICK_BATCH:
        status = hps_select_batch(f, B, pick);
        break;
    case HPS_PICK_THRESHOLD:
        status = hps_select_threshold(f, B, pick);
        break;
    case HPS_PICK_GRADIENT:
        hps_select_gradient(f, B, pick);
        break;
    }
    /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): begun by take_norms */
    HPS_MPI(MPI_Wait(&norms, MPI_STATUS_IGNORE));
    f->seconds_merge = omp_get_wtime() - begin - f->seconds_encode;
    return status;
}
