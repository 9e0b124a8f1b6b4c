/*
 * Ranks that bring only a share of k candidates still find the k best, on every backend and with every share from one
 * candidate on: all winners on one rank, ties across ranks, winners in clusters, among listed rows too.  A token is encoded
 * again exactly when a rank's whole share is among the best of all shares, and by those ranks alone; the share follows what is needed.
 *
 * ranks: 2 3 5
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/forward.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { N = 333, D = 20, TOKENS = 80, K = 24, EVERY = 3, RANKS = 8 };

typedef struct {
    const char *name;
    float (*weight)(int64_t latent, int64_t column);
    float (*bias)(int64_t latent);
} scenario;

static float normal(uint64_t stream, int64_t i)
{
    return (float)hps_random_normal(17, HPS_DRAW_TEST, stream, (uint64_t)i);
}

static float random_weight(int64_t i, int64_t j)
{
    return normal(1, i * D + j);
}

/* Latents of a block are nearly one, so that they win together, on one rank. */
static float cluster_weight(int64_t i, int64_t j)
{
    return normal(2, i / HPS_BLOCK * D + j) + 0.01f * normal(3, i * D + j);
}

/* Latents 40 apart are equal, and lie on different ranks. */
static float tied_weight(int64_t i, int64_t j)
{
    return rintf(normal(4, i % 40 * D + j));
}

static float zero_weight(int64_t i, int64_t j)
{
    (void)i;
    (void)j;
    return 0;
}

static float no_bias(int64_t i)
{
    (void)i;
    return 0;
}

static float first_block_bias(int64_t i)
{
    return i < HPS_BLOCK ? 1000.0f : 0;
}

static float one_bias(int64_t i)
{
    (void)i;
    return 1;
}

static float few_positive_bias(int64_t i)
{
    return i % 100 < 4 ? 0 : -1000.0f;
}

static const scenario scenarios[] = {
    {"random data", random_weight, no_bias},
    {"all winners on one rank", random_weight, first_block_bias},
    {"winners in clusters", cluster_weight, no_bias},
    {"ties across ranks", tied_weight, no_bias},
    {"all values equal", zero_weight, one_bias},
    {"fewer positive values than k", random_weight, few_positive_bias},
};

static hps_candidate expected[TOKENS][N];

static int by_order(const void *a, const void *b)
{
    const hps_candidate x = *(const hps_candidate *)a, y = *(const hps_candidate *)b;

    return hps_before(x, y) ? -1 : hps_before(y, x);
}

static float input(int64_t t, int64_t j)
{
    return rintf(4 * normal(5, t * D + j));
}

/* The definition, among every so-manieth latent: positive pre-activations sorted, the others as no candidates. */
static void expect(const scenario *s, int64_t every)
{
    float x[D], w[D];

    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t j = 0; j < D; j++) {
            x[j] = input(t, j);
        }
        for (int64_t i = 0; i < N; i++) {
            for (int64_t j = 0; j < D; j++) {
                w[j] = s->weight(i, j);
            }
            const float p = hps_dot(D, w, x) + s->bias(i);
            expected[t][i] = i % every == 0 && p > 0 ? (hps_candidate){p, (int32_t)i} : HPS_NO_CANDIDATE;
        }
        qsort(expected[t], N, sizeof(**expected), by_order);
    }
}

/* How many of each rank's first `share` are among the k best of them all. */
static void winners(int64_t t, int64_t share, int P, int64_t won[RANKS])
{
    int64_t seen[RANKS] = {0}, taken = 0;

    memset(won, 0, RANKS * sizeof(*won));
    for (int64_t q = 0; q < N && taken < K && expected[t][q].value > 0; q++) {
        const int64_t p = expected[t][q].latent / HPS_BLOCK % P;
        if (seen[p]++ < share) {
            won[p]++;
            taken++;
        }
    }
}

static void check_slots(const hps_slots *slots)
{
    int64_t at = 0, wrong = 0;

    for (int64_t t = 0; t < TOKENS; t++) {
        wrong += slots->first[t] != at;
        for (int64_t q = 0; q < K && expected[t][q].value > 0; q++, at++) {
            wrong += slots->slot[at].latent != expected[t][q].latent || slots->slot[at].value != expected[t][q].value;
        }
    }
    CHECK(wrong == 0 && slots->first[TOKENS] == at);
}

static void check_counts(const hps_forward *f, const hps_topk *topk, int64_t share)
{
    const hps_shard *shard = &f->model->shard;
    int64_t doubtful = 0, again = 0;

    for (int64_t t = 0; share < K && t < TOKENS; t++) {
        int64_t won[RANKS];
        bool any = false;
        winners(t, share, shard->P, won);
        for (int p = 0; p < shard->P; p++) {
            any |= won[p] == share;
        }
        doubtful += any;
        again += won[shard->p] == share;
    }
    CHECK(topk->doubtful == doubtful && topk->again == again);
}

static void set(const scenario *s, hps_forward *f)
{
    const hps_model *m = f->model;

    for (int64_t l = 0; l < m->shard.own; l++) {
        const int64_t i = hps_shard_latent(&m->shard, l);
        for (int64_t j = 0; j < D; j++) {
            m->role[HPS_VALUE].W_enc[l * m->lde + j] = s->weight(i, j);
        }
        m->role[HPS_VALUE].b_enc[l] = s->bias(i);
    }
    for (int64_t i = 0; i < TOKENS * D; i++) {
        f->y[i / D * m->lde + i % D] = input(i / D, i % D);
    }
    hps_forward_refresh(f);
}

/* Every share, among all latents and among every third. */
static void check_shares(const scenario *s, hps_forward *f)
{
    int32_t *list; /* which a device must reach */
    int64_t count = 0;

    CHECK(HPS_ALLOC(&list, N, "t") == HPS_OK);
    for (int64_t l = 0; l < f->model->shard.own; l++) {
        if (hps_shard_latent(&f->model->shard, l) % EVERY == 0) {
            list[count++] = (int32_t)l;
        }
    }
    for (int listed = 0; listed < 2; listed++) {
        const hps_topk_rows rows = {listed ? count : 0, listed ? list : NULL};
        expect(s, listed ? EVERY : 1);
        for (int64_t share = 1; share <= K; share += share < 4 ? 1 : 4) {
            hps_topk topk = {.k = K, .share = share};
            hps_topk_select(f, &rows, TOKENS, K, &topk, &f->slots, f->z_sum);
            check_slots(&f->slots);
            check_counts(f, &topk, share);
        }
    }
    HPS_FREE(&list);
}

/* What training does: the share begins as it is guessed, and grows until few tokens are in doubt. */
static void check_growth(const scenario *s, hps_forward *f)
{
    const hps_pick pick = {.rule = HPS_PICK_TOPK, .k = K};
    const int64_t share = hps_topk_share(K, f->grid->P);
    bool first = true;

    expect(s, 1);
    f->topk = (hps_topk){0};
    for (int batch = 0; batch < 7; batch++) {
        set(s, f);
        CHECK(hps_forward_select(f, TOKENS, &pick) == HPS_OK);
        check_slots(&f->slots);
        if (first) {
            check_counts(f, &f->topk, share);
        }
        first = false;
    }
    CHECK(f->topk.doubtful * 16 <= TOKENS && f->topk.share >= share && f->topk.share <= K);
}

static void run(const scenario *s, const hps_grid *grid, const hps_kernels *kernels)
{
    const hps_forward_options options = {.B = TOKENS, .k_max = K, .k = K, .rules = 1u << HPS_PICK_TOPK, .threads = 2};
    hps_model *model;
    hps_forward *f;

    CHECK(hps_model_create(grid, N, D, K, 1u << HPS_VALUE, &model) == HPS_OK);
    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    f->piece = 32;
    f->again.capacity = 30; /* so that many take several rounds */
    set(s, f);
    check_shares(s, f);
    check_growth(s, f);
    hps_forward_destroy(&f);
    hps_model_destroy(&model);
}

static void check_first_shares(void)
{
    for (int64_t k = 1; k < 300; k++) {
        for (int P = 1; P < 40; P++) {
            const int64_t share = hps_topk_share(k, P);
            CHECK(share >= 1 && share <= k && share * P >= k && (P > 1 || share == k));
        }
    }
    CHECK(hps_topk_share(64, 16) < 16);
}

int main(int argc, char **argv)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    hps_grid grid;

    MPI_Init(&argc, &argv);
    check_first_shares();
    tap_case("shares to begin with");
    int count = hps_kernels_all(all);
    if (hps_kernels_device() != NULL) { /* which all ranks share */
        all[count++] = hps_kernels_device();
        hps_memory_use(all[count - 1]->memory);
    }
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
