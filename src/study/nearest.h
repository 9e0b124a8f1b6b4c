/*
 * The nearest rows of several dictionaries, from the blocks of one large Gram matrix.
 *
 * ScaLAPACK's float32 product of a block only screens: its sums depend on the grid, but its error has a bound, d 2^-24 of
 * the norms.  Rows that may be the nearest within that bound are taken to the canonical product (base/canonical.h), which
 * decides.  So the figures are the same bits on any number of ranks and any grid, and those of hps_max_cos.
 */
#ifndef HPSAE_STUDY_NEAREST_H
#define HPSAE_STUDY_NEAREST_H

#include "hpsae/linalg/process_grid.h"
#include "hpsae/model/decoder_rows.h"

typedef struct {
    const hps_grid *grid;         /* one data group */
    const hps_process_grid *over; /* that the blocks are dealt over, the same ranks */
    int64_t count;                /* of dictionaries */
    const hps_decoder_rows *rows; /* [count], all of one d */
    int64_t panel;                /* rows of a block of the Gram matrix */
    int64_t nb;                   /* of ScaLAPACK's blocks */
    int threads;
} hps_nearest_options;

/*
 * Collective over grid->model.  Over all rows of all dictionaries, one after the other: within [rows], the largest signed
 * cosine with another row of the same dictionary; across [rows], with a row of any other one; at most 1, a row of zeros
 * has cosine 0; -infinity where there is no such row.  (rows)^2 d operations over all ranks.  HPS_ENOMEM, HPS_ECONFIG.
 */
hps_status hps_nearest(const hps_nearest_options *options, float *within, float *across);

/* Local.  Bytes that a rank holds in the call beside rows and results; about, of the rank that holds most. */
int64_t hps_nearest_bytes(const hps_process_grid *over, int64_t rows, int64_t d, int64_t panel, int64_t nb);

#endif
