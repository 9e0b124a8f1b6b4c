/*
 * An OpenBLAS that takes a new CPU for an old one is told better; a good choice is left alone.
 *
 * ranks: 1
 */
#include "../src/cmd/blas_core.h"
#include "tap.h"

#include <string.h>

static int same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);

    CHECK(same(hps_blas_core_better("Prescott", 1, 1), "SkylakeX"));
    CHECK(same(hps_blas_core_better("Prescott", 0, 1), "Haswell"));
    CHECK(same(hps_blas_core_better("Core2", 0, 1), "Haswell"));
    CHECK(same(hps_blas_core_better("generic", 1, 1), "SkylakeX"));
    tap_case("an old core gives way to what the CPU can do");

    CHECK(hps_blas_core_better("Prescott", 0, 0) == NULL);
    CHECK(hps_blas_core_better("SkylakeX", 1, 1) == NULL);
    CHECK(hps_blas_core_better("Zen", 1, 1) == NULL);
    CHECK(hps_blas_core_better("Haswell", 1, 1) == NULL);
    CHECK(hps_blas_core_better("Cooperlake", 1, 1) == NULL);
    tap_case("a fitting core is left alone");

    tap_done();
    MPI_Finalize();
    return 0;
}
