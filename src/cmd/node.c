#include "node.h"

#include "hpsae/base/memory.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool hps_node_cpu_list(const char *text, cpu_set_t *set)
{
    CPU_ZERO(set);
    while (*text != '\0' && *text != '\n') {
        char *end;
        const long first = strtol(text, &end, 10);
        long last = first;
        if (end == text || first < 0) {
            return false;
        }
        if (*end == '-') {
            text = end + 1;
            last = strtol(text, &end, 10);
            if (end == text) {
                return false;
            }
        }
        for (long cpu = first; cpu <= last && cpu < CPU_SETSIZE; cpu++) {
            CPU_SET((size_t)cpu, set);
        }
        text = *end == ',' ? end + 1 : end;
        if (text == end && *end != '\0' && *end != '\n') {
            return false;
        }
    }
    return true;
}

static bool read_cpu_list(const char *path, cpu_set_t *set)
{
    char text[4096] = "";
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        return false;
    }
    const bool read = fgets(text, sizeof(text), file) != NULL;
    fclose(file);
    return read && hps_node_cpu_list(text, set);
}

/* With OMP_PROC_BIND the main thread is bound to its place before main begins; all places together are the process's. */
static void add_places(cpu_set_t *mask)
{
    for (int place = 0; place < omp_get_num_places(); place++) {
        int ids[CPU_SETSIZE];
        const int count = omp_get_place_num_procs(place);
        if (count > CPU_SETSIZE) {
            return;
        }
        omp_get_place_proc_ids(place, ids);
        for (int i = 0; i < count; i++) {
            CPU_SET((size_t)ids[i], mask);
        }
    }
}

void hps_node_own_mask(cpu_set_t *mask)
{
    CPU_ZERO(mask);
    if (sched_getaffinity(0, sizeof(*mask), mask) != 0) {
        /* More processors than a set holds: no masks then, only their number. */
        const long online = sysconf(_SC_NPROCESSORS_ONLN);
        for (long cpu = 0; cpu < online && cpu < CPU_SETSIZE; cpu++) {
            CPU_SET((size_t)cpu, mask);
        }
    }
    add_places(mask);
}

int hps_node_sharing(const hps_node *node, int rank)
{
    int sharing = 0;

    for (int r = 0; r < node->ranks; r++) {
        cpu_set_t both;
        CPU_AND(&both, &node->mask[r], &node->mask[rank]);
        sharing += r == rank || CPU_COUNT(&both) > 0;
    }
    return sharing;
}

/* mpirun first: inside a batch job its ranks also see what Slurm says of the script. */
static hps_launcher launcher_here(void)
{
    if (getenv("OMPI_COMM_WORLD_SIZE") != NULL || getenv("HYDI_CONTROL_FD") != NULL) {
        return HPS_LAUNCHED_BY_MPIRUN;
    }
    return getenv("SLURM_JOB_ID") != NULL && getenv("SLURM_PROCID") != NULL ? HPS_LAUNCHED_BY_SRUN : HPS_LAUNCHED_ALONE;
}

/* The domains that hold a processor of `allowed`. */
static void find_domains(const cpu_set_t *allowed, hps_node *node)
{
    for (int d = 0; d < HPS_DOMAINS_MAX; d++) {
        char path[64];
        cpu_set_t set, both;
        snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", d);
        if (!read_cpu_list(path, &set)) {
            continue;
        }
        CPU_AND(&both, &set, allowed);
        if (CPU_COUNT(&both) > 0) {
            node->domain[node->domains++] = both;
        }
    }
}

/*
 * What may be used: the ranks' processors and, since a launcher binds its ranks and not itself, those of the process that
 * started each; of these no more than Slurm says that the job was given.
 */
static void find_usable(const cpu_set_t *allowed, const cpu_set_t *bound, hps_node *node)
{
    const char *slurm = getenv("SLURM_CPUS_ON_NODE");
    const int given = slurm == NULL ? 0 : atoi(slurm), bound_to = CPU_COUNT(bound);
    cpu_set_t core, both;

    node->usable = CPU_COUNT(allowed);
    if (given > 0 && given < node->usable) {
        node->usable = given > bound_to ? given : bound_to;
    }
    node->siblings = 1;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        char path[96];
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
        if (CPU_ISSET(cpu, allowed) && read_cpu_list(path, &core)) {
            CPU_AND(&both, &core, allowed);
            node->siblings = CPU_COUNT(&both) > 0 ? CPU_COUNT(&both) : 1;
            break;
        }
    }
}

hps_status hps_node_ask(MPI_Comm world, hps_node *node)
{
    MPI_Comm host;
    cpu_set_t mine, parent, bound, allowed;

    *node = (hps_node){.launcher = launcher_here()};
    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host));
    HPS_MPI(MPI_Comm_size(host, &node->ranks));
    HPS_MPI(MPI_Comm_rank(host, &node->rank));
    hps_status status = HPS_ALLOC(&node->mask, node->ranks, "processors of the node's ranks");
    status = status == HPS_OK ? HPS_ALLOC(&node->threads, node->ranks, "threads of the node's ranks") : status;
    status = hps_agree(world, status);
    if (status == HPS_OK) {
        hps_node_own_mask(&mine);
        HPS_MPI(MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, node->mask, sizeof(mine), MPI_BYTE, host));
        HPS_MPI(MPI_Allreduce(&mine, &bound, sizeof(bound), MPI_BYTE, MPI_BOR, host));
        if (sched_getaffinity(getppid(), sizeof(parent), &parent) == 0) {
            CPU_OR(&mine, &mine, &parent);
        }
        HPS_MPI(MPI_Allreduce(&mine, &allowed, sizeof(allowed), MPI_BYTE, MPI_BOR, host));
        find_usable(&allowed, &bound, node);
        find_domains(&allowed, node);
    } else {
        hps_node_free(node);
    }
    HPS_MPI(MPI_Comm_free(&host));
    return status;
}

void hps_node_free(hps_node *node)
{
    HPS_FREE(&node->mask);
    HPS_FREE(&node->threads);
}
