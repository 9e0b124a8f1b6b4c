/*
 * From screened candidates to exact nearest rows: the second half of hps_nearest.
 */
#ifndef HPSAE_STUDY_NEAREST_DECIDE_H
#define HPSAE_STUDY_NEAREST_DECIDE_H

#include "hpsae/base/candidate.h"
#include "hpsae/model/decoder_rows.h"

enum { HPS_NEAREST_KEPT = 4 };

/* The first HPS_NEAREST_KEPT of each row by screened cosine, in the order of hps_before, filled up with HPS_NO_CANDIDATE.
 * Rows are numbered through all dictionaries. */
typedef struct {
    int64_t count, rows;
    int64_t *offset;       /* [count + 1] number of each dictionary's first row */
    hps_candidate *within; /* [rows, HPS_NEAREST_KEPT] of the same dictionary */
    hps_candidate *across; /* the same of the others */
} hps_candidates;

/*
 * Collective over grid->model.  within and across [rows] as hps_nearest returns them.  The dictionaries' rows pass by every
 * rank in batches; a rank takes the canonical products of its own rows with their candidates, or, where its list may lack
 * some, with all rows.  HPS_ENOMEM.
 */
hps_status hps_decide(const hps_grid *grid, const hps_decoder_rows *rows, const hps_candidates *found, int threads,
                      float *within, float *across);

/* Local.  Bytes that it holds for so many own rows, about. */
int64_t hps_decide_bytes(int64_t own);

#endif
