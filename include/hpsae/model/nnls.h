/*
 * Non-negative least squares of one token, in double, the same bits everywhere.
 */
#ifndef HPSAE_MODEL_NNLS_H
#define HPSAE_MODEL_NNLS_H

#include "hpsae/base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t most;     /* values that it serves */
    double *factor;   /* [most, most] */
    double *x;        /* [most] */
    double *gradient; /* [most] */
    int64_t *free;    /* [most] */
    bool *is_free;    /* [most] */
} hps_nnls;

/* Local.  Room for problems of up to `most` values.  HPS_ENOMEM.  Release with hps_nnls_destroy. */
hps_status hps_nnls_create(int64_t most, hps_nnls *work);
void hps_nnls_destroy(hps_nnls *work);

/*
 * Local.  z [K], K <= work->most: from the values that it holds (z0) to the z >= 0 that minimises z^T G z / 2 - c^T z
 * + ridge |z - z0|^2 / 2, G [K, K] symmetric, positive semidefinite.  The ridge, 1e-10 of G's largest diagonal element,
 * decides where G is singular: of all solutions the one nearest z0.  Block principal pivoting (Judice and Pires 1994,
 * Computers & Operations Research 21).  False, z untouched, where that did not end.
 */
bool hps_nnls_solve(hps_nnls *work, int64_t K, const double *G, const double *c, double *z);

#endif
