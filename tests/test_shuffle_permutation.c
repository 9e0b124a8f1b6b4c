/*
 * The permutation of the shuffle is one, for any number of rows; its two directions agree; seeds give different ones;
 * and places are uniform and independent as far as chi-squared tests see (seeds are fixed: it passes or fails for ever).
 *
 * ranks: 1
 */
#include "../src/store/permutation.h"
#include "hpsae/base/status.h"
#include "tap.h"

#include <stdlib.h>

static void is_permutation(int64_t rows, uint64_t seed)
{
    hps_permutation p;
    char *seen = calloc((size_t)rows, 1);
    int64_t wrong = 0;

    hps_permutation_create(seed, rows, &p);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t place = hps_permutation_place(&p, row);
        if (place < 0 || place >= rows || seen[place] || hps_permutation_row(&p, place) != row) {
            wrong++;
        } else {
            seen[place] = 1;
        }
    }
    CHECK(wrong == 0);
    free(seen);
}

static void large_numbers(void)
{
    const int64_t rows = ((int64_t)1 << 61) + 12345;
    hps_permutation p;

    hps_permutation_create(5, rows, &p);
    for (int64_t row = 0; row < rows - (rows >> 10); row += rows >> 10) {
        const int64_t place = hps_permutation_place(&p, row);
        CHECK(place >= 0 && place < rows && hps_permutation_row(&p, place) == row);
    }
    tap_case("2^61 rows");
}

/* All orders of `rows` rows, over many seeds, each as often as the others: chi-squared below its 99.9th percentile. */
static void orders_alike(int64_t rows, int orders, double limit)
{
    enum { SEEDS = 24000 };
    int64_t count[24] = {0};
    double chi = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        hps_permutation p;
        int code = 0;
        hps_permutation_create(seed, rows, &p);
        for (int64_t a = 0; a < rows; a++) {
            int smaller = 0;
            for (int64_t b = a + 1; b < rows; b++) {
                smaller += hps_permutation_place(&p, b) < hps_permutation_place(&p, a) ? 1 : 0;
            }
            code = code * (int)(rows - a) + smaller;
        }
        count[code]++;
    }
    for (int i = 0; i < orders; i++) {
        const double expected = (double)SEEDS / orders, off = (double)count[i] - expected;
        chi += off * off / expected;
    }
    CHECK(chi < limit);
    tap_case("every order of a few rows is as likely");
}

/* Row r and its neighbour fall into a 16 x 16 table of places: 255 degrees of freedom, 99.9th percentile 331. */
static void neighbours_independent(int64_t rows)
{
    double count[256] = {0}, chi = 0;
    hps_permutation p;

    hps_permutation_create(1, rows, &p);
    for (int64_t row = 0; row + 1 < rows; row += 2) {
        const int64_t a = hps_permutation_place(&p, row) * 16 / rows,
                      b = hps_permutation_place(&p, row + 1) * 16 / rows;
        count[a * 16 + b]++;
    }
    const int64_t pairs = rows / 2;
    for (int i = 0; i < 256; i++) {
        const double expected = (double)pairs / 256;
        chi += (count[i] - expected) * (count[i] - expected) / expected;
    }
    CHECK(chi < 331);
    tap_case("neighbours go to independent places");
}

static void seeds_differ(void)
{
    enum { ROWS = 1000 };
    int64_t same = 0, fixed = 0;
    hps_permutation p, q;

    hps_permutation_create(1, ROWS, &p);
    hps_permutation_create(2, ROWS, &q);
    for (int64_t row = 0; row < ROWS; row++) {
        same += hps_permutation_place(&p, row) == hps_permutation_place(&q, row) ? 1 : 0;
        fixed += hps_permutation_place(&p, row) == row ? 1 : 0;
    }
    CHECK(same < 10 && fixed < 10);
    tap_case("two seeds, two permutations, neither the identity");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    for (int64_t rows = 1; rows <= 70; rows++) {
        is_permutation(rows, (uint64_t)rows);
    }
    is_permutation(1023, 1);
    is_permutation(1024, 1);
    is_permutation(1025, 1);
    is_permutation(100003, 9);
    tap_case("every row has one place, every place one row");
    large_numbers();
    orders_alike(3, 6, 20.5);
    orders_alike(4, 24, 49.7);
    neighbours_independent(20828);
    neighbours_independent(65536);
    seeds_differ();
    tap_done();
    MPI_Finalize();
    return 0;
}
