/*
 * Sums over data groups are those of a loop in the order of the groups, bit for bit, however many groups there are and
 * however a matrix is cut into chunks; every row is made once and used once, after all that came before it.
 *
 * ranks: 1 2 3 6
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/groups.h"
#include "tap.h"

#include <math.h>
#include <string.h>

/* Numbers of very different sizes, so that another order would round otherwise. */
static double number(int group, int64_t i)
{
    const double x = hps_random_normal(3, HPS_DRAW_TEST, (uint64_t)group, (uint64_t)i);

    return ldexp(x, (int)((i + group) % 23) - 11);
}

static float sum_of(int groups, int64_t i)
{
    float sum = (float)number(0, i);

    for (int g = 1; g < groups; g++) {
        sum += (float)number(g, i);
    }
    return sum;
}

typedef struct {
    int rank, groups;
    int64_t ld, made, used;
} matrix;

static void make(void *context, int64_t first, int64_t count, float *values)
{
    matrix *m = context;

    CHECK(first == m->made);
    m->made += count;
    for (int64_t i = 0; i < count * m->ld; i++) {
        values[i] = (float)number(m->rank, first * m->ld + i);
    }
}

static void use(void *context, int64_t first, int64_t count, const float *values)
{
    matrix *m = context;

    CHECK(first == m->used);
    m->used += count;
    for (int64_t i = 0; i < count * m->ld; i++) {
        const float sum = sum_of(m->groups, first * m->ld + i);
        CHECK(memcmp(&values[i], &sum, sizeof(sum)) == 0);
    }
}

static void check_rows(hps_group_sums *sums, int64_t rows, int64_t ld, int64_t step, int pieces)
{
    matrix m = {sums->r, sums->R, ld, 0, 0};
    const hps_group_rows all = {rows, ld, step, pieces, &m, make, use};

    hps_group_sums_rows(sums, &all);
    CHECK(m.made == (ld > 0 ? rows : 0) && m.used == m.made);
}

static void check_vectors(hps_group_sums *sums)
{
    enum { COUNT = 1000 };
    static float values[COUNT];
    static double exact[COUNT];

    for (int64_t i = 0; i < COUNT; i++) {
        exact[i] = number(sums->r, i);
        values[i] = (float)exact[i];
    }
    hps_group_sums_floats(sums, COUNT, values);
    hps_group_sums_doubles(sums, COUNT, exact);
    for (int64_t i = 0; i < COUNT; i++) {
        double sum = number(0, i);
        for (int g = 1; g < sums->R; g++) {
            sum += number(g, i);
        }
        CHECK(values[i] == sum_of(sums->R, i) && exact[i] == sum);
    }
}

static void check_room(void)
{
    for (int64_t rows = 1; rows < 3000; rows += 1 + rows / 3) {
        for (int64_t ld = 16; ld < 2000; ld += 16) {
            const int64_t room = hps_group_rows_room(rows, ld, 32, 4096);
            for (int64_t shorter = 16; shorter <= ld; shorter += 16) {
                const int64_t step = hps_group_rows_step(rows, shorter, 32, 4096);
                CHECK(step % 32 == 0 && step > 0 && step * shorter <= room);
            }
        }
    }
}

int main(int argc, char **argv)
{
    hps_group_sums *sums;
    int ranks, rank;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int64_t capacity = 1; capacity <= 5000; capacity = 7 * capacity + 3) {
        CHECK(hps_group_sums_create(MPI_COMM_WORLD, ranks, rank, capacity, &sums) == HPS_OK);
        check_vectors(sums);
        for (int64_t rows = 0; rows < 40; rows += 1 + rows / 2) {
            for (int64_t step = 1; step * 7 <= capacity && step < 30; step = 2 * step + 1) {
                check_rows(sums, rows, 7, step, 1 + (int)(step % 5));
            }
        }
        check_rows(sums, 20, 0, 4, 2);
        hps_group_sums_destroy(&sums);
    }
    tap_case("sums in the order of the groups");
    check_room();
    tap_case("a chunk fits the room that is made for it");
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
