/*
 * Candidate lists that are merged piece by piece, while others are still to come, become what one reduction over the whole
 * batch makes of them, ties and empty places included; a selection in pieces is the selection of the whole.
 *
 * ranks: 1 2 3 5
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/merge.h"
#include "hpsae/comm/merge_pieces.h"
#include "hpsae/model/forward.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 97, K = 9, GUARD = 8 };

static int rank, ranks;

static int by_order(const void *a, const void *b)
{
    const hps_candidate *x = a, *y = b;

    return hps_before(*x, *y) ? -1 : hps_before(*y, *x);
}

/* Sorted lists with few different values, so that ties are common; some ranks have fewer candidates than k. */
static void fill(int64_t B, int64_t k, uint64_t draw, hps_candidate *top)
{
    for (int64_t t = 0; t < B; t++) {
        for (int64_t s = 0; s < k; s++) {
            const uint64_t bits = hps_random_u64(draw, HPS_DRAW_TEST, (uint64_t)(t * k + s), (uint64_t)rank);
            top[t * k + s] = bits % 5 == 0 ? HPS_NO_CANDIDATE
                                           : (hps_candidate){(float)(bits % 7), (int32_t)((s * ranks + rank) % 1000)};
        }
        qsort(top + t * k, (size_t)k, sizeof(*top), by_order);
    }
}

static void check_lists(hps_merge_pieces *m, int64_t B, int64_t k, int pieces)
{
    static hps_candidate whole[MOST * K], parts[MOST * K], room[8 * MOST * K + GUARD];
    const int64_t most = (B + pieces - 1) / pieces, needed = hps_merge_room(ranks, most, k);
    hps_merge merge;

    fill(B, k, (uint64_t)(B + pieces), whole);
    memcpy(parts, whole, sizeof(whole));
    hps_merge_create(k, &merge);
    hps_merge_all(MPI_COMM_WORLD, &merge, B, whole);
    hps_merge_destroy(&merge);

    CHECK(needed <= 8 * MOST * K);
    memset(room + needed, 0x5a, GUARD * sizeof(*room));
    hps_merge_pieces_begin(m, MPI_COMM_WORLD, k, k, room);
    for (int j = 0; j < pieces; j++) {
        const int64_t first = B * j / pieces;
        hps_merge_pieces_add(m, B * (j + 1) / pieces - first, parts + first * k);
    }
    hps_merge_pieces_finish(m);
    CHECK(memcmp(parts, whole, (size_t)(B * k) * sizeof(*whole)) == 0);
    for (size_t i = 0; i < GUARD * sizeof(*room); i++) {
        CHECK(((const char *)(room + needed))[i] == 0x5a);
    }
}

static void check_selection(const hps_grid *grid, const hps_kernels *kernels)
{
    enum { N = 300, D = 40 };
    const hps_forward_options options = {.B = MOST, .k_max = K, .k = K, .rules = 1u << HPS_PICK_TOPK, .threads = 2};
    static hps_candidate slot[MOST * K];
    int32_t first[MOST + 1];
    hps_model *model;
    hps_forward *f;

    CHECK(hps_model_create(grid, N, D, K, 1u << HPS_VALUE, &model) == HPS_OK);
    for (int64_t l = 0; l < model->shard.own; l++) {
        for (int64_t j = 0; j < D; j++) {
            const uint64_t latent = (uint64_t)hps_shard_latent(&model->shard, l);
            model->role[HPS_VALUE].W_enc[l * model->lde + j] =
                (float)hps_random_normal(1, HPS_DRAW_TEST, latent, (uint64_t)j);
        }
    }
    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    const hps_pick pick = hps_pick_in_use(model);
    const int64_t sizes[] = {2 * MOST, MOST, 40, 10, 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int64_t t = 0; t < MOST; t++) {
            for (int64_t j = 0; j < D; j++) {
                f->y[t * model->lde + j] = (float)hps_random_normal(2, HPS_DRAW_TEST, (uint64_t)t, (uint64_t)j);
            }
        }
        f->piece = sizes[i];
        CHECK(hps_forward_select(f, MOST, &pick) == HPS_OK);
        if (i == 0) {
            memcpy(first, f->slots.first, sizeof(first));
            memcpy(slot, f->slots.slot, sizeof(slot));
        }
        CHECK(first[MOST] > MOST && memcmp(first, f->slots.first, sizeof(first)) == 0);
        CHECK(memcmp(slot, f->slots.slot, (size_t)first[MOST] * sizeof(*slot)) == 0);
    }
    hps_forward_destroy(&f);
    hps_model_destroy(&model);
}

int main(int argc, char **argv)
{
    static const int64_t batches[] = {1, 2, 3, 5, 32, MOST};
    const hps_kernels *all[HPS_KERNELS_MAX];
    hps_merge_pieces m;
    hps_grid grid;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    CHECK(hps_merge_pieces_create(ranks, 2, &m) == HPS_OK);
    for (size_t b = 0; b < sizeof(batches) / sizeof(batches[0]); b++) {
        for (int pieces = 1; pieces <= 7; pieces++) {
            check_lists(&m, batches[b], K, pieces);
            check_lists(&m, batches[b], 1, pieces);
        }
    }
    hps_merge_pieces_destroy(&m);
    tap_case("lists in pieces");

    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    const int count = hps_kernels_all(all);
    for (int c = 0; c < count; c++) {
        check_selection(&grid, all[c]);
    }
    tap_case("a selection in pieces");
    hps_grid_destroy(&grid);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
