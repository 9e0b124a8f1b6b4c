/*
 * The checksum of a model is the same on any number of ranks and threads, whatever stands in the padding, and changes
 * with any one bit, with two rows or columns exchanged, and with a copy of b that went astray on one rank.
 *
 * ranks: 1 2 3 4 7
 */
#include "hpsae/base/memory.h"
#include "model_fixture.h"
#include "tap.h"

#include <omp.h>

enum { N = 283, D = 61, K = 5, SEED = 7 };

static hps_model *filled(const hps_grid *grid, unsigned roles)
{
    hps_model *model = NULL;

    CHECK(hps_model_create(grid, N, D, K, roles, &model) == HPS_OK);
    fixture_fill(model, SEED);
    return model;
}

static void layouts_agree(const hps_grid *grid, const hps_grid *alone)
{
    hps_model *shared = filled(grid, ALL_ROLES), *whole = filled(alone, ALL_ROLES);
    const hps_checksum one = hps_model_checksum(MPI_COMM_SELF, whole);

    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        const hps_checksum sum = hps_model_checksum(grid->model, shared);
        CHECK(sum.values == one.values && sum.state == one.state);
    }
    omp_set_num_threads(1);
    CHECK(one.values != one.state);
    whole->step++;
    CHECK(hps_model_checksum(MPI_COMM_SELF, whole).state != one.state);
    hps_model_destroy(&shared);
    hps_model_destroy(&whole);
    tap_case("the same checksum on one rank and on all, on 1 to 3 threads");
}

/* Flips bits of a whole model on one rank, one at a time: each must show. */
static void every_bit_shows(const hps_grid *alone)
{
    hps_model *model = filled(alone, ALL_ROLES);
    const hps_checksum before = hps_model_checksum(MPI_COMM_SELF, model);
    int unseen = 0;

    for (uint64_t trial = 0; trial < 200; trial++) {
        const uint64_t draw = hps_random_u64(SEED, HPS_DRAW_TEST, 2, trial);
        const hps_role role = (hps_role)(draw % HPS_ROLES);
        const hps_tensor tensor = (hps_tensor)(draw / 8 % HPS_TENSORS);
        const hps_tensor_layout layout = hps_model_layout(model, tensor);
        const int64_t row = (int64_t)(draw >> 10) % layout.rows, column = (int64_t)(draw >> 32) % layout.width;
        float *value = hps_model_tensor(model, role, tensor) + row * layout.ld + column;
        uint32_t bits;

        memcpy(&bits, value, sizeof(bits));
        bits ^= UINT32_C(1) << (draw >> 5 & 31);
        memcpy(value, &bits, sizeof(bits));
        const hps_checksum after = hps_model_checksum(MPI_COMM_SELF, model);
        unseen += after.state == before.state || (role == HPS_VALUE) != (after.values != before.values);
        bits ^= UINT32_C(1) << (draw >> 5 & 31);
        memcpy(value, &bits, sizeof(bits));
    }
    CHECK(unseen == 0);
    CHECK(hps_model_checksum(MPI_COMM_SELF, model).state == before.state);
    hps_model_destroy(&model);
    tap_case("any one flipped bit changes it");
}

/* Of a model that selects otherwise than TopK every number of the selection shows, in the state alone. */
static void selections_show(const hps_grid *alone)
{
    hps_model *model = filled(alone, 1u << HPS_VALUE);
    hps_checksum sum[6];

    sum[0] = hps_model_checksum(MPI_COMM_SELF, model);
    model->select = HPS_SELECT_BATCH_TOPK;
    sum[1] = hps_model_checksum(MPI_COMM_SELF, model);
    model->threshold = 0.5;
    sum[2] = hps_model_checksum(MPI_COMM_SELF, model);
    model->prefixes = 2;
    model->prefix[0] = 8;
    model->prefix[1] = N;
    sum[3] = hps_model_checksum(MPI_COMM_SELF, model);
    model->prefix[0] = 9;
    sum[4] = hps_model_checksum(MPI_COMM_SELF, model);
    model->beta = 2;
    sum[5] = hps_model_checksum(MPI_COMM_SELF, model);
    for (int i = 0; i < 6; i++) {
        CHECK(sum[i].values == sum[0].values);
        for (int j = 0; j < i; j++) {
            CHECK(sum[i].state != sum[j].state);
        }
    }
    hps_model_destroy(&model);
    tap_case("rule, threshold, weights and nested sizes change the checksum of the state");
}

static void swap(float *a, float *b)
{
    const float kept = *a;

    *a = *b;
    *b = kept;
}

static void exchanges_show(const hps_grid *alone)
{
    hps_model *model = filled(alone, 1u << HPS_VALUE);
    const uint64_t before = hps_model_checksum(MPI_COMM_SELF, model).values;
    float *W = model->role[HPS_VALUE].W_dec;

    for (int64_t c = 0; c < D; c++) {
        swap(&W[3 * model->ldd + c], &W[200 * model->ldd + c]);
    }
    CHECK(hps_model_checksum(MPI_COMM_SELF, model).values != before);
    for (int64_t c = 0; c < D; c++) {
        swap(&W[3 * model->ldd + c], &W[200 * model->ldd + c]);
    }
    for (int64_t i = 0; i < N; i++) {
        swap(&W[i * model->ldd + 2], &W[i * model->ldd + 59]);
    }
    CHECK(hps_model_checksum(MPI_COMM_SELF, model).values != before);
    hps_model_destroy(&model);
    tap_case("exchanged rows and exchanged columns change it");
}

static void stray_copies_show(const hps_grid *grid)
{
    hps_model *model = filled(grid, 1u << HPS_VALUE | 1u << HPS_MOMENT1);
    const hps_checksum before = hps_model_checksum(grid->model, model);

    if (grid->p == grid->P - 1 && grid->P <= 2) {
        model->role[HPS_VALUE].b[HPS_BLOCK * grid->p + 1] += 1;
    } else if (grid->p == grid->P - 1) {
        model->fired[HPS_BLOCK * grid->p + 1] += 1;
    }
    CHECK(hps_model_checksum(grid->model, model).state != before.state);
    hps_model_destroy(&model);
    tap_case("a copy that went astray on one rank changes it");
}

static void memory_is_as_stated(const hps_grid *grid)
{
    const int64_t before = hps_memory_live(), arrays = hps_memory_arrays();
    hps_model *model = filled(grid, ALL_ROLES);
    const int64_t extra = hps_memory_live() - before - hps_model_bytes(&model->shard, ALL_ROLES);

    CHECK(extra >= 0 && extra <= 128 * (hps_memory_arrays() - arrays) + (int64_t)sizeof(hps_model));
    hps_model_destroy(&model);
    CHECK(model == NULL && hps_memory_live() == before && hps_memory_arrays() == arrays);
    CHECK(hps_model_create(grid, N, D, N + 1, 1u, &model) == HPS_ECONFIG && model == NULL);
    CHECK(hps_model_create(grid, INT64_C(2000000000), INT64_C(2000000000), 1, ALL_ROLES, &model) == HPS_ENOMEM);
    CHECK(model == NULL && hps_memory_live() == before);
    tap_case("memory is what hps_model_bytes says, and is given back");
}

int main(int argc, char **argv)
{
    hps_grid grid, alone;

    MPI_Init(&argc, &argv);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_grid_create(MPI_COMM_SELF, 1, &alone) == HPS_OK);
    layouts_agree(&grid, &alone);
    every_bit_shows(&alone);
    selections_show(&alone);
    exchanges_show(&alone);
    stray_copies_show(&grid);
    memory_is_as_stated(&grid);
    hps_grid_destroy(&alone);
    hps_grid_destroy(&grid);
    tap_done();
    MPI_Finalize();
    return 0;
}
