#include "hpsae/base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    ALIGNMENT = 64,
    IMAGINED = 1 << 20, /* arrays below that size are real in a rehearsal too */
    LARGE_PAGE = 2 << 20,
    LARGE = 2 * LARGE_PAGE /* arrays from that size on ask for large pages: their rows are met in any order */
};

static _Atomic int64_t live, of_both, arrays, peak, allocations;
static bool rehearsal;
static const hps_memory_source *source;

/* Stands in the 64 bytes before an array. */
typedef struct {
    size_t total;                    /* bytes, with these */
    const hps_memory_source *source; /* where it goes back to; NULL: the C library */
    bool imagined, both_sides;
} origin;
_Static_assert(sizeof(origin) <= ALIGNMENT, "the origin stands before the array");

const hps_memory_source *hps_memory_use(const hps_memory_source *new_source)
{
    const hps_memory_source *until_now = source;

    source = new_source;
    return until_now;
}

void hps_memory_peak_anew(void)
{
    atomic_store(&peak, atomic_load(&live));
}

void hps_memory_rehearse(bool on)
{
    rehearsal = on;
    hps_memory_peak_anew();
}

/* Zeroed room for an array, or addresses alone: pages that nothing touches take no memory. */
static char *take_block(size_t total, bool imagined)
{
    char *block;

    if (imagined) {
        block = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return block == MAP_FAILED ? NULL : block;
    }
    const size_t page = total >= LARGE ? LARGE_PAGE : ALIGNMENT;
    block = aligned_alloc(page, (total + page - 1) / page * page);
    if (block != NULL) {
        if (total >= LARGE) {
            madvise(block, total / page * page, MADV_HUGEPAGE); /* a wish: refused, nothing is lost */
        }
        memset(block, 0, total);
    }
    return block;
}

static hps_status allocate(void *array, int64_t count, size_t size, bool both_sides, const char *what)
{
    void **out = array;
    size_t bytes, total;
    char why[96] = "use more ranks, or a smaller model or batch";

    *out = NULL;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)(2 * ALIGNMENT - 1), &total) || total > PTRDIFF_MAX) {
        return hps_fail(HPS_ENOMEM, "%s: %lld elements do not fit the address space", what, (long long)count);
    }
    total = total / ALIGNMENT * ALIGNMENT;
    const bool imagined = rehearsal && total >= IMAGINED;
    const origin from = {total, imagined ? NULL : source, imagined, both_sides};
    char *block =
        from.source != NULL ? from.source->take(total, both_sides, sizeof(why), why) : take_block(total, imagined);
    if (block == NULL) {
        return hps_fail(HPS_ENOMEM, "%s: no memory for %.1f MiB; %s", what, (double)total / 1048576.0, why);
    }
    memcpy(block, &from, sizeof(from));
    *out = block + ALIGNMENT;

    const int64_t now = atomic_fetch_add(&live, (int64_t)total) + (int64_t)total;
    int64_t most = atomic_load(&peak);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) {
    }
    atomic_fetch_add(&of_both, both_sides ? (int64_t)total : 0);
    atomic_fetch_add(&arrays, 1);
    atomic_fetch_add(&allocations, 1);
    return HPS_OK;
}

hps_status hps_alloc(void *array, int64_t count, size_t size, const char *what)
{
    return allocate(array, count, size, false, what);
}

hps_status hps_alloc_both(void *array, int64_t count, size_t size, const char *what)
{
    return allocate(array, count, size, true, what);
}

void hps_free(void *array)
{
    char **in = array;
    origin from;

    if (*in == NULL) {
        return;
    }
    memcpy(&from, *in - ALIGNMENT, sizeof(from));
    atomic_fetch_sub(&live, (int64_t)from.total);
    atomic_fetch_sub(&of_both, from.both_sides ? (int64_t)from.total : 0);
    atomic_fetch_sub(&arrays, 1);
    if (from.imagined) {
        munmap(*in - ALIGNMENT, from.total);
    } else if (from.source != NULL) {
        from.source->give(*in - ALIGNMENT, from.both_sides);
    } else {
        free(*in - ALIGNMENT);
    }
    *in = NULL;
}

int64_t hps_memory_live(void)
{
    return atomic_load(&live);
}

int64_t hps_memory_of_both(void)
{
    return atomic_load(&of_both);
}

int64_t hps_memory_arrays(void)
{
    return atomic_load(&arrays);
}

int64_t hps_memory_peak(void)
{
    return atomic_load(&peak);
}

int64_t hps_memory_allocations(void)
{
    return atomic_load(&allocations);
}

int64_t hps_memory_resident(void)
{
    long long pages = -1;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*d %lld", &pages) != 1) {
        pages = -1;
    }
    if (file != NULL) {
        fclose(file);
    }
    return pages < 0 ? -1 : (int64_t)pages * sysconf(_SC_PAGESIZE);
}

int64_t hps_memory_resident_peak(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : -1; /* Linux counts KiB */
}
