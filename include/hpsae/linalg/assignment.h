/*
 * The linear assignment problem: the best one-to-one matching of rows and columns.
 */
#ifndef HPSAE_LINALG_ASSIGNMENT_H
#define HPSAE_LINALG_ASSIGNMENT_H

#include "hpsae/base/status.h"

#include <stdint.h>

/*
 * Local.  For value [n, n], finite, by rows: column[i], a permutation, so that the sum of value[i, column[i]] is the largest.
 * Shortest augmenting paths with dual variables (Jonker and Volgenant, Computing 38, 1987), O(n^3) at worst.  Error:
 * HPS_ENOMEM.
 */
hps_status hps_assignment_best(int64_t n, const float *value, int32_t *column);

#endif
