/*
 * Who holds a lock: what its file says, and whether that process still runs.
 */
#ifndef HPSAE_BASE_RUN_LOCK_HOLDER_H
#define HPSAE_BASE_RUN_LOCK_HOLDER_H

#include "hpsae/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { HPS_HOLDER_WORD = 128 };

typedef struct {
    char host[HPS_HOLDER_WORD];
    int64_t process, start;                             /* start: ticks since the kernel booted */
    char boot[HPS_HOLDER_WORD], space[HPS_HOLDER_WORD]; /* this kernel, this process namespace */
    char since[HPS_HOLDER_WORD];                        /* UTC */
    char cluster[HPS_HOLDER_WORD], job[HPS_HOLDER_WORD], step[HPS_HOLDER_WORD]; /* of Slurm; "": none */
    int64_t restarts;                                                           /* of the Slurm job */
    char token[HPS_HOLDER_WORD];                                                /* of this taking of the lock alone */
} hps_holder;

typedef enum {
    HPS_HOLDER_UNKNOWN, /* cannot be asked */
    HPS_HOLDER_ALIVE,
    HPS_HOLDER_DEAD,
    HPS_HOLDER_ENDING /* its job is being ended */
} hps_holder_state;

/* Local.  This process. */
void hps_holder_self(hps_holder *self);

/* Local.  As text for the file, allocated by jansson (free it), NULL without memory; and back: false where it is none. */
char *hps_holder_text(const hps_holder *holder);
bool hps_holder_parse(const char *text, hps_holder *holder);

/* Local.  May take seconds: asks squeue, where the holder is of another job on this cluster. */
hps_holder_state hps_holder_ask(const hps_holder *holder, const hps_holder *self);

/* Local.  The line that refuses a second run. */
hps_status hps_holder_refuse(const char *path, const hps_holder *holder, const hps_holder *self);

#endif
