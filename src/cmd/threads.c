#include "threads.h"

#include "binding.h"
#include "node.h"

#include <omp.h>
#include <stdlib.h>

hps_status hps_threads_choose(MPI_Comm world, hps_config *config, bool warns, const char **from)
{
    const bool set = config != NULL && config->grid.threads != HPS_AUTO_INT, said = getenv("OMP_NUM_THREADS") != NULL;
    hps_node node;

    HPS_TRY(hps_node_ask(world, &node));
    const int share = CPU_COUNT(&node.mask[node.rank]) / hps_node_sharing(&node, node.rank);
    int threads = said ? omp_get_max_threads() : share < 1 ? 1 : share;

    if (config != NULL) {
        threads = set ? (int)config->grid.threads : threads;
        config->grid.threads = threads;
    }
    omp_set_num_threads(threads);
    *from = set ? "grid.threads" : said ? "OMP_NUM_THREADS" : "the cores that a rank may use";
    if (warns) {
        hps_binding_warn(world, &node, threads, !set && !said);
    }
    hps_node_free(&node);
    return HPS_OK;
}
