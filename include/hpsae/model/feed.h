/*
 * The stream of activations that a job trains on or evaluates: rows of the store in a known order, scaled, on all ranks.
 *
 * The order is a function of (seed, position).  The rows [first, first + rows) are cut into blocks of HPS_FEED_BLOCK
 * rows, the last one possibly shorter; position q belongs to epoch q / rows, in which the blocks stand in the order of
 * their keys hps_random_u64(seed, HPS_DRAW_BATCH_ORDER, epoch, block), ties by number; rows within a block ascend.
 * So reads are contiguous, and the place in the stream is one integer.  Without shuffling the blocks keep their order.
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
} hps_feed_options;

typedef struct hps_feed hps_feed;

/* Collective over grid->model.  Borrows grid and store.  HPS_ENOMEM, HPS_EARG.  Release with hps_feed_destroy (local). */
hps_status hps_feed_create(const hps_grid *grid, hps_store *store, const hps_feed_options *options, hps_feed **feed);
void hps_feed_destroy(hps_feed **feed);

/* Local.  What rows are scaled by from now on (while a run finds out its scale). */
void hps_feed_set_norm(hps_feed *feed, hps_norm norm, double scale);

/*
 * Collective over grid->model.  The rows at stream positions position ... position + count - 1, as float32 x [count, ld],
 * the same on every rank: each reads its share of the words, an allgather spreads them.  Errors, on every rank:
 * HPS_EIO; HPS_EFORMAT for a row that is not finite, naming it.
 */
hps_status hps_feed_batch(hps_feed *feed, int64_t position, int64_t count, int64_t ld, float *x);

/* Local.  The same rows, read by this rank alone. */
hps_status hps_feed_rows(hps_feed *feed, int64_t position, int64_t count, int64_t ld, float *x);

#endif
