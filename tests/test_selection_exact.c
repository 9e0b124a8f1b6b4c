/*
 * The distributed top k is that of a full sort on one process, on every backend: random data, ties across ranks, zeros,
 * no positive value, fewer positive values than k, k = n, all winners on one rank, denormals, an AuxK-like subset.
 *
 * ranks: 1 2 3 4
 */
#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"
#include "selection_cases.h"
#include "tap.h"

static const scenario scenarios[] = {
    {"random data", 16, random_weight, random_bias, random_input},
    {"equal values on different ranks", 50, tied_weight, no_bias, integer_input},
    {"all values zero", 40, random_weight, no_bias, zero_input},
    {"all values negative, with ties", 9, tied_weight, negative_bias, integer_input},
    {"fewer positive values than k", 20, random_weight, few_positive_bias, random_input},
    {"k = n", N, random_weight, random_bias, random_input},
    {"k = 1", 1, random_weight, random_bias, random_input},
    {"all winners on one rank", 30, random_weight, first_block_bias, random_input},
    {"denormals", 12, tiny_weight, no_bias, random_input},
};

/* Candidates among every third latent, whatever their sign. */
static void check_subset(const scenario *s, hps_forward *f, int32_t *rows, hps_candidate *top)
{
    hps_merge merge;
    const int64_t count = list_third(f, rows);

    f->kernels->encode(f->ws, &f->encoder, count, rows, TOKENS, f->model->lde, f->y, s->k, top);
    hps_merge_create(s->k, &merge);
    hps_merge_all(f->grid->model, &merge, TOKENS, top);
    hps_merge_destroy(&merge);
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t q = 0; q < s->k; q++) {
            const hps_candidate found = top[t * s->k + q], wanted = the.third[t][q];
            CHECK(found.latent == wanted.latent && found.value == wanted.value);
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
    const hps_forward_options options = {
        .B = TOKENS, .k_max = s->k, .k = s->k, .rules = 1u << HPS_PICK_TOPK, .threads = 2};
    const hps_pick pick = hps_pick_in_use(model);
    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    HPS_ALLOC(&rows, N, "rows");
    HPS_ALLOC(&top, TOKENS * s->k, "top");
    set_case(f);
    CHECK(hps_forward_select(f, TOKENS, &pick) == HPS_OK);
    CHECK(wrong_slots(the.all, s->k, &f->slots) == 0);
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
        work_out(&scenarios[i]);
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
