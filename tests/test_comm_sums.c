/*
 * Sums of partials are the same bits however the partials are dealt to the ranks, close to the exact sum, infinite when a
 * partial is not finite, and bring the flags' maxima.
 *
 * ranks: 1 2 3 5
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/sums.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { COUNT = 1000, WIDTH = 7 };

static double partial(int64_t i)
{
    return hps_random_normal(3, HPS_DRAW_TEST, 0, (uint64_t)i) * hps_exp((double)(i % 40) - 20);
}

/* This rank's partials, dealt in blocks or one by one, to reversed ranks or not. */
static int64_t deal(int way, int rank, int ranks, int64_t width, double *mine)
{
    int64_t count = 0;

    for (int64_t i = 0; i < COUNT; i++) {
        const int64_t owner = way == 0 ? i * ranks / COUNT : way == 1 ? i % ranks : ranks - 1 - i % ranks;
        for (int64_t j = 0; owner == rank && j < width; j++) {
            mine[count * width + j] = partial(i * width + j);
        }
        count += owner == rank;
    }
    return count;
}

static void sums_do_not_depend_on_the_dealing(int rank, int ranks)
{
    static double mine[COUNT * WIDTH];
    double expected = 0, sum[3], rows[3][WIDTH], alone[WIDTH];

    for (int64_t i = 0; i < COUNT; i++) {
        expected += partial(i);
    }
    for (int way = 0; way < 3; way++) {
        const hps_partials group = {mine, deal(way, rank, ranks, 1, mine), COUNT};
        hps_sum_partials(MPI_COMM_WORLD, 1, &group, &sum[way], 0, NULL);
        const int64_t blocks = deal(way, rank, ranks, WIDTH, mine);
        CHECK(hps_sum_rows(MPI_COMM_WORLD, blocks, COUNT, WIDTH, mine, rows[way]) == HPS_OK);
        CHECK(sum[way] == sum[0] && memcmp(rows[way], rows[0], sizeof(rows[0])) == 0);
    }
    CHECK(fabs(sum[0] - expected) <= 1e-9 * fabs(expected));
    const hps_partials whole = {mine, deal(0, 0, 1, 1, mine), COUNT};
    hps_sum_partials(MPI_COMM_SELF, 1, &whole, alone, 0, NULL);
    CHECK(alone[0] == sum[0]);
    (void)deal(0, 0, 1, WIDTH, mine);
    CHECK(hps_sum_rows(MPI_COMM_SELF, COUNT, COUNT, WIDTH, mine, alone) == HPS_OK);
    CHECK(memcmp(alone, rows[0], sizeof(rows[0])) == 0);
    tap_case("any dealing to any number of ranks gives the same bits");
}

static void what_is_not_finite_shows(int rank, int ranks)
{
    const double bad[] = {NAN, HUGE_VAL, -HUGE_VAL};
    double sum[2], flag = (double)(rank + 1);

    for (int i = 0; i < 3; i++) {
        const double mine[2] = {1, rank == ranks - 1 ? bad[i] : 2};
        const hps_partials group[2] = {{mine, 2, 2 * ranks}, {mine, 1, ranks}};
        hps_sum_partials(MPI_COMM_WORLD, 2, group, sum, 1, &flag);
        CHECK(sum[0] == HUGE_VAL && sum[1] == (double)ranks);
        CHECK(flag == (double)ranks);
    }
    tap_case("a NaN or infinity on one rank shows on all, beside a finite sum");
}

static void nothing_sums_to_zero(void)
{
    const hps_partials group[2] = {{NULL, 0, 0}, {NULL, 0, 10}};
    double sum[2] = {1, 1};

    hps_sum_partials(MPI_COMM_WORLD, 2, group, sum, 0, NULL);
    CHECK(sum[0] == 0 && sum[1] == 0);
    tap_case("no partials sum to zero");
}

int main(int argc, char **argv)
{
    int rank, ranks;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    sums_do_not_depend_on_the_dealing(rank, ranks);
    what_is_not_finite_shows(rank, ranks);
    nothing_sums_to_zero();
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
