#include "hpsae/linalg/products.h"

#include "scalapack.h"

static const int one = 1;

void hps_cyclic_deal(const hps_cyclic *from, const float *a, int64_t first, const hps_cyclic *to, float *b)
{
    const int m = (int)to->m, n = (int)to->n, column = (int)first + 1;

    psgemr2d_(&m, &n, a, &one, &column, from->desc, b, &one, &one, to->desc, &to->grid->context);
}

void hps_cyclic_gram(const hps_cyclic *A, const float *a, const hps_cyclic *B, const float *b, const hps_cyclic *C,
                     float *c)
{
    const int m = (int)A->n, n = (int)B->n, k = (int)A->m;
    const float alpha = 1, beta = 0;

    psgemm_("T", "N", &m, &n, &k, &alpha, a, &one, &one, A->desc, b, &one, &one, B->desc, &beta, c, &one, &one,
            C->desc);
}

void hps_cyclic_add_square(const hps_cyclic *A, const double *a, int64_t columns, const hps_cyclic *C, double *c)
{
    const int n = (int)C->n, k = (int)columns;
    const double alpha = 1, beta = 1;

    pdsyrk_("L", "N", &n, &k, &alpha, a, &one, &one, A->desc, &beta, c, &one, &one, C->desc);
}

void hps_cyclic_symmetric_times(const hps_cyclic *A, const double *a, const hps_cyclic *B, const double *b,
                                const hps_cyclic *C, double *c)
{
    const int m = (int)C->m, n = (int)C->n;
    const double alpha = 1, beta = 0;

    pdsymm_("L", "L", &m, &n, &alpha, a, &one, &one, A->desc, b, &one, &one, B->desc, &beta, c, &one, &one, C->desc);
}
