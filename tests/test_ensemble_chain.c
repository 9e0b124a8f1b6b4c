/*
 * A boosted chain leaves r^(j+1) = r^(j) - g_j(r^(j)): the bits that one process alone finds, on every rank whole, and
 * those of a sum in plain loops but for rounding; stage by stage or all at once; when a threshold lets through more than
 * fits, too; and also where some ranks own no columns.
 *
 * ranks: 1 2 3 5
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/ensemble/chain.h"
#include "model_fixture.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { STAGES = 3, D = 45, TOKENS = 70 };

static const int64_t latents[STAGES] = {333, 1600, 170};

static double normal(uint64_t stream, int64_t i)
{
    return hps_random_normal(5, HPS_DRAW_TEST, stream, (uint64_t)i);
}

/* TopK, then a threshold that nearly all pass, then TopK. */
static void create_models(const hps_grid *grid, hps_model *model[STAGES])
{
    for (int j = 0; j < STAGES; j++) {
        hps_model_create(grid, latents[j], D, 4 + j, 1u << HPS_VALUE, &model[j]);
        fixture_fill(model[j], 7 + (uint64_t)j);
        for (int64_t c = D; c < model[j]->lde; c++) {
            model[j]->role[HPS_VALUE].b[c] = 0;
        }
    }
    model[1]->select = HPS_SELECT_BATCH_TOPK;
    model[1]->threshold = 0.01;
}

static void destroy_models(hps_model *model[STAGES])
{
    for (int j = 0; j < STAGES; j++) {
        hps_model_destroy(&model[j]);
    }
}

static void fill(int64_t lde, float *x)
{
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t c = 0; c < D; c++) {
            x[t * lde + c] = (float)normal(1, t * D + c);
        }
    }
}

/* The chain over the fixture's rows on a grid; x [TOKENS, lde] of the models, allocated here. */
static void run(const hps_grid *grid, const hps_kernels *kernels, int stages, bool singly, float **x)
{
    hps_model *model[STAGES];
    hps_chain *chain = NULL;

    create_models(grid, model);
    HPS_ALLOC(x, TOKENS * model[0]->lde, "rows");
    fill(model[0]->lde, *x);
    hps_status status = hps_chain_create(grid, kernels, STAGES, model, TOKENS, 1, &chain);
    for (int j = 0; singly && j < stages && status == HPS_OK; j++) {
        status = hps_chain_stage(chain, j, TOKENS, *x);
        const hps_forward *f = hps_chain_forward(chain, j);
        for (int64_t t = 0; status == HPS_OK && t < TOKENS * model[j]->shard.w; t++) {
            const int64_t row = t / model[j]->shard.w, c = t % model[j]->shard.w;
            const float r = f->R[row * model[j]->ldd + c];
            status = r == -(*x)[row * model[j]->lde + model[j]->shard.c0 + c] ? HPS_OK : HPS_EINTERNAL;
        }
    }
    if (!singly && status == HPS_OK) {
        status = hps_chain_run(chain, TOKENS, stages, *x);
    }
    CHECK(status == HPS_OK);
    hps_chain_destroy(&chain);
    destroy_models(model);
}

/* Whether the rows differ by a bit. */
static bool same(const float *a, const float *b)
{
    const int64_t lde = (D + 15) / 16 * 16;

    for (int64_t t = 0; t < TOKENS; t++) {
        if (memcmp(a + t * lde, b + t * lde, D * sizeof(float)) != 0) {
            return false;
        }
    }
    return true;
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x < y) - (x > y);
}

/* g(r) of one model that a rank holds whole, in double; by the k-th largest value, or the threshold. */
static void subtract(const hps_model *m, double r[D])
{
    const hps_tensors *v = &m->role[HPS_VALUE];
    double p[1600], sorted[1600] = {0}, out[D];

    for (int64_t i = 0; i < m->shard.n; i++) {
        p[i] = (double)v->b_enc[i];
        for (int64_t c = 0; c < D; c++) {
            p[i] += (double)v->W_enc[i * m->lde + c] * (r[c] - (double)v->b[c]);
        }
        sorted[i] = p[i];
    }
    qsort(sorted, (size_t)m->shard.n, sizeof(double), descending);
    const bool threshold = m->select == HPS_SELECT_BATCH_TOPK;
    for (int64_t c = 0; c < D; c++) {
        out[c] = r[c] - (double)v->b[c];
    }
    for (int64_t i = 0; i < m->shard.n; i++) {
        const bool chosen = threshold ? p[i] > m->threshold : p[i] > 0 && p[i] >= sorted[m->k - 1];
        for (int64_t c = 0; chosen && c < D; c++) {
            out[c] -= p[i] * (double)v->W_dec[i * m->ldd + c];
        }
    }
    memcpy(r, out, sizeof(out));
}

/* The largest difference of x from the plain chain, over the largest number. */
static double difference(const hps_grid *alone, int stages, const float *x)
{
    const int64_t lde = (D + 15) / 16 * 16;
    hps_model *model[STAGES];
    double worst = 0, largest = 0;

    create_models(alone, model);
    for (int64_t t = 0; t < TOKENS; t++) {
        double r[D];
        for (int64_t c = 0; c < D; c++) {
            r[c] = (double)(float)normal(1, t * D + c);
        }
        for (int j = 0; j < stages; j++) {
            subtract(model[j], r);
        }
        for (int64_t c = 0; c < D; c++) {
            worst = fmax(worst, fabs(r[c] - (double)x[t * lde + c]));
            largest = fmax(largest, fabs(r[c]));
        }
    }
    destroy_models(model);
    return worst / largest;
}

int main(int argc, char **argv)
{
    hps_grid grid, alone;
    const hps_kernels *kernels;
    float *together = NULL, *here = NULL;

    MPI_Init(&argc, &argv);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_grid_create(MPI_COMM_SELF, 1, &alone) == HPS_OK);
    CHECK(hps_kernels_choose(HPS_BACKEND_AUTO, &kernels) == HPS_OK);
    for (int stages = 0; stages <= STAGES; stages++) {
        run(&grid, kernels, stages, false, &together);
        run(&alone, kernels, stages, false, &here);
        CHECK(same(together, here));
        tap_case("the residual is, whole on every rank, that of one rank, bit for bit");
        CHECK(difference(&alone, stages, here) < 2e-5);
        tap_case("and that of plain loops");
        HPS_FREE(&together);
        HPS_FREE(&here);
    }
    run(&grid, kernels, 1, false, &together);
    run(&grid, kernels, 1, true, &here);
    CHECK(same(together, here));
    tap_case("one stage by itself is the chain of one, and -R are its columns");
    HPS_FREE(&together);
    HPS_FREE(&here);
    hps_grid_destroy(&alone);
    hps_grid_destroy(&grid);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
