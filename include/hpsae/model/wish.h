/*
 * Why a run should end before it is done: a signal, a file, the clock, another part of the job.
 */
#ifndef HPSAE_MODEL_WISH_H
#define HPSAE_MODEL_WISH_H

#include <stdbool.h>

/* The largest over all ranks counts. */
typedef enum { HPS_GO_ON, HPS_SAVE, HPS_STOP_OTHER, HPS_STOP_TIME, HPS_STOP_FILE, HPS_STOP_SIGNAL } hps_wish;

/* Where rank 0 looks, beside the clock. */
typedef struct {
    const char *directory;        /* a file `stop` in it asks for an end; borrowed */
    bool (*asked)(void *context); /* local: whether another part of the job asks for one; NULL: never */
    void *context;
} hps_wish_sources;

/*
 * Local.  Catches SIGTERM and SIGUSR1 from now on; _restore gives them back.  May be nested: the outermost pair counts, and
 * a signal is remembered till its end.
 */
void hps_wish_listen(void);
void hps_wish_restore(void);

/* Local.  What this rank wishes for; rank 0 alone looks at the clock and at the sources. */
hps_wish hps_wish_now(int rank, const hps_wish_sources *sources, double max_minutes, double save_seconds,
                      double last_save);

/* Local.  Removes the file `stop`, once it has been obeyed. */
void hps_wish_obeyed(const hps_wish_sources *sources);

/* Local.  In words: "train.max_minutes has passed", ... */
const char *hps_wish_words(hps_wish wish);

#endif
