#include "hpsae/ensemble/ensemble_export.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/exchange_format.h"

#include <string.h>

enum { ROWS = 1024 }; /* encoder rows that travel together */

bool hps_ensemble_is_threshold(const hps_ensemble *e)
{
    for (int j = 0; j < e->file.members; j++) {
        if (e->model[j]->select != HPS_SELECT_BATCH_TOPK) {
            return false;
        }
    }
    return true;
}

/* b of the whole: the mean of the members', which all ranks have. */
static void mean_bias(const hps_ensemble *e, float *b)
{
    for (int64_t c = 0; c < e->file.d; c++) {
        double sum = 0;
        for (int j = 0; j < e->file.members; j++) {
            sum += (double)e->model[j]->role[HPS_VALUE].b[c];
        }
        b[c] = (float)(sum / e->file.members);
    }
}

/* <e, b - b_j> + b_enc: what a pre-activation of member j is when the whole's b is subtracted from the input. */
static double moved_bias(const hps_model *m, const float *b, int64_t q)
{
    const hps_tensors *v = &m->role[HPS_VALUE];
    double sum = (double)v->b_enc[q];

    for (int64_t c = 0; c < m->shard.d; c++) {
        sum += (double)v->W_enc[q * m->lde + c] * ((double)b[c] - (double)v->b[c]);
    }
    return sum;
}

/*
 * Collective.  Encoder rows and biases of one member, dealt anew: rows [ROWS, lde + 1] are gathered as the bits that one
 * rank has and zeros elsewhere.
 */
static void move_encoder(const hps_ensemble *e, int j, hps_model *whole, float *rows)
{
    const hps_model *m = e->model[j];
    const hps_tensors *from = &m->role[HPS_VALUE], *to = &whole->role[HPS_VALUE];
    const int64_t ld = m->lde + 1;

    for (int64_t first = 0; first < m->shard.n; first += ROWS) {
        const int64_t count = m->shard.n - first < ROWS ? m->shard.n - first : ROWS;
        memset(rows, 0, (size_t)(count * ld) * sizeof(*rows));
        for (int64_t i = 0; i < count; i++) {
            const int64_t q = hps_shard_local(&m->shard, first + i);
            for (int64_t c = 0; q >= 0 && c < m->shard.d; c++) {
                rows[i * ld + c] = (float)((double)from->W_enc[q * m->lde + c] / e->file.members);
            }
            if (q >= 0) {
                rows[i * ld + m->lde] = (float)(moved_bias(m, to->b, q) / e->file.members);
            }
        }
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, rows, hps_count(count * ld), MPI_UINT32_T, MPI_BOR, e->grid->model));
        for (int64_t i = 0; i < count; i++) {
            const int64_t q = hps_shard_local(&whole->shard, e->offset[j] + first + i);
            if (q >= 0) {
                memcpy(to->W_enc + q * whole->lde, rows + i * ld, (size_t)m->lde * sizeof(*rows));
                to->b_enc[q] = rows[i * ld + m->lde];
            }
        }
    }
}

/* Collective. */
static void fill(const hps_ensemble *e, hps_model *whole, float *rows)
{
    const hps_tensors *to = &whole->role[HPS_VALUE];

    mean_bias(e, to->b);
    for (int j = 0; j < e->file.members; j++) {
        const hps_model *m = e->model[j];
        memcpy(to->W_dec + e->offset[j] * whole->ldd, m->role[HPS_VALUE].W_dec,
               (size_t)(m->shard.n * m->ldd) * sizeof(float));
        move_encoder(e, j, whole, rows);
    }
}

static hps_status take_names(const hps_ensemble *e, hps_model *whole, hps_threshold_run *run)
{
    const hps_model *first = e->model[0];

    whole->norm = first->norm;
    whole->scale = first->scale;
    whole->select = hps_ensemble_is_threshold(e) ? HPS_SELECT_BATCH_TOPK : HPS_SELECT_TOPK;
    whole->threshold = first->threshold;
    whole->tokens = first->tokens;
    whole->step = first->step;
    whole->whitening = first->whitening;
    for (int j = 0; j < e->file.members; j++) {
        const double threshold = e->model[j]->threshold / first->scale / e->file.members;
        run[j] = (hps_threshold_run){.end = e->offset[j + 1], .value = hps_export_round_threshold(threshold)};
    }
    whole->hook = strdup(first->hook != NULL ? first->hook : "");
    whole->model_name = strdup(first->model_name != NULL ? first->model_name : "");
    return whole->hook != NULL && whole->model_name != NULL ? HPS_OK : hps_fail(HPS_ENOMEM, "no memory for names");
}

hps_status hps_ensemble_concatenate(const hps_ensemble *e, hps_model **model, hps_threshold_run **run)
{
    const int64_t n = e->offset[e->file.members];
    float *rows = NULL;

    *run = NULL;
    hps_status status = hps_model_create(e->grid, n, e->file.d, hps_ensemble_k(e), 1u << HPS_VALUE, model);
    if (status == HPS_OK) {
        status = HPS_ALLOC(run, e->file.members, "thresholds");
    }
    if (status == HPS_OK) {
        status = HPS_ALLOC(&rows, ROWS * (e->model[0]->lde + 1), "encoder rows");
    }
    if (status == HPS_OK) {
        status = take_names(e, *model, *run);
    }
    status = hps_agree(e->grid->model, status);
    if (status == HPS_OK && rows != NULL) {
        fill(e, *model, rows);
    } else {
        hps_model_destroy(model);
        HPS_FREE(run);
    }
    HPS_FREE(&rows);
    return status;
}
