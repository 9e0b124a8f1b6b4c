#include "hpsae/base/background.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>

static void *run(void *argument)
{
    hps_background *b = argument;

    b->status = b->work(b->context);
    if (b->status != HPS_OK) {
        snprintf(b->message, sizeof(b->message), "%s", hps_status_message());
    }
    return NULL;
}

void hps_background_start(hps_background *b, hps_status (*work)(void *context), void *context)
{
    sigset_t all, before;

    b->work = work;
    b->context = context;
    b->under_way = true;
    /* Signals are the main thread's, whose calls know what to do when they are interrupted. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    b->threaded = pthread_create(&b->thread, NULL, run, b) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!b->threaded) {
        run(b);
    }
}

hps_status hps_background_finish(hps_background *b)
{
    if (!b->under_way) {
        return HPS_OK;
    }
    if (b->threaded) {
        pthread_join(b->thread, NULL);
    }
    b->under_way = false;
    return b->status == HPS_OK ? HPS_OK : hps_fail(b->status, "%s", b->message);
}
