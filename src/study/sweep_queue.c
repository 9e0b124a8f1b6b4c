#include "sweep_queue.h"

#include "hpsae/base/log.h"

#include <time.h>

enum { NEXT, STOP, WORDS };

/* Waits asleep, most of the time: MPI alone would spin. */
static void wait_for(MPI_Request *request)
{
    static const long longest = 20000000;
    struct timespec pause = {.tv_nsec = 10000};
    int done = 0;

    for (;;) {
        HPS_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (done) {
            return;
        }
        nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec * 3 / 2 < longest ? pause.tv_nsec * 3 / 2 : longest;
    }
}

void hps_sweep_meet(MPI_Comm comm)
{
    MPI_Request request;

    HPS_MPI(MPI_Ibarrier(comm, &request));
    wait_for(&request);
}

void hps_sweep_queue_create(MPI_Comm world, hps_sweep_queue *queue)
{
    int rank;

    *queue = (hps_sweep_queue){.stops = false};
    HPS_MPI(MPI_Comm_rank(world, &rank));
    HPS_MPI(MPI_Win_allocate(rank == 0 ? WORDS * (MPI_Aint)sizeof(int64_t) : 0, sizeof(int64_t), MPI_INFO_NULL, world,
                             &queue->word, &queue->window));
    HPS_MPI(MPI_Win_lock_all(0, queue->window));
    if (rank == 0) {
        queue->word[NEXT] = queue->word[STOP] = 0;
        HPS_MPI(MPI_Win_sync(queue->window));
    }
    HPS_MPI(MPI_Barrier(world));
}

void hps_sweep_queue_destroy(hps_sweep_queue *queue)
{
    HPS_MPI(MPI_Win_unlock_all(queue->window));
    HPS_MPI(MPI_Win_free(&queue->window));
}

/* Adds to a word of rank 0 and returns what it was. */
static int64_t add(hps_sweep_queue *queue, MPI_Aint word, int64_t what)
{
    MPI_Request request;
    int64_t was = 0;

    HPS_MPI(MPI_Rget_accumulate(&what, 1, MPI_INT64_T, &was, 1, MPI_INT64_T, 0, word, 1, MPI_INT64_T, MPI_SUM,
                                queue->window, &request));
    wait_for(&request);
    HPS_MPI(MPI_Win_flush(0, queue->window));
    return was;
}

int64_t hps_sweep_queue_next(hps_sweep_queue *queue)
{
    return add(queue, NEXT, 1);
}

void hps_sweep_queue_stop(hps_sweep_queue *queue)
{
    queue->stops = true;
    add(queue, STOP, 1);
}

bool hps_sweep_queue_asked(void *context)
{
    hps_sweep_queue *queue = context;

    if (!queue->stops && hps_elapsed() - queue->looked >= 1) {
        queue->looked = hps_elapsed();
        queue->stops = add(queue, STOP, 0) > 0;
    }
    return queue->stops;
}
