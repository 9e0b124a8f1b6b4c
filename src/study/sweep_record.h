/*
 * What a sweep writes of its points: point.json in each directory, and what follows from those, sweep.json, results.h5 and
 * results.csv.
 */
#ifndef HPSAE_STUDY_SWEEP_RECORD_H
#define HPSAE_STUDY_SWEEP_RECORD_H

#include "hpsae/base/file.h"
#include "hpsae/config/sweep.h"
#include "hpsae/model/train.h"

#include <jansson.h>

typedef enum {
    HPS_POINT_WAITING,
    HPS_POINT_RUNNING, /* or was, when its process ended */
    HPS_POINT_COMPLETE,
    HPS_POINT_FAILED,
    HPS_POINT_DIVERGED /* failed, and would again */
} hps_point_state;

/* Local.  How far the point in a directory is, by its point.json: WAITING where there is none.  hash: of its resolved
 * configuration.  HPS_EFORMAT. */
hps_status hps_point_read(const char *directory, hps_point_state *state, uint64_t *hash);

/* Local.  The keys of a point with their values, as JSON. */
json_t *hps_point_set(const hps_sweep_point *point);

/*
 * Local, on a group's rank 0.  Writes point.json into the point's directory: RUNNING, WAITING (stopped), COMPLETE or a
 * failure with its reason.  For those that ended it holds the row of the table: from the configuration, run.json,
 * metrics.jsonl and, when complete, eval.json.  ranks: that trained it; d of the store.  HPS_EIO, HPS_EFORMAT, HPS_ENOMEM.
 */
hps_status hps_point_write(const hps_sweep_point *point, hps_point_state state, const char *reason, int64_t d,
                           int ranks);

/*
 * Local, in one process of those that write at the same time: the others wait.  Makes sweep.json, results.csv and results.h5
 * in the output anew from the point.json of all points.  points: name and set of each, as of the configuration; those of an
 * earlier sweep that have a directory are kept behind them; NULL: those that sweep.json has.  HPS_EIO, HPS_EFORMAT, HPS_ENOMEM.
 */
hps_status hps_sweep_publish(const char *output, json_t *points);

/* Local.  Writes the table as HDF5: column names and kinds as in `hps_sweep_columns`.  rows: objects with these keys. */
hps_status hps_sweep_results_h5(const char *path, const json_t *columns, const json_t *rows);

/* A column's kind is told by its first character: 's' text, 'i' integer, 'r' real. */

#endif
