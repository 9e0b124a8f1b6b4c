/*
 * The distributed top k is that of a full sort on one process, on every backend: random data, ties across ranks, zeros,
 * no positive value, fewer positive values than k, k = n, all winners on one rank, denormals, an AuxK-like subset.
 *
 * ranks: 1 2 3 4
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/merge.h"
#include "hpsae/model/forward.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { N = 333, D = 21, LD = 32, TOKENS = 24 };

typedef struct {
    const char *name;
    int64_t k;
    float (*weight)(int64_t latent, int64_t column);
    float (*bias)(int64_t latent);
    float (*input)(int64_t token, int64_t column);
} scenario;

static float normal(uint64_t stream, int64_t i)
{
    return (float)hps_random_normal(11, HPS_DRAW_TEST, stream, (uint64_t)i);
}

static float random_weight(int64_t i, int64_t j)
{
    return normal(1, i * D + j);
}

static float integer_weight(int64_t i, int64_t j)
{
    return rintf(normal(2, i % 40 * D + j)); /* latents 40 apart are equal, and lie on different ranks */
}

static float tiny_weight(int64_t i, int64_t j)
{
    return normal(3, i * D + j) * 1e-38f;
}

static float random_bias(int64_t i)
{
    return 0.1f * normal(4, i);
}

static float no_bias(int64_t i)
{
    (void)i;
    return 0;
}

static float negative_bias(int64_t i)
{
    return -1000.0f - (float)(i % 3);
}

static float mostly_negative_bias(int64_t i)
{
    return i % 100 == 7 ? 0 : -1000.0f;
}

static float first_block_bias(int64_t i)
{
    return i < HPS_BLOCK ? 1000.0f : 0;
}

static float random_input(int64_t t, int64_t j)
{
    return normal(5, t * D + j);
}

static float integer_input(int64_t t, int64_t j)
{
    return rintf(normal(6, t * D + j));
}

static float zero_input(int64_t t, int64_t j)
{
    (void)t;
    (void)j;
    return 0;
}

static const scenario scenarios[] = {
    {"random data", 16, random_weight, random_bias, random_input},
    {"equal values on different ranks", 50, integer_weight, no_bias, integer_input},
    {"all values zero", 40, random_weight, no_bias, zero_input},
    {"all values negative, with ties", 9, integer_weight, negative_bias, integer_input},
    {"fewer positive values than k", 20, random_weight, mostly_negative_bias, random_input},
    {"k = n", N, random_weight, random_bias, random_input},
    {"k = 1", 1, random_weight, random_bias, random_input},
    {"all winners on one rank", 30, random_weight, first_block_bias, random_input},
    {"denormals", 12, tiny_weight, no_bias, random_input},
};

static int by_order(const void *a, const void *b)
{
    const hps_candidate x = *(const hps_candidate *)a, y = *(const hps_candidate *)b;

    return hps_before(x, y) ? -1 : hps_before(y, x);
}

/* The definition: every pre-activation of the latents that count, sorted. */
static void full_sort(const scenario *s, int64_t token, int64_t every, hps_candidate all[N])
{
    float x[D], w[D];
    int64_t count = 0;

    for (int64_t j = 0; j < D; j++) {
        x[j] = s->input(token, j);
    }
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < D; j++) {
            w[j] = s->weight(i, j);
        }
        if (i % every == 0) {
            all[count++] = (hps_candidate){hps_dot(D, w, x) + s->bias(i), (int32_t)i};
        }
    }
    qsort(all, (size_t)count, sizeof(*all), by_order);
    for (; count < N; count++) {
        all[count] = HPS_NO_CANDIDATE;
    }
}

static void set_model(const scenario *s, hps_model *m)
{
    for (int64_t l = 0; l < m->shard.own; l++) {
        const int64_t i = hps_shard_latent(&m->shard, l);
        for (int64_t j = 0; j < D; j++) {
            m->role[HPS_VALUE].W_enc[l * m->lde + j] = s->weight(i, j);
        }
        m->role[HPS_VALUE].b_enc[l] = s->bias(i);
    }
}

static void set_input(const scenario *s, hps_forward *f)
{
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t j = 0; j < D; j++) {
            f->y[t * f->model->lde + j] = s->input(t, j);
        }
    }
}

/* Slots: the positive ones of the first k, in order. */
static void check_slots(const scenario *s, const hps_forward *f)
{
    hps_candidate all[N];
    int64_t at = 0;

    for (int64_t t = 0; t < TOKENS; t++) {
        full_sort(s, t, 1, all);
        CHECK(f->slots.first[t] == at);
        for (int64_t q = 0; q < s->k && all[q].value > 0; q++, at++) {
            CHECK(f->slots.slot[at].latent == all[q].latent && f->slots.slot[at].value == all[q].value);
        }
    }
    CHECK(f->slots.first[TOKENS] == at);
}

/* Candidates among every third latent, whatever their sign. */
static void check_subset(const scenario *s, hps_forward *f, int32_t *rows, hps_candidate *top)
{
    hps_candidate all[N];
    hps_merge merge;
    int64_t count = 0;

    for (int64_t l = 0; l < f->model->shard.own; l++) {
        if (hps_shard_latent(&f->model->shard, l) % 3 == 0) {
            rows[count++] = (int32_t)l;
        }
    }
    f->kernels->encode(f->ws, &f->encoder, count, rows, TOKENS, f->model->lde, f->y, s->k, top);
    hps_merge_create(s->k, &merge);
    hps_merge_all(f->grid->model, &merge, TOKENS, top);
    hps_merge_destroy(&merge);
    for (int64_t t = 0; t < TOKENS; t++) {
        full_sort(s, t, 3, all);
        for (int64_t q = 0; q < s->k; q++) {
            CHECK(top[t * s->k + q].latent == all[q].latent && top[t * s->k + q].value == all[q].value);
        }
    }
}

static void run(const scenario *s, const hps_grid *grid, const hps_kernels *kernels)
{
    hps_model *model;
    hps_forward *f;
    int32_t *rows;
    hps_candidate *top;

    CHECK(hps_model_create(grid, N, D, s->k, 1u << HPS_VALUE, &model) == HPS_OK);
    set_model(s, model);
    const hps_forward_options options = {
        .B = TOKENS, .k_max = s->k, .k = s->k, .rules = 1u << HPS_PICK_TOPK, .threads = 2};
    const hps_pick pick = hps_pick_in_use(model);
    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    HPS_ALLOC(&rows, N, "rows");
    HPS_ALLOC(&top, TOKENS * s->k, "top");
    set_input(s, f);
    CHECK(hps_forward_select(f, TOKENS, &pick) == HPS_OK);
    check_slots(s, f);
    CHECK(rows != NULL && top != NULL);
    if (rows != NULL && top != NULL) {
        check_subset(s, f, rows, top);
    }
    HPS_FREE(&rows);
    HPS_FREE(&top);
    hps_forward_destroy(&f);
    hps_model_destroy(&model);
}

int main(int argc, char **argv)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    hps_grid grid;

    MPI_Init(&argc, &argv);
    const int count = hps_kernels_all(all);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        for (int c = 0; c < count; c++) {
            run(&scenarios[i], &grid, all[c]);
        }
        tap_case(scenarios[i].name);
    }
    hps_grid_destroy(&grid);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
