/*
 * The step loop allocates nothing, with any selection and objective, AuxK, the clip and data groups included; a trainer gives back all
 * that it took.
 *
 * ranks: 1 3 4
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/step.h"
#include "tap.h"

enum { N = 200, D = 70, TOKENS = 64, STEPS = 6 };

/* The group's tokens of a batch. */
static void set_batch(const hps_grid *grid, float *x, int64_t ld, int64_t step)
{
    const int64_t mine = TOKENS / grid->R * D;

    for (int64_t i = 0; i < mine; i++) {
        x[i / D * ld + i % D] =
            (float)hps_random_normal(2, HPS_DRAW_TEST, (uint64_t)step, (uint64_t)(grid->r * mine + i));
    }
}

/* Unit decoder rows along the axes; encoder rows the same. */
static void set_model(hps_model *m)
{
    for (int64_t i = 0; i < N; i++) {
        const int64_t column = i % D, l = hps_shard_local(&m->shard, i);
        if (column >= m->shard.c0 && column < m->shard.c1) {
            m->role[HPS_VALUE].W_dec[i * m->ldd + column - m->shard.c0] = 1;
        }
        if (l >= 0) {
            m->role[HPS_VALUE].W_enc[l * m->lde + column] = 1;
        }
    }
}

typedef struct {
    hps_pick_rule rule;
    hps_objective objective;
    double clip;
} variant;

static const variant variants[] = {{HPS_PICK_TOPK, HPS_OBJECTIVE_PLAIN, 0},
                                   {HPS_PICK_TOPK, HPS_OBJECTIVE_HIERARCHICAL, 1e-3},
                                   {HPS_PICK_TOPK, HPS_OBJECTIVE_MULTI_TOPK, 0},
                                   {HPS_PICK_BATCH, HPS_OBJECTIVE_PLAIN, 1e-3},
                                   {HPS_PICK_BATCH, HPS_OBJECTIVE_MATRYOSHKA, 0},
                                   {HPS_PICK_GRADIENT, HPS_OBJECTIVE_PLAIN, 0},
                                   {HPS_PICK_GRADIENT, HPS_OBJECTIVE_MATRYOSHKA, 1e-3}};

static void run(const hps_grid *grid, const hps_kernels *kernels, const variant *v)
{
    const hps_step_options options = {
        .B = TOKENS,
        .V = D,
        .rule = v->rule,
        .alpha = 1,
        .beta = 1,
        .nest = {.objective = v->objective, .n = N, .k_max = 4, .factor = 4, .weight = 0.125},
        .aux_k = 16,
        .aux_coefficient = 0.03125,
        .dead_tokens = TOKENS,
        .lr = 1e-3,
        .steps = STEPS,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-9,
        .clip = v->clip,
        .threads = 2};
    const unsigned roles = 1u << HPS_VALUE | 1u << HPS_MOMENT1 | 1u << HPS_MOMENT2;
    hps_step_report report = {0};
    hps_trainer *trainer;
    hps_model *model;
    double flag = 0;
    int64_t before = 0, with_aux = 0;

    CHECK(hps_model_create(grid, N, D, 4, roles, &model) == HPS_OK);
    set_model(model);
    CHECK(hps_trainer_create(grid, kernels, model, &options, &trainer) == HPS_OK);
    for (int64_t step = 0; step < STEPS; step++) {
        before = step == 0 ? hps_memory_allocations() : before;
        set_batch(grid, hps_trainer_forward(trainer)->y, model->lde, step);
        if (v->rule == HPS_PICK_GRADIENT) {
            set_batch(grid, hps_trainer_forward(trainer)->g, model->lde, STEPS + step);
        }
        CHECK(hps_trainer_step(trainer, &flag, &report) == HPS_OK);
        with_aux += report.aux_fvu > 0;
    }
    CHECK(hps_memory_allocations() == before);
    CHECK(with_aux > 0 && report.fvu > 0 && report.grad_norm > 0);
    hps_trainer_destroy(&trainer);
    hps_model_destroy(&model);
}

int main(int argc, char **argv)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    hps_grid grid;
    int ranks;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int count = hps_kernels_all(all);
    const int some = count - 1; /* of those, with data groups */
    if (hps_kernels_device() != NULL) {
        all[count++] = hps_kernels_device();
        hps_memory_use(all[count - 1]->memory);
    }
    for (int groups = 1; groups <= ranks; groups *= 2) {
        if (ranks % groups != 0) {
            break;
        }
        CHECK(hps_grid_create(MPI_COMM_WORLD, groups, &grid) == HPS_OK);
        for (int c = groups == 1 ? 0 : some; c < count; c++) {
            for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++) {
                run(&grid, all[c], &variants[v]);
            }
        }
        hps_grid_destroy(&grid);
    }
    tap_case("no allocation in the step loop");
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
