/*
 * A store's statistics are the same bits for any size of slabs, any number of ranks and any pieces in which rows are
 * added, and agree with plain sums in long double (which valgrind has no wider than double).
 *
 * ranks: 1 2 3
 */
#include "../src/store/statistics.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 5 };

static float *rows_of(int64_t rows)
{
    float *x = malloc((size_t)(rows * D) * sizeof(float));

    for (int64_t i = 0; i < rows * D; i++) {
        x[i] = (float)(hps_random_normal(3, HPS_DRAW_TEST, 0, (uint64_t)i) * (double)(1 + i % D) + (double)(i % 3));
    }
    return x;
}

/* mean and mean square behind one another. */
static void compute(MPI_Comm comm, const float *x, int64_t rows, int64_t slab_rows, int64_t piece, double out[D + 1])
{
    hps_statistics s;

    CHECK(hps_statistics_create(comm, rows, D, HPS_F32, slab_rows, &s) == HPS_OK);
    for (int64_t slab = s.rank; slab < s.slabs; slab += s.size) {
        const int64_t first = slab * slab_rows, end = first + slab_rows < rows ? first + slab_rows : rows;
        hps_statistics_begin(&s, slab);
        for (int64_t row = first; row < end; row += piece) {
            hps_statistics_add(&s, end - row < piece ? end - row : piece, x + row * D);
        }
        hps_statistics_end(&s);
    }
    hps_statistics_finish(comm, &s, out, out + D);
    hps_statistics_free(&s);
}

static void agrees(const float *x, int64_t rows, const double *found)
{
    long double square = 0;

    for (int c = 0; c < D; c++) {
        long double sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            sum += (long double)x[r * D + c];
            square += (long double)x[r * D + c] * (long double)x[r * D + c];
        }
        CHECK(fabsl((long double)found[c] - sum / rows) < 1e-14L * (long double)rows);
    }
    CHECK(fabsl((long double)found[D] * rows / square - 1) < 1e-12L);
}

static void same_bits(int64_t rows)
{
    static const int64_t pieces[] = {1, 100, 256, 1000};
    double reference[D + 1] = {0}, found[D + 1] = {0};
    float *x = rows_of(rows);
    int rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    compute(MPI_COMM_SELF, x, rows, (int64_t)256 << 20, 77, reference);
    agrees(x, rows, reference);
    for (int shift = 0; shift < 6; shift++) {
        for (int i = 0; i < 4; i++) {
            compute(MPI_COMM_WORLD, x, rows, (int64_t)256 << shift, pieces[i], found);
            CHECK(rank != 0 || memcmp(found, reference, sizeof(found)) == 0);
        }
    }
    free(x);
    tap_case("the same bits in any slabs");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    same_bits(1);
    same_bits(256);
    same_bits(257);
    same_bits(1023);
    same_bits(2048);
    same_bits(5000);
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");
    tap_done();
    MPI_Finalize();
    return 0;
}
