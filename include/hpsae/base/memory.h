/*
 * The allocator that counts.  Arrays come zeroed and aligned to 64 bytes; what is live is known, so that a run can
 * state its memory and a test can find what was never given back.
 */
#ifndef HPSAE_BASE_MEMORY_H
#define HPSAE_BASE_MEMORY_H

#include "hpsae/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Local.  Allocates count elements of size bytes, zeroed, aligned to 64 bytes, into *array (any pointer type, passed by
 * address).  A count of 0 gives a valid pointer.  Free with hps_free.  Error: HPS_ENOMEM, naming `what` and the MiB.
 */
#define HPS_ALLOC(array, count, what) hps_alloc((void *)(array), (count), sizeof(**(array)), (what))
hps_status hps_alloc(void *array, int64_t count, size_t size, const char *what);

/* Local.  Frees *array, which came from hps_alloc or is NULL, and sets it to NULL. */
#define HPS_FREE(array) hps_free((void *)(array))
void hps_free(void *array);

/*
 * Where arrays come from.  A source gives zeroed room, aligned to 256 bytes, that this process can read and write like any
 * other; take returns NULL when there is none and writes why into `why` (a phrase).
 */
typedef struct {
    void *(*take)(size_t bytes, bool both_sides, size_t why_size, char *why);
    void (*give)(void *block, bool both_sides);
} hps_memory_source;

/*
 * Local.  From now on arrays of this process come from `source`, which must outlive them; NULL: from the C library, as at
 * the start.  Returns the source until now.  Arrays are freed where they came from.
 */
const hps_memory_source *hps_memory_use(const hps_memory_source *source);

/* Local.  As HPS_ALLOC, for what host and device both touch in every step: a source may keep it elsewhere. */
#define HPS_ALLOC_BOTH(array, count, what) hps_alloc_both((void *)(array), (count), sizeof(**(array)), (what))
hps_status hps_alloc_both(void *array, int64_t count, size_t size, const char *what);

/* Local.  Bytes and arrays that are live now; the most bytes that ever were; arrays ever allocated. */
int64_t hps_memory_live(void);
int64_t hps_memory_of_both(void); /* of the live bytes, those of hps_alloc_both */
int64_t hps_memory_arrays(void);
int64_t hps_memory_peak(void);
int64_t hps_memory_allocations(void);

/* Local.  The peak counts anew from here. */
void hps_memory_peak_anew(void);

/*
 * Local.  From now on, or no longer, large arrays are addresses alone, counted as ever: to learn what something would
 * allocate, on a machine where it does not fit.  They read as zeros; a page that is touched becomes real.  The peak counts
 * anew from here.
 */
void hps_memory_rehearse(bool on);

/* Local.  Resident memory of this process in bytes, from the operating system: now (-1 where it does not tell), and at
 * its largest. */
int64_t hps_memory_resident(void);
int64_t hps_memory_resident_peak(void);

/*
 * Local.  Bytes that all processes of this job on this node may hold together: what the machine has, or less where a control
 * group of this process, as batch systems make them, allows less.  -1 where the system does not tell.
 */
int64_t hps_memory_of_node(void);

#endif
