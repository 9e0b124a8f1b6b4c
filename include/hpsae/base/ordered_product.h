/*
 * A matrix product in double whose bits do not depend on how it is cut up: for the few matrices that a library would
 * multiply in an order of its own.
 */
#ifndef HPSAE_BASE_ORDERED_PRODUCT_H
#define HPSAE_BASE_ORDERED_PRODUCT_H

#include <stdint.h>

/*
 * Local, one thread.  c[i, j] += a[i, 0] b[0, j], then + a[i, 1] b[1, j], ... in this order, each product and each sum
 * rounded to double: so that parts of c and of the depth may be taken in any calls, threads and ranks, as long as the
 * depth ascends.  a[i, k] stands at a[i * across + k * down]; b [depth, n] and c [m, n] lie by rows, ldb and ldc numbers apart.
 */
void hps_ordered_product(int64_t m, int64_t n, int64_t depth, const double *a, int64_t across, int64_t down,
                         const double *b, int64_t ldb, double *c, int64_t ldc);

#endif
