/*
 * Every rank learns of one rank's failure, and of whose it was.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/status.h"
#include "tap.h"

#include <string.h>

static void one_rank_fails(int victim)
{
    char expected[64];
    int rank, size;
    hps_status status = HPS_OK;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank == victim) {
        status = hps_fail(HPS_EIO, "shard %d is short", victim);
    }
    status = hps_agree(MPI_COMM_WORLD, status);

    if (size > 1) {
        snprintf(expected, sizeof(expected), "rank %d: shard %d is short", victim, victim);
    } else {
        snprintf(expected, sizeof(expected), "shard %d is short", victim);
    }
    CHECK(status == HPS_EIO);
    CHECK(strcmp(hps_status_message(), expected) == 0);
    tap_case("a failure on one rank reaches all ranks");
}

static void the_largest_code_wins(void)
{
    int rank, size;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const hps_status mine = rank == size - 1 ? hps_fail(HPS_ENUMERIC, "loss is nan") : hps_fail(HPS_EARG, "k is 0");
    CHECK(hps_agree(MPI_COMM_WORLD, mine) == HPS_ENUMERIC);
    tap_case("of two failures the largest code is common");
}

int main(int argc, char **argv)
{
    int size;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &size);

    CHECK(hps_agree(MPI_COMM_WORLD, HPS_OK) == HPS_OK);
    tap_case("no failure, no error");
    for (int victim = 0; victim < size; victim++) {
        one_rank_fails(victim);
    }
    the_largest_code_wins();

    tap_done();
    MPI_Finalize();
    return 0;
}
