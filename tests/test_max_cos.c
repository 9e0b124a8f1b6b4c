/*
 * max_cos is the mean of each decoder row's largest signed cosine with another row, as a plain double loop finds it: on
 * rows of any norm, with equal rows, a row of zeros, opposite rows; the same bits on any number of ranks and backend.
 *
 * ranks: 1 2 3 4
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/max_cos.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double random_row(int64_t i, int64_t j)
{
    return (1 + (double)(i % 5)) * hps_random_normal(3, HPS_DRAW_TEST, 1, (uint64_t)(i * 1000 + j));
}

/* Four rows alike, of other norms too; one of zeros; one opposite to another. */
static double special_row(int64_t i, int64_t j)
{
    const double factor = i == 40 ? 2 : i == 41 || i == 99 ? 1 : i == 7 ? 0 : i == 8 ? -1 : 0;

    return i == 7 || factor != 0 ? factor * random_row(i == 8 ? 9 : 3, j) : random_row(i, j);
}

static double two_rows(int64_t i, int64_t j)
{
    return i == 0 ? 1 : j == 0 ? -1 : 0;
}

typedef struct {
    const char *name;
    int64_t n, d;
    double (*value)(int64_t latent, int64_t column);
} scenario;

static const scenario scenarios[] = {
    {"random rows", 333, 45, random_row},
    {"more rows than are moved or compared at a time", 1100, 1000, random_row},
    {"equal, opposite and zero rows", 130, 33, special_row},
    {"rows of one of two directions", 33, 2, two_rows},
};

/* The decoder [n, d] on one process, as stored. */
static float *table_of(const scenario *s)
{
    float *W = calloc((size_t)(s->n * s->d), sizeof(*W));

    if (W == NULL) {
        abort();
    }
    for (int64_t i = 0; i < s->n * s->d; i++) {
        W[i] = (float)s->value(i / s->d, i % s->d);
    }
    return W;
}

static double product(int64_t d, const float *a, const float *b)
{
    double sum = 0;

    for (int64_t j = 0; j < d; j++) {
        sum += (double)a[j] * (double)b[j];
    }
    return sum;
}

static double expected(const scenario *s, const float *W)
{
    double sum = 0, *norm = calloc((size_t)s->n, sizeof(*norm));

    if (norm == NULL) {
        abort();
    }
    for (int64_t a = 0; a < s->n; a++) {
        norm[a] = sqrt(product(s->d, W + a * s->d, W + a * s->d));
    }
    for (int64_t a = 0; a < s->n; a++) {
        double best = -1;
        for (int64_t b = 0; b < s->n; b++) {
            const double norms = norm[a] * norm[b];
            const double cosine = norms > 0 ? product(s->d, W + a * s->d, W + b * s->d) / norms : 0;
            best = a != b ? fmax(best, cosine) : best;
        }
        sum += best;
    }
    free(norm);
    return sum / (double)s->n;
}

static double measure(const scenario *s, const float *W, const hps_grid *grid, const hps_kernels *kernels)
{
    hps_model *m = NULL;
    double found = NAN;

    CHECK(hps_model_create(grid, s->n, s->d, 1, 1u << HPS_VALUE, &m) == HPS_OK);
    if (m != NULL) {
        for (int64_t i = 0; i < s->n; i++) {
            memcpy(m->role[HPS_VALUE].W_dec + i * m->ldd, W + i * s->d + m->shard.c0,
                   (size_t)m->shard.w * sizeof(float));
        }
        CHECK(hps_max_cos(grid, kernels, m, 2, &found) == HPS_OK);
    }
    hps_model_destroy(&m);
    return found;
}

static void run(const scenario *s, const hps_grid *grid)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    const int count = hps_kernels_all(all);
    float *W = table_of(s);
    hps_grid alone;

    CHECK(hps_grid_create(MPI_COMM_SELF, 1, &alone) == HPS_OK);
    const double first = measure(s, W, &alone, all[count - 1]);
    CHECK(fabs(first - expected(s, W)) < 1e-6);
    for (int c = s->n > 1000 ? count - 1 : 0; c < count; c++) { /* ref without fma instructions takes long */
        const double found = measure(s, W, grid, all[c]);
        CHECK(memcmp(&found, &first, sizeof(found)) == 0);
    }
    hps_grid_destroy(&alone);
    free(W);
    tap_case(s->name);
}

int main(int argc, char **argv)
{
    hps_grid grid;

    MPI_Init(&argc, &argv);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        run(&scenarios[i], &grid);
    }
    hps_grid_destroy(&grid);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
