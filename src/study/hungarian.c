#include "hungarian.h"

#include "hpsae/base/dots.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"
#include "hpsae/linalg/assignment.h"

#include <math.h>

typedef struct {
    const hps_grid *grid;
    const hps_decoder_rows *a, *b;
    int threads;
    hps_row_batch batch;   /* rows of b */
    float *block;          /* [own of a, B] cosines with them */
    float *blocks;         /* [n, B] the same of all ranks, on rank 0, as the ranks have them */
    float *value;          /* [n, n] on rank 0 */
    int32_t *column;       /* [n] on rank 0 */
    int *counts, *offsets; /* [P] */
} matching;

static hps_status allocate(matching *m)
{
    const int64_t n = m->a->shard.n, B = m->batch.step * m->grid->P;

    HPS_TRY(HPS_ALLOC(&m->block, m->a->shard.own * B, "cosines to match by"));
    HPS_TRY(HPS_ALLOC(&m->counts, m->grid->P, "cosines to match by"));
    HPS_TRY(HPS_ALLOC(&m->offsets, m->grid->P, "cosines to match by"));
    if (m->grid->p > 0) {
        return HPS_OK;
    }
    HPS_TRY(HPS_ALLOC(&m->blocks, n * B, "cosines to match by"));
    HPS_TRY(HPS_ALLOC(&m->value, n * n, "cosines to match by"));
    return HPS_ALLOC(&m->column, n, "matching");
}

static void release(matching *m)
{
    hps_row_batch_destroy(&m->batch);
    HPS_FREE(&m->block);
    HPS_FREE(&m->blocks);
    HPS_FREE(&m->value);
    HPS_FREE(&m->column);
    HPS_FREE(&m->counts);
    HPS_FREE(&m->offsets);
}

static void take_products(const matching *m)
{
    const int64_t B = m->batch.B, d = m->a->shard.d, lde = m->a->lde;

#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (int64_t l = 0; l < m->a->shard.own; l++) {
        float *cosine = m->block + l * B;
        hps_dots(B, d, lde, m->a->rows + l * lde, m->batch.row, cosine);
        for (int64_t t = 0; t < B; t++) {
            cosine[t] = fminf(cosine[t], 1);
        }
    }
}

/* Rank 0.  The blocks of all ranks, into the places of their rows and columns. */
static void place(const matching *m)
{
    const int64_t B = m->batch.B, n = m->a->shard.n;

    for (int q = 0; q < m->grid->P; q++) {
        const hps_shard other = hps_shard_of(&m->a->shard, q);
        for (int64_t l = 0; l < other.own; l++) {
            const float *from = m->blocks + m->offsets[q] + l * B;
            float *to = m->value + hps_shard_latent(&other, l) * n;
            for (int64_t t = 0; t < B; t++) {
                to[m->batch.latent[t]] = from[t];
            }
        }
    }
}

/* Collective. */
static void gather_all(matching *m)
{
    const int64_t most = hps_shard_most(&m->b->shard);

    for (int64_t l0 = 0; l0 < most; l0 += m->batch.step) {
        int64_t offset = 0;
        hps_row_batch_gather(m->grid, m->b, l0, &m->batch);
        take_products(m);
        for (int q = 0; q < m->grid->P; q++) {
            m->counts[q] = hps_count(hps_shard_of(&m->a->shard, q).own * m->batch.B);
            m->offsets[q] = hps_count(offset);
            offset += m->counts[q];
        }
        HPS_MPI(MPI_Gatherv(m->block, m->counts[m->grid->p], MPI_FLOAT, m->blocks, m->counts, m->offsets, MPI_FLOAT, 0,
                            m->grid->model));
        if (m->grid->p == 0) {
            place(m);
        }
    }
}

/* Rank 0. */
static hps_status match(const matching *m, double *mean)
{
    const int64_t n = m->a->shard.n;
    double sum = 0;

    HPS_TRY(hps_assignment_best(n, m->value, m->column));
    for (int64_t i = 0; i < n; i++) {
        sum += (double)m->value[i * n + m->column[i]];
    }
    *mean = sum / (double)n;
    return HPS_OK;
}

int64_t hps_hungarian_bytes(int64_t n, int64_t d, int ranks)
{
    const int64_t B = 1024 + ranks;

    return 4 * n * (n + B + B / ranks + 16) + hps_row_batch_bytes(d, ranks);
}

hps_status hps_hungarian(const hps_grid *grid, const hps_decoder_rows *a, const hps_decoder_rows *b, int threads,
                         double *mean)
{
    matching m = {.grid = grid, .a = a, .b = b, .threads = threads};

    *mean = NAN;
    hps_status status = hps_row_batch_create(b, &m.batch);
    status = hps_agree(grid->model, status == HPS_OK ? allocate(&m) : status);
    if (status == HPS_OK) {
        gather_all(&m);
        status = hps_share_status(grid->model, grid->p == 0 ? match(&m, mean) : HPS_OK);
        HPS_MPI(MPI_Bcast(mean, 1, MPI_DOUBLE, 0, grid->model));
    }
    release(&m);
    return status;
}
