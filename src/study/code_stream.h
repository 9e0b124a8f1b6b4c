/*
 * The codes of rows of a store by a model, batch by batch, on every rank: what encode writes and others count or sum.
 */
#ifndef HPSAE_STUDY_CODE_STREAM_H
#define HPSAE_STUDY_CODE_STREAM_H

#include "hpsae/model/dataset.h"
#include "hpsae/model/feed.h"
#include "hpsae/model/forward.h"

typedef struct {
    const char *path; /* of the model, for messages; borrowed, as are model and dataset */
    hps_model *model;
    const hps_dataset *dataset;
    int64_t first, rows; /* of the store */
    int64_t batch;       /* at most so many at a time */
    const hps_kernels *kernels;
    int threads;
} hps_code_options;

typedef struct {
    hps_code_options options;
    hps_forward *forward; /* slots: the codes of the last batch, y = x - b its rows */
    hps_feed *feed;
    int64_t batch;
} hps_code_stream;

/*
 * Collective over grid->model.  Errors: HPS_ECONFIG for a store of another d, a BatchTopK model that has no threshold yet;
 * those of hps_feed_create and hps_forward_create.  Release with hps_code_stream_close (local).
 */
hps_status hps_code_stream_open(const hps_grid *grid, const hps_code_options *options, hps_code_stream *stream);
void hps_code_stream_close(hps_code_stream *stream);

/*
 * Collective over grid->model.  The codes of the rows from `position` on (0: options.first), as the model selects in use;
 * *count: how many rows, fewer where a threshold lets more through than there is room for.  Errors: those of
 * hps_feed_batch and hps_forward_select.
 */
hps_status hps_code_stream_next(hps_code_stream *stream, int64_t position, int64_t *count);

#endif
