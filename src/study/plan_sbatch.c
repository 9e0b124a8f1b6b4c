/* A plan as a job script. */
#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/study/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is asked of Slurm beyond what was planned: for what the plan does not know. */
static const double memory_margin = 1.1, time_margin = 1.25, start_minutes = 10;
enum { LAUNCHER_MIB = 256 }; /* of the shell and of what starts the ranks */

/* As one word of the shell. */
static void put_word(FILE *file, const char *text)
{
    fputc('\'', file);
    for (const char *c = text; *c != '\0'; c++) {
        *c == '\'' ? fputs("'\\''", file) : fputc(*c, file);
    }
    fputc('\'', file);
}

static void put_line(FILE *file, const char *before, const char *word, const char *after)
{
    fputs(before, file);
    put_word(file, word);
    fputs(after, file);
}

/* The directory of launch.sh: of the tree that the program was built in, or where it was installed. */
static hps_status find_scripts(const char *program, char path[HPS_PATH_MAX])
{
    static const char *const places[] = {"/../jobs", "/../share/hpsae/jobs", "/../../jobs"};
    char directory[HPS_PATH_MAX];

    snprintf(directory, sizeof(directory), "%s", program);
    char *slash = strrchr(directory, '/');
    *(slash != NULL ? slash : directory) = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char name[2 * HPS_PATH_MAX];
        snprintf(name, sizeof(name), "%s%s/launch.sh", directory, places[i]);
        if (realpath(name, path) != NULL) {
            return HPS_OK;
        }
    }
    return hps_fail(HPS_EIO,
                    "%s: there is no ../jobs/launch.sh, nor ../share/hpsae/jobs/launch.sh, for the script to use",
                    program);
}

static void put_head(FILE *file, const hps_plan *p, const hps_plan_command *command)
{
    char text[32];

    fprintf(file, "#!/bin/bash\n# Trains ");
    put_word(file, command->config);
    fprintf(file, "; goes on where an earlier job stopped.\n# Planned, on %s%s: %lld steps, %s",
            p->bench != NULL ? "the figures of " : "assumed figures (no --bench FILE)",
            p->bench != NULL ? p->bench : "", (long long)p->steps, hps_duration(p->total, text));
    fprintf(file, "; memory %.2f GiB a rank; disk %.2f GiB.\n# Log: job-ID.log in the output directory.\n",
            (double)p->rank_bytes / 1073741824.0, (double)p->checkpoint * (double)(p->keep + 1) / 1073741824.0);
}

static void put_wishes(FILE *file, const hps_plan *p)
{
    const double node = (double)p->rank_bytes * p->grid.ranks_per_node;
    const long long mib = (long long)ceil(memory_margin * node / 1048576.0) + LAUNCHER_MIB,
                    minutes = (long long)ceil(time_margin * p->total / 60 + start_minutes);

    fprintf(file, "##SBATCH --account=NAME\n##SBATCH --partition=NAME\n#SBATCH --job-name=hpsae-train\n");
    fprintf(file, "#SBATCH --nodes=%d\n#SBATCH --ntasks-per-node=%d\n#SBATCH --cpus-per-task=%d\n", p->grid.size.nodes,
            p->grid.ranks_per_node, p->grid.size.threads);
    if (p->rank.device > 0) { /* a rank takes that of its number on the node, so it must see all of them */
        fprintf(file, "#SBATCH --gpus-per-node=%d\n", p->grid.ranks_per_node);
    }
    fprintf(file, "# A tenth more than planned, and %d MiB for what starts the ranks:\n#SBATCH --mem=%lldM\n",
            LAUNCHER_MIB, mib);
    fprintf(file,
            "# A quarter more, and %.0f minutes; a smaller limit does too: there the job goes back to the queue.\n",
            start_minutes);
    fprintf(file, "#SBATCH --time=%lld-%02lld:%02lld:00\n", minutes / 1440, minutes / 60 % 24, minutes % 60);
    fprintf(file, "#SBATCH --signal=B:USR1@120 --requeue\n#SBATCH --output=/dev/null\n\n");
}

hps_status hps_plan_sbatch(FILE *file, const hps_plan_request *r, const hps_plan *p, const hps_plan_command *command)
{
    char program[HPS_PATH_MAX] = "", scripts[HPS_PATH_MAX], here[HPS_PATH_MAX];

    if (!p->fits) {
        return hps_fail(
            HPS_EARG,
            "--memory-per-node: %.2f GiB are needed of %.2f; 'hpsae plan' without --sbatch tells what would fit",
            (double)p->rank_bytes * p->grid.ranks_per_node / 1073741824.0, p->node_limit / 1073741824.0);
    }
    if (realpath("/proc/self/exe", program) == NULL || getcwd(here, sizeof(here)) == NULL) {
        return hps_fail(HPS_EIO, "/proc/self/exe: the program's path, or the current directory, cannot be read");
    }
    HPS_TRY(find_scripts(program, scripts));
    put_head(file, p, command);
    put_wishes(file, p);
    fprintf(file, "# module load openmpi hdf5 openblas     # as when hpsae was built\n");
    put_line(file, "cd ", here, " || exit 2\n");
    put_line(file, "export HPSAE=", program, "\n# shellcheck source=/dev/null\n");
    put_line(file, ". ", scripts, " || exit 2\n");
    put_line(file, "hpsae_open ", r->config->output, "\n");
    put_line(file, "hpsae_run train ", command->config, "");
    for (int i = 0; i < command->count; i++) {
        put_line(file, " -s ", command->overrides[i], "");
    }
    fprintf(file, "\n");
    return HPS_OK;
}
