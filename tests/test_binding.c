/*
 * What is said of a node's binding: nothing when every thread has a processor; else what is wrong and the options of the
 * launcher in use that mend it, on nodes of any number of processors, NUMA domains and threads a core.
 *
 * ranks: 1
 */
#include "../src/cmd/binding.h"
#include "tap.h"

#include <string.h>

enum { RANKS = 64 };

static cpu_set_t masks[RANKS];
static int threads[RANKS];

/* So many ranks with so many threads each; rank r may use [r * stride, r * stride + width). */
static hps_node node_of(int ranks, int each, int stride, int width, int usable, int domains)
{
    hps_node node = {.ranks = ranks,
                     .mask = masks,
                     .threads = threads,
                     .usable = usable,
                     .siblings = 1,
                     .domains = domains,
                     .launcher = HPS_LAUNCHED_BY_MPIRUN};

    for (int r = 0; r < ranks; r++) {
        CPU_ZERO(&masks[r]);
        threads[r] = each;
        for (int cpu = r * stride; cpu < r * stride + width; cpu++) {
            CPU_SET((size_t)cpu, &masks[r]);
        }
    }
    for (int d = 0; d < domains; d++) {
        CPU_ZERO(&node.domain[d]);
        for (int cpu = usable * d / domains; cpu < usable * (d + 1) / domains; cpu++) {
            CPU_SET((size_t)cpu, &node.domain[d]);
        }
    }
    return node;
}

/* NULL: nothing is said. */
static int says(hps_node node, bool automatic, const char *words)
{
    char text[400];
    const double how_bad = hps_binding_judge(&node, automatic, text, sizeof(text));
    const int right = words == NULL ? how_bad <= 0 && text[0] == '\0' : how_bad > 0 && strstr(text, words) != NULL;

    if (!right) {
        fprintf(stderr, "# wanted: %s\n# said:   %s\n", words == NULL ? "nothing" : words, text);
    }
    return right;
}

static void check_silence(void)
{
    CHECK(says(node_of(1, 16, 0, 16, 16, 1), true, NULL));
    CHECK(says(node_of(4, 4, 0, 16, 16, 1), true, NULL));
    CHECK(says(node_of(4, 4, 4, 4, 16, 4), true, NULL));
    CHECK(says(node_of(16, 1, 1, 1, 16, 2), true, NULL));
    CHECK(says(node_of(2, 1, 1, 1, 16, 2), false, NULL));
    CHECK(says(node_of(1, 1, 0, 16, 16, 2), false, NULL));
    CHECK(says(node_of(2, 8, 8, 8, 16, 2), true, NULL));
    hps_node two_a_core = node_of(4, 8, 8, 8, 32, 1);
    two_a_core.siblings = 2;
    CHECK(says(two_a_core, true, NULL));
    two_a_core = node_of(4, 4, 8, 8, 32, 1);
    two_a_core.siblings = 2;
    CHECK(says(two_a_core, true, NULL));
    hps_node alone = node_of(1, 1, 0, 1, 16, 1);
    alone.launcher = HPS_LAUNCHED_ALONE;
    CHECK(says(alone, true, NULL));
}

static void check_crowds(void)
{
    CHECK(says(node_of(8, 1, 0, 1, 16, 1), false,
               "8 ranks with 8 threads in all may use only 1 of the 16 cores: start "
               "with mpirun --map-by ppr:8:node:pe=2 --bind-to core"));
    CHECK(says(node_of(8, 2, 0, 1, 16, 2), false, "mpirun --map-by ppr:4:numa:pe=2 --bind-to core"));
    CHECK(says(node_of(2, 8, 1, 1, 16, 1), false, "1 rank with 8 threads in all may use only 1 of the 16 cores"));
    CHECK(says(node_of(2, 16, 0, 16, 16, 1), false,
               "2 ranks with 32 threads in all have 16 cores: set OMP_NUM_THREADS=8"));
    CHECK(says(node_of(32, 1, 0, 16, 16, 1), false, "start at most 16 ranks here"));
    /* Masks that hang together by the one in the middle. */
    CHECK(says(node_of(3, 4, 2, 4, 16, 1), false, "3 ranks with 12 threads in all may use only 8 of the 16 cores"));
    hps_node under_srun = node_of(4, 4, 0, 1, 16, 4);
    under_srun.launcher = HPS_LAUNCHED_BY_SRUN;
    CHECK(says(under_srun, false, "start with srun --ntasks-per-node=4 --cpus-per-task=4 --cpu-bind=cores"));
    hps_node two_a_core = node_of(4, 8, 0, 8, 32, 1);
    two_a_core.siblings = 2;
    CHECK(says(two_a_core, false, "--map-by ppr:4:node:pe=4"));
}

static void check_domains(void)
{
    CHECK(says(node_of(1, 16, 0, 16, 16, 2), true,
               "a rank of 16 threads spans 2 NUMA domains, and memory of another domain is slow: start with mpirun "
               "--map-by ppr:1:numa:pe=8 --bind-to core"));
    CHECK(says(node_of(2, 8, 8, 8, 16, 4), true, "spans 2 NUMA domains"));
    CHECK(says(node_of(4, 4, 0, 16, 16, 4), true, NULL));
}

static void check_idle(void)
{
    CHECK(says(node_of(2, 1, 1, 1, 16, 1), true,
               "2 ranks with 2 threads in all leave cores idle, of 16: start with mpirun "
               "--map-by ppr:2:node:pe=8 --bind-to core"));
    CHECK(says(node_of(1, 1, 0, 1, 2, 1), true, "1 rank with 1 thread in all leaves cores idle"));
}

static int list_is(const char *text, int count, int cpu)
{
    cpu_set_t set;

    return hps_node_cpu_list(text, &set) && CPU_COUNT(&set) == count && (count == 0 || CPU_ISSET((size_t)cpu, &set));
}

static void check_lists(void)
{
    cpu_set_t set;

    CHECK(list_is("0-3,8,10-11\n", 7, 10));
    CHECK(list_is("5", 1, 5));
    CHECK(list_is("\n", 0, 0));
    CHECK(list_is("1000-2000", CPU_SETSIZE - 1000, CPU_SETSIZE - 1));
    CHECK(!hps_node_cpu_list("0-", &set) && !hps_node_cpu_list("a", &set) && !hps_node_cpu_list("1;2", &set));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    check_silence();
    tap_case("nothing is said when all is well");
    check_crowds();
    tap_case("more threads than processors");
    check_domains();
    tap_case("a rank across NUMA domains");
    check_idle();
    tap_case("processors left idle by default");
    check_lists();
    tap_case("lists of processors");
    tap_done();
    MPI_Finalize();
    return 0;
}
