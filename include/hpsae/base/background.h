/*
 * One piece of work beside the main thread: reading ahead.
 */
#ifndef HPSAE_BASE_BACKGROUND_H
#define HPSAE_BASE_BACKGROUND_H

#include "hpsae/base/status.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct {
    hps_status (*work)(void *context);
    void *context;
    hps_status status;
    char message[HPS_MESSAGE_MAX]; /* of a failure, which a thread words for itself */
    pthread_t thread;
    bool under_way, threaded;
} hps_background;

/*
 * Local.  Has work(context) done by a thread of its own; where none is to be had, at once.  Until hps_background_finish
 * the caller leaves alone what the work uses: the thread must be the only caller of libraries that know no threads.
 * Nothing may be under way.
 */
void hps_background_start(hps_background *background, hps_status (*work)(void *context), void *context);

/* Local.  Waits for the work and returns its status, worded on this thread; HPS_OK where nothing is under way. */
hps_status hps_background_finish(hps_background *background);

#endif
