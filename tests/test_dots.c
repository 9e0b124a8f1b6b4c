/*
 * Many dot products at once, by this CPU's multiply-add, are the canonical ones of one at a time, by libm's: of every
 * length up to several times the accumulators, with padded rows, denormals, infinities and NaN.
 *
 * ranks: 1
 */
#include "hpsae/base/dots.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/rng.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { ROWS = 37, LONGEST = 100, LD = 112 };

static float a[LONGEST], rows[ROWS * LD];

/* Numbers of many sizes, so that every product and sum rounds. */
static void fill(float scale)
{
    for (int64_t i = 0; i < ROWS * LD; i++) {
        const float size = ldexpf(scale, (int)(i % 23) - 11);
        rows[i] = size * (float)hps_random_normal(3, HPS_DRAW_TEST, 1, (uint64_t)i);
        a[i % LONGEST] = (float)hps_random_normal(3, HPS_DRAW_TEST, 2, (uint64_t)i);
    }
}

static int64_t wrong(void)
{
    float out[ROWS];
    int64_t found = 0;

    for (int64_t m = 0; m <= LONGEST; m++) {
        hps_dots(ROWS, m, LD, a, rows, out);
        for (int64_t t = 0; t < ROWS; t++) {
            const float one = hps_dot(m, a, rows + t * LD);
            found += isnan(one) ? !isnan(out[t]) : memcmp(&one, &out[t], sizeof(one)) != 0;
        }
    }
    return found;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    fill(1);
    CHECK(wrong() == 0);
    tap_case("random rows");
    fill(1e-40f);
    CHECK(wrong() == 0);
    tap_case("denormals");
    fill(1);
    rows[5 * LD + 3] = INFINITY;
    rows[6 * LD + 40] = NAN;
    rows[7 * LD + 99] = -INFINITY;
    CHECK(wrong() == 0);
    tap_case("infinities and NaN");
    tap_done();
    MPI_Finalize();
    return 0;
}
