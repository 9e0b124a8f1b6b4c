/*
 * The best one-to-one matching of two dictionaries.
 */
#ifndef HPSAE_STUDY_HUNGARIAN_H
#define HPSAE_STUDY_HUNGARIAN_H

#include "hpsae/model/decoder_rows.h"

/*
 * Collective over grid->model.  The mean cosine of the rows of a and b under the matching for which it is largest; both
 * have n rows.  Rank 0 holds the n x n canonical cosines and solves the assignment.  HPS_ENOMEM.
 */
hps_status hps_hungarian(const hps_grid *grid, const hps_decoder_rows *a, const hps_decoder_rows *b, int threads,
                         double *mean);

/* Local.  Bytes that rank 0 holds in the call beside the rows, about. */
int64_t hps_hungarian_bytes(int64_t n, int64_t d, int ranks);

#endif
