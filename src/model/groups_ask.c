/* The choice of data groups for the ranks that a job has. */
#include "hpsae/base/memory.h"
#include "hpsae/model/groups_choice.h"

#include <stdio.h>
#include <string.h>

/* What a job runs on. */
typedef struct {
    int ranks, nodes; /* nodes: a divisor of the ranks, at least as many as there are */
    int threads;      /* of the rank that has fewest */
    double bytes;     /* that a rank may hold, on the fullest node; 0: not known */
} allocation;

/* A tenth of a node's memory is left to the system and to what it keeps of files. */
static const double USABLE = 0.9;

/* Of kernels with a device, what that has left. */
static allocation ask_allocation(MPI_Comm world, const hps_kernels *kernels, int threads)
{
    allocation a = {.threads = threads};
    const int64_t bytes = kernels->memory_left != NULL ? kernels->memory_left() : hps_memory_of_node();
    int here, rank;
    MPI_Comm node;

    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    HPS_MPI(MPI_Comm_size(node, &here));
    HPS_MPI(MPI_Comm_rank(node, &rank));
    HPS_MPI(MPI_Comm_free(&node));
    HPS_MPI(MPI_Comm_size(world, &a.ranks));
    a.nodes = rank == 0;
    a.bytes = bytes > 0 ? USABLE * (double)bytes / (kernels->memory_left != NULL ? 1 : here) : 0;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &a.nodes, 1, MPI_INT, MPI_SUM, world));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &a.threads, 1, MPI_INT, MPI_MIN, world));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &a.bytes, 1, MPI_DOUBLE, MPI_MIN, world));
    while (a.ranks % a.nodes != 0) {
        a.nodes++; /* the cost model fills nodes evenly */
    }
    return a;
}

static void name_figures(const hps_rank_question *run, const hps_calibration *machine, char text[HPS_CHOICE_FIGURES])
{
    const bool other = !machine->assumed && strcmp(machine->backend, run->kernels->name) != 0;

    if (machine->assumed) {
        snprintf(text, HPS_CHOICE_FIGURES, "assumed figures");
    } else {
        snprintf(text, HPS_CHOICE_FIGURES, "%s, measured on %s with %s%s%s", run->config->train.calibration,
                 machine->host, machine->backend, other ? ", where this run uses " : "",
                 other ? run->kernels->name : "");
    }
}

/* Rank 0.  What the model says of these ranks. */
static hps_status ask_model(const hps_rank_question *run, const allocation *on, const hps_calibration *machine,
                            hps_groups_choice *choice)
{
    const hps_store_info *data = run->data;
    const hps_cost_case size =
        hps_cost_case_of(run->config, data->d, (int)hps_dtype_size(data->dtype), HPS_DEAD_ASSUMED);
    const int per_node = on->ranks / on->nodes;
    hps_rank_question question = *run;
    const hps_grid_space space = {.nodes = on->nodes,
                                  .cores = per_node * on->threads,
                                  .ranks_per_node = per_node,
                                  .node_bytes = on->bytes * per_node,
                                  .rank_bytes = hps_rank_bytes,
                                  .context = &question};

    HPS_TRY(hps_groups_choose(machine, &size, &space, choice));
    name_figures(run, machine, choice->figures);
    return HPS_OK;
}

/* Rank 0. */
static hps_status ask(const hps_rank_question *run, const allocation *on, hps_groups_choice *choice)
{
    hps_calibration machine;

    HPS_TRY(hps_calibration_for(run->config, true, &machine));
    const hps_status status = ask_model(run, on, &machine, choice);
    hps_calibration_release(&machine);
    return status;
}

hps_status hps_groups_ask(MPI_Comm world, const hps_rank_question *run, hps_groups_choice *choice)
{
    const allocation on = ask_allocation(world, run->kernels, (int)run->config->grid.threads);
    int rank;

    HPS_MPI(MPI_Comm_rank(world, &rank));
    HPS_TRY(hps_share_status(world, rank == 0 ? ask(run, &on, choice) : HPS_OK));
    HPS_MPI(MPI_Bcast(choice, sizeof(*choice), MPI_BYTE, 0, world));
    return HPS_OK;
}
