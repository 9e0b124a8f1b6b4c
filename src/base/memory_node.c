/* What a node may hold. */
#include "hpsae/base/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 4096 };

/* The number in a file, or `otherwise`, as where the file says "max". */
static int64_t number_in(const char *path, int64_t otherwise)
{
    long long value;
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        return otherwise;
    }
    const bool read = fscanf(file, "%lld", &value) == 1 && value > 0;
    fclose(file);
    return read ? (int64_t)value : otherwise;
}

/* The least limit of a control group and of those above it; a batch system sets it on one of these. */
static int64_t least_of_groups(const char *mount, char *group, const char *limit, int64_t least)
{
    char path[2 * LINE + 64];

    for (;;) {
        char *slash = strrchr(group, '/');
        snprintf(path, sizeof(path), "%s%s/%s", mount, group, limit);
        const int64_t here = number_in(path, least);
        least = here < least ? here : least;
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

/* "0::/GROUP" of the second version of control groups, "N:...memory...:/GROUP" of the first. */
static int64_t least_of_line(char *line, int64_t least)
{
    char *kinds = strchr(line, ':'), *group = kinds != NULL ? strchr(kinds + 1, ':') : NULL;

    if (group == NULL) {
        return least;
    }
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    if (kinds[1] == '\0') {
        return least_of_groups("/sys/fs/cgroup", group, "memory.max", least);
    }
    return strstr(kinds, "memory") != NULL
               ? least_of_groups("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", least)
               : least;
}

int64_t hps_memory_of_node(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t least = pages > 0 && page > 0 ? (int64_t)pages * page : INT64_MAX;
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[LINE];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        least = least_of_line(line, least);
    }
    if (file != NULL) {
        fclose(file);
    }
    return least < INT64_MAX ? least : -1;
}
