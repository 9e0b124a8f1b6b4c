#include "sources.h"

#include "hpsae/base/memory.h"
#include "paths.h"

#include <string.h>

static hps_status open_all(const hps_paths *paths, hps_choice choice, hps_sources *sources)
{
    HPS_TRY(HPS_ALLOC(&sources->items, paths->count, "the table of input files"));
    HPS_TRY(HPS_ALLOC(&sources->first, paths->count + 1, "the table of input files"));
    for (int64_t i = 0; i < paths->count; i++) {
        HPS_TRY(hps_source_open(paths->items[i], choice, &sources->items[i]));
        sources->count++;
        if (__builtin_add_overflow(sources->first[i], sources->items[i].array.rows, &sources->first[i + 1])) {
            return hps_fail(HPS_EFORMAT, "%s: more rows than a 64-bit number counts", paths->items[i]);
        }
    }
    return HPS_OK;
}

static hps_status compare_all(hps_sources *sources)
{
    const hps_source *head = &sources->items[0];

    sources->rows = sources->first[sources->count];
    sources->d = head->d;
    sources->same_dtype = true;
    for (int64_t i = 1; i < sources->count; i++) {
        const hps_source *each = &sources->items[i];
        if (each->d != head->d) {
            return hps_fail(HPS_EFORMAT, "%s: d is %lld, in %s it is %lld; activations of one place have one d",
                            each->path, (long long)each->d, head->path, (long long)head->d);
        }
        if (strcmp(each->hook, head->hook) != 0 && each->hook[0] != '\0' && head->hook[0] != '\0') {
            return hps_fail(HPS_EFORMAT, "%s: its activations are of %s, those of %s are of %s", each->path, each->hook,
                            head->path, head->hook);
        }
        sources->same_dtype = sources->same_dtype && each->dtype == head->dtype;
    }
    return HPS_OK;
}

/* Node-local files of one name may differ: what every rank saw must have one hash. */
static hps_status compare_ranks(MPI_Comm comm, const hps_sources *sources)
{
    uint64_t seen = (uint64_t)sources->d, range[2];

    for (int64_t i = 0; i < sources->count; i++) {
        seen = (seen ^ (uint64_t)sources->first[i + 1]) * 0x9e3779b97f4a7c15u + (uint64_t)sources->items[i].dtype;
    }
    range[0] = seen;
    range[1] = ~seen;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, range, 2, MPI_UINT64_T, MPI_MAX, comm));
    if (range[0] != ~range[1]) {
        return hps_fail(HPS_EIO, "%s: ranks see different files of these names; all must see the same file system",
                        sources->items[0].path);
    }
    return HPS_OK;
}

static hps_status open_here(int64_t count, char *const *paths, const char *const *suffixes, hps_choice choice,
                            hps_sources *sources)
{
    hps_paths files;
    hps_status status = hps_paths_expand(count, paths, suffixes, &files);

    if (status == HPS_OK) {
        status = open_all(&files, choice, sources);
    }
    if (status == HPS_OK) {
        status = compare_all(sources);
    }
    hps_paths_free(&files);
    return status;
}

hps_status hps_sources_open(MPI_Comm comm, int64_t count, char *const *paths, const char *const *suffixes,
                            hps_choice choice, hps_sources *sources)
{
    *sources = (hps_sources){0};
    hps_status status = hps_agree(comm, open_here(count, paths, suffixes, choice, sources));

    if (status == HPS_OK && comm != MPI_COMM_NULL) {
        status = compare_ranks(comm, sources);
    }
    if (status != HPS_OK) {
        hps_sources_close(sources);
    }
    return status;
}

void hps_sources_close(hps_sources *sources)
{
    for (int64_t i = 0; i < sources->count; i++) {
        hps_source_close(&sources->items[i]);
    }
    HPS_FREE(&sources->items);
    HPS_FREE(&sources->first);
    *sources = (hps_sources){0};
}

int64_t hps_sources_find(const hps_sources *sources, int64_t row)
{
    int64_t low = 0, high = sources->count - 1;

    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (sources->first[middle] <= row) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}
