/*
 * The stream of activations that a job trains on or evaluates: rows of the store in a known order, scaled, on all ranks.
 *
 * The order is a function of (seed, position).  The rows [first, first + rows) are cut into blocks of HPS_FEED_BLOCK
 * rows, the last one possibly shorter; position q belongs to epoch q / rows, in which the blocks stand in the order of
 * their keys hps_random_u64(seed, HPS_DRAW_BATCH_ORDER, epoch, block), ties by number; rows within a block ascend.
 * So reads are contiguous, and the place in the stream is one integer.  Without shuffling the blocks keep their order.
 *
 * A batch may be asked for ahead of time: hps_feed_begin has this rank's share read by a thread while the caller computes,
 * hps_feed_exchange spreads the shares over the model ranks by nonblocking messages, hps_feed_batch takes the rows.
 */
#ifndef HPSAE_MODEL_FEED_H
#define HPSAE_MODEL_FEED_H

#include "hpsae/comm/grid.h"
#include "hpsae/model/model.h"
#include "hpsae/store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum { HPS_FEED_BLOCK = 64 };

typedef struct {
    int64_t first, rows; /* of the store; rows >= 1 */
    bool shuffled;
    uint64_t seed;
    int64_t batch; /* the most rows that a call asks for */
    hps_norm norm;
    double scale;
    bool keeps; /* a batch that is asked for again at once is not read again */
} hps_feed_options;

/*
 * What rows go through on their way to the caller, in place of the feed's own norm and scale: first those that stand here,
 * then run(context, count, ld, x), collective over grid->model, in place on x [count, ld], the same on every rank; its
 * failures, the same on every rank, are those of hps_feed_batch.  Each row's result depends on that row alone.
 */
typedef struct {
    hps_norm norm;
    double scale;
    hps_status (*run)(void *context, int64_t count, int64_t ld, float *x);
    void *context;
} hps_feed_change;

/* What a rank read, since the feed was created. */
typedef struct {
    int64_t bytes;  /* of the store, by this rank */
    double reading; /* seconds that took, in whichever thread */
    double waiting; /* seconds in hps_feed_batch before all words of the batch were here */
} hps_feed_figures;

typedef struct hps_feed hps_feed;

/*
 * Collective over grid->model.  Borrows grid and store.  HPS_ENOMEM, HPS_EARG.  Release with hps_feed_destroy: local, but
 * collective after hps_feed_exchange without its hps_feed_batch.
 */
hps_status hps_feed_create(const hps_grid *grid, hps_store *store, const hps_feed_options *options, hps_feed **feed);
void hps_feed_destroy(hps_feed **feed);

/* Local.  What rows are scaled by from now on (while a run finds out its scale). */
void hps_feed_set_norm(hps_feed *feed, hps_norm norm, double scale);

/* Local, on every rank alike.  Borrows `change` from now on; NULL: none.  hps_feed_rows is then not to be called. */
void hps_feed_set_change(hps_feed *feed, const hps_feed_change *change);
bool hps_feed_is_changed(const hps_feed *feed);

/* Local.  The most rows that hps_feed_batch takes. */
int64_t hps_feed_most(const hps_feed *feed);

/*
 * Local, on every rank of grid->model alike.  Starts reading this rank's share of the rows that the next hps_feed_batch
 * asks for, by a thread.  From here to the next other call on this feed the caller reads no store and calls no HDF5.  What
 * goes wrong is told by hps_feed_batch.  Rows asked for beyond options.batch are left to it.
 */
void hps_feed_begin(hps_feed *feed, int64_t position, int64_t count);

/*
 * Local, at the same places on every rank of grid->model.  The first call after hps_feed_begin waits for the thread and
 * starts the nonblocking messages that spread the shares; later calls move them on.  Nothing without hps_feed_begin.
 */
void hps_feed_exchange(hps_feed *feed);

/*
 * Collective over grid->model.  The rows at stream positions position ... position + count - 1, as float32 x [count, ld],
 * the same on every rank: each reads its share of the words, an allgather spreads them; what hps_feed_begin and
 * hps_feed_exchange did of it for the same rows is not done again.  Errors, on every rank: HPS_EIO; HPS_EFORMAT for a row
 * that is not finite, naming it.
 */
hps_status hps_feed_batch(hps_feed *feed, int64_t position, int64_t count, int64_t ld, float *x);

/* Local.  The same rows, read by this rank alone.  Nothing begun may be under way. */
hps_status hps_feed_rows(hps_feed *feed, int64_t position, int64_t count, int64_t ld, float *x);

/* Local.  Not while a thread reads. */
hps_feed_figures hps_feed_so_far(const hps_feed *feed);

#endif
