/*
 * Ranks that bring only a share of k candidates still find the k best, on every backend and with every share from one
 * candidate on: all winners on one rank, ties across ranks, winners in clusters, among listed rows too.  A token is encoded
 * again exactly when a rank's whole share is among the best of all shares, and by those ranks alone; the share follows what is needed.
 *
 * ranks: 2 3 5
 */
#include "hpsae/base/memory.h"
#include "selection_cases.h"
#include "tap.h"

#include <string.h>

enum { K = 24, RANKS = 8 };

static const scenario scenarios[] = {
    {"random data", K, random_weight, no_bias, integer_input},
    {"all winners on one rank", K, random_weight, first_block_bias, integer_input},
    {"winners in clusters", K, cluster_weight, no_bias, integer_input},
    {"ties across ranks", K, tied_weight, no_bias, integer_input},
    {"all values equal", K, zero_weight, one_bias, integer_input},
    {"fewer positive values than k", K, random_weight, few_positive_bias, integer_input},
};

/* How many of each rank's first `share` are among the k best of them all. */
static void winners(const hps_candidate sorted[N], int64_t share, int P, int64_t won[RANKS])
{
    int64_t seen[RANKS] = {0}, taken = 0;

    memset(won, 0, RANKS * sizeof(*won));
    for (int64_t q = 0; taken < K && q < N && sorted[q].value > 0; q++) {
        const int64_t p = sorted[q].latent / HPS_BLOCK % P;
        if (seen[p]++ < share) {
            won[p]++;
            taken++;
        }
    }
}

static void check_counts(const hps_forward *f, const hps_candidate sorted[TOKENS][N], const hps_topk *topk,
                         int64_t share)
{
    const hps_shard *shard = &f->model->shard;
    int64_t doubtful = 0, again = 0;

    for (int64_t t = 0; share < K && t < TOKENS; t++) {
        int64_t won[RANKS];
        bool any = false;
        winners(sorted[t], share, shard->P, won);
        for (int p = 0; p < shard->P; p++) {
            any |= won[p] == share;
        }
        doubtful += any;
        again += won[shard->p] == share;
    }
    CHECK(topk->doubtful == doubtful && topk->again == again);
}

/* Every share, among all latents and among every third. */
static void check_shares(hps_forward *f)
{
    int32_t *list; /* which a device must reach */

    CHECK(HPS_ALLOC(&list, N, "t") == HPS_OK);
    const int64_t count = list_third(f, list);
    for (int listed = 0; listed < 2; listed++) {
        const hps_topk_rows rows = {listed ? count : 0, listed ? list : NULL};
        const hps_candidate(*sorted)[N] = listed ? the.third : the.all;
        for (int64_t share = 1; share <= K; share += share < 4 ? 1 : 4) {
            hps_topk topk = {.k = K, .share = share};
            hps_topk_select(f, &rows, TOKENS, K, &topk, &f->slots, f->z_sum);
            CHECK(wrong_slots(sorted, K, &f->slots) == 0);
            check_counts(f, sorted, &topk, share);
        }
    }
    HPS_FREE(&list);
}

/* What training does: the share begins as it is guessed, and grows until few tokens are in doubt. */
static void check_growth(hps_forward *f)
{
    const hps_pick pick = {.rule = HPS_PICK_TOPK, .k = K};
    const int64_t share = hps_topk_share(K, f->grid->P);
    bool first = true;

    f->topk = (hps_topk){0};
    for (int batch = 0; batch < 7; batch++) {
        set_case(f);
        CHECK(hps_forward_select(f, TOKENS, &pick) == HPS_OK);
        CHECK(wrong_slots(the.all, K, &f->slots) == 0);
        if (first) {
            check_counts(f, the.all, &f->topk, share);
        }
        first = false;
    }
    CHECK(f->topk.doubtful * 16 <= TOKENS && f->topk.share >= share && f->topk.share <= K);
}

static void run(const hps_grid *grid, const hps_kernels *kernels)
{
    const hps_forward_options options = {.B = TOKENS, .k_max = K, .k = K, .rules = 1u << HPS_PICK_TOPK, .threads = 2};
    hps_model *model;
    hps_forward *f;

    CHECK(hps_model_create(grid, N, D, K, 1u << HPS_VALUE, &model) == HPS_OK);
    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    f->piece = 32;
    f->again.capacity = 30; /* so that many take several rounds */
    set_case(f);
    check_shares(f);
    check_growth(f);
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
        work_out(&scenarios[i]);
        for (int c = 0; c < count; c++) {
            run(&grid, all[c]);
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
