#include "side.h"

#include "hpsae/base/memory.h"

enum { TAG = 1 };

hps_status hps_side_create(MPI_Comm world, int groups, hps_side *side)
{
    int rank, size, within;

    *side = (hps_side){.groups = groups, .group = MPI_COMM_NULL, .roots = MPI_COMM_NULL};
    HPS_MPI(MPI_Comm_rank(world, &rank));
    HPS_MPI(MPI_Comm_size(world, &size));
    side->g = (int)((int64_t)rank * groups / size);
    HPS_MPI(MPI_Comm_split(world, side->g, rank, &side->group));
    HPS_MPI(MPI_Comm_rank(side->group, &within));
    HPS_MPI(MPI_Comm_split(world, within == 0 ? 0 : MPI_UNDEFINED, rank, &side->roots));
    hps_status status = HPS_ALLOC(&side->said, groups, "groups of ranks");
    if (status == HPS_OK) {
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): requests are pointers in some MPIs */
        status = HPS_ALLOC(&side->request, groups, "groups of ranks");
    }
    for (int g = 0; status == HPS_OK && g < groups; g++) {
        side->said[g] = g == side->g ? HPS_OK : -1;
        side->request[g] = MPI_REQUEST_NULL;
    }
    return hps_agree(world, status);
}

void hps_side_destroy(hps_side *side)
{
    if (side->group != MPI_COMM_NULL) {
        HPS_MPI(MPI_Comm_free(&side->group));
    }
    if (side->roots != MPI_COMM_NULL) {
        HPS_MPI(MPI_Comm_free(&side->roots));
    }
    HPS_FREE(&side->said);
    HPS_FREE(&side->request);
}

static void hear(hps_side *side, int g)
{
    HPS_MPI(MPI_Recv(&side->said[g], 1, MPI_INT, g, TAG, side->roots, MPI_STATUS_IGNORE));
}

bool hps_side_asked(void *context)
{
    hps_side *side = context;
    bool asked = false;

    for (int g = 0; side->roots != MPI_COMM_NULL && g < side->groups; g++) {
        int there = 0;
        if (side->said[g] < 0) {
            HPS_MPI(MPI_Iprobe(g, TAG, side->roots, &there, MPI_STATUS_IGNORE));
        }
        if (there) {
            hear(side, g);
        }
        asked = asked || side->said[g] > HPS_OK;
    }
    return asked;
}

void hps_side_finish(hps_side *side, hps_status how)
{
    if (side->roots == MPI_COMM_NULL) {
        return;
    }
    side->mine = (int)how;
    for (int g = 0; g < side->groups; g++) {
        if (g != side->g) {
            HPS_MPI(MPI_Isend(&side->mine, 1, MPI_INT, g, TAG, side->roots, &side->request[g]));
        }
    }
    for (int g = 0; g < side->groups; g++) {
        if (side->said[g] < 0) {
            hear(side, g);
        }
    }
    HPS_MPI(MPI_Waitall(side->groups, side->request, MPI_STATUSES_IGNORE));
}
