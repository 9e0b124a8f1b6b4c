#include "binding.h"

#include "hpsae/base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Ranks whose masks hang together: what they may use, and what they want to. */
typedef struct {
    cpu_set_t cpus;
    int ranks, threads;
} cluster;

static cluster cluster_of(const hps_node *node, int rank)
{
    cluster c = {.cpus = node->mask[rank]};
    int before = -1;

    while (c.ranks != before) {
        before = c.ranks;
        c.ranks = c.threads = 0;
        for (int r = 0; r < node->ranks; r++) {
            cpu_set_t both;
            CPU_AND(&both, &c.cpus, &node->mask[r]);
            if (r == rank || CPU_COUNT(&both) > 0) {
                CPU_OR(&c.cpus, &c.cpus, &node->mask[r]);
                c.ranks++;
                c.threads += node->threads[r];
            }
        }
    }
    return c;
}

/* The one with the most threads a processor. */
static cluster most_crowded(const hps_node *node)
{
    cluster worst = {.ranks = 0};
    double most = -1;

    for (int r = 0; r < node->ranks; r++) {
        const cluster c = cluster_of(node, r);
        const double load = (double)c.threads / (double)CPU_COUNT(&c.cpus);
        if (load > most) {
            most = load;
            worst = c;
        }
    }
    return worst;
}

static int all_threads(const hps_node *node)
{
    int sum = 0;

    for (int r = 0; r < node->ranks; r++) {
        sum += node->threads[r];
    }
    return sum;
}

static int domains_spanned(const hps_node *node, int rank)
{
    int spanned = 0;

    for (int d = 0; d < node->domains; d++) {
        cpu_set_t both;
        CPU_AND(&both, &node->domain[d], &node->mask[rank]);
        spanned += CPU_COUNT(&both) > 0;
    }
    return spanned;
}

/* How to start `ranks` ranks on the node, each on cores of its own. */
static void cure(const hps_node *node, int ranks, char *text, size_t size)
{
    const int cpus = node->usable / ranks, cores = cpus / node->siblings > 0 ? cpus / node->siblings : 1;

    if (node->launcher == HPS_LAUNCHED_BY_SRUN) {
        snprintf(text, size, "srun --ntasks-per-node=%d --cpus-per-task=%d --cpu-bind=cores", ranks, cpus);
    } else if (node->domains > 1 && ranks % node->domains == 0) {
        snprintf(text, size, "mpirun --map-by ppr:%d:numa:pe=%d --bind-to core", ranks / node->domains, cores);
    } else {
        snprintf(text, size, "mpirun --map-by ppr:%d:node:pe=%d --bind-to core", ranks, cores);
    }
}

static const char *plural(int count)
{
    return count == 1 ? "" : "s";
}

static void word_crowd(const hps_node *node, const cluster *c, char *text, size_t size)
{
    const int cpus = CPU_COUNT(&c->cpus), threads = all_threads(node);
    char how[160];
    int used;

    used = cpus < node->usable
               ? snprintf(text, size, "%d rank%s with %d threads in all may use only %d of the %d cores: ", c->ranks,
                          plural(c->ranks), c->threads, cpus, node->usable)
               : snprintf(text, size, "%d rank%s with %d threads in all have %d core%s: ", c->ranks, plural(c->ranks),
                          c->threads, cpus, plural(cpus));
    if (used < 0 || (size_t)used >= size) {
        return;
    }
    text += used;
    size -= (size_t)used;
    if (node->ranks > node->usable) {
        snprintf(text, size, "start at most %d rank%s here", node->usable, plural(node->usable));
    } else if (threads > node->usable) {
        snprintf(text, size, "set OMP_NUM_THREADS=%d, or start fewer ranks", node->usable / node->ranks);
    } else {
        cure(node, node->ranks, how, sizeof(how));
        snprintf(text, size, "start with %s", how);
    }
}

double hps_binding_judge(const hps_node *node, bool automatic, char *text, size_t size)
{
    const cluster c = most_crowded(node);
    const int cpus = CPU_COUNT(&c.cpus), threads = all_threads(node);
    char how[160];

    text[0] = '\0';
    if (c.threads > cpus) {
        word_crowd(node, &c, text, size);
        return 2 + (double)c.threads / (double)cpus;
    }
    for (int r = 0; r < node->ranks && node->ranks < node->domains; r++) {
        if (node->threads[r] > 1 && domains_spanned(node, r) > 1) {
            cure(node, node->domains, how, sizeof(how));
            snprintf(text, size,
                     "a rank of %d threads spans %d NUMA domains, and memory of another domain is slow: start with %s",
                     node->threads[r], domains_spanned(node, r), how);
            return 2;
        }
    }
    if (automatic && node->launcher != HPS_LAUNCHED_ALONE && 2 * threads <= node->usable / node->siblings) {
        cure(node, node->ranks, how, sizeof(how));
        snprintf(text, size, "%d rank%s with %d thread%s in all leave%s cores idle, of %d: start with %s", node->ranks,
                 plural(node->ranks), threads, plural(threads), node->ranks == 1 ? "s" : "", node->usable, how);
        return 1;
    }
    return 0;
}

void hps_binding_warn(MPI_Comm world, hps_node *node, int threads, bool automatic)
{
    char text[640], host[128] = "";
    struct {
        double value;
        int rank;
    } mine = {0}, worst;
    int rank, bad;
    MPI_Comm here;

    HPS_MPI(MPI_Comm_rank(world, &rank));
    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here));
    HPS_MPI(MPI_Allgather(&threads, 1, MPI_INT, node->threads, 1, MPI_INT, here));
    HPS_MPI(MPI_Comm_free(&here));
    mine.rank = rank;
    text[0] = '\0';
    if (node->rank == 0) {
        char what[400];
        mine.value = hps_binding_judge(node, automatic, what, sizeof(what));
        gethostname(host, sizeof(host) - 1);
        snprintf(text, sizeof(text), "%s: %s", host, what);
    }
    bad = mine.value > 0;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &bad, 1, MPI_INT, MPI_SUM, world));
    HPS_MPI(MPI_Allreduce(&mine, &worst, 1, MPI_DOUBLE_INT, MPI_MAXLOC, world));
    HPS_MPI(MPI_Bcast(text, sizeof(text), MPI_CHAR, worst.rank, world));
    if (bad == 1) {
        hps_warn("binding", "%s", text);
    } else if (bad > 1) {
        hps_warn("binding", "%s (and so on %d other node%s)", text, bad - 1, plural(bad - 1));
    }
}
