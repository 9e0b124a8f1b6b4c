/*
 * Sums over rows, one for each of this rank's columns, from which explained variances follow.
 */
#ifndef HPSAE_MODEL_EVALUATE_SUMS_H
#define HPSAE_MODEL_EVALUATE_SUMS_H

#include "hpsae/comm/groups.h"
#include "hpsae/model/forward.h"

#include <stdint.h>

typedef struct {
    int64_t w;
    int kinds;             /* of reconstruction that are told apart */
    double *y, *y_square;  /* [w] of y = x - b */
    double *error;         /* [kinds, w] of R^2 */
    double *sum, *square;  /* [w] of a batch */
    double *share, *count; /* [w] */
} hps_error_sums;

/* Local.  Sums of zero over w columns.  HPS_ENOMEM.  Release with hps_error_sums_destroy. */
hps_status hps_error_sums_create(int64_t w, int kinds, hps_error_sums *s);
void hps_error_sums_destroy(hps_error_sums *s);

/* Local.  The B tokens of f->y, centred, join y and y_square. */
void hps_error_sums_inputs(hps_error_sums *s, const hps_forward *f, int64_t B);

/* Local.  The residuals R [B, ldd of the model] of B tokens, this rank's columns, join one kind. */
void hps_error_sums_residuals(hps_error_sums *s, const hps_forward *f, int64_t B, const float *R, int kind);

/* Collective over the communicator of groups.  The sums of all data groups, on each. */
void hps_error_sums_join(hps_error_sums *s, hps_group_sums *groups);

/*
 * Collective over the model ranks.  After `rows` rows: error [kinds] = sum |R|^2 over rows and columns, *variance = sum
 * |y - mean|^2, *ev_dimmean = mean over the columns that vary of 1 - SSE_j / SST_j for kind 0.
 */
void hps_error_sums_conclude(hps_error_sums *s, const hps_forward *f, int64_t rows, double *error, double *variance,
                             double *ev_dimmean);

#endif
