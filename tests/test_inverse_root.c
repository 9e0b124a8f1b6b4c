/*
 * The product of fixed order is that of three plain loops bit for bit, in whatever pieces; an inverse square root is one to
 * 1e-9 with a condition of 1e6, the same bits on all ranks with two threads as on one rank with one; matrices that have none
 * are told.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/ordered_product.h"
#include "hpsae/base/rng.h"
#include "hpsae/linalg/inverse_root.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 77 };

static double number(int matrix, int64_t i, int64_t j)
{
    return hps_random_uniform(3, HPS_DRAW_TEST, (uint64_t)matrix, (uint64_t)(i * 4096 + j)) - 0.5;
}

static double *array(int64_t count)
{
    double *made = calloc((size_t)count + 1, sizeof(*made));

    if (made == NULL) {
        abort();
    }
    return made;
}

/* c += a b, of a [m, depth] or its transpose, in one call and in two by depth and by rows. */
static void one_size(int64_t m, int64_t n, int64_t depth, bool transposed)
{
    const int64_t across = transposed ? 1 : depth, down = transposed ? m : 1, half = depth / 2, top = m / 3;
    double *a = array(m * depth), *b = array(depth * n), *c = array(m * n), *parts = array(m * n),
           *plain = array(m * n);

    for (int64_t i = 0; i < m * depth; i++) {
        a[i] = number(1, i, 0);
    }
    for (int64_t i = 0; i < depth * n; i++) {
        b[i] = number(2, i, 0);
    }
    for (int64_t i = 0; i < m * n; i++) {
        c[i] = parts[i] = plain[i] = number(3, i, 0);
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            for (int64_t k = 0; k < depth; k++) {
                plain[i * n + j] += a[i * across + k * down] * b[k * n + j];
            }
        }
    }
    hps_ordered_product(m, n, depth, a, across, down, b, n, c, n);
    hps_ordered_product(top, n, half, a, across, down, b, n, parts, n);
    hps_ordered_product(m - top, n, half, a + top * across, across, down, b, n, parts + top * n, n);
    hps_ordered_product(m, n, depth - half, a + half * down, across, down, b + half * n, n, parts, n);
    CHECK(memcmp(c, plain, (size_t)(m * n) * sizeof(*c)) == 0);
    CHECK(memcmp(parts, plain, (size_t)(m * n) * sizeof(*c)) == 0);
    free(a);
    free(b);
    free(c);
    free(parts);
    free(plain);
}

static void products(void)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {4, 4, 256}, {5, 3, 257}, {33, 39, 600}, {3, 9, 1}, {64, 8, 0}};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        one_size(sizes[i][0], sizes[i][1], sizes[i][2], false);
        one_size(sizes[i][0], sizes[i][1], sizes[i][2], true);
    }
    tap_case("a product of fixed order, by plain loops");
}

/* X X' with rows of X that shrink to `least`, plus nothing: positive definite while least > 0. */
static void make(double least, double *a)
{
    for (int64_t i = 0; i < D; i++) {
        for (int64_t j = 0; j < D; j++) {
            double sum = 0;
            for (int64_t k = 0; k < 2 * D; k++) {
                sum += number(4, i, k) * number(4, j, k);
            }
            const double size_i = i == D - 1 ? least : 1, size_j = j == D - 1 ? least : 1;
            a[i * D + j] = sum * size_i * size_j;
        }
    }
}

static double off_identity(const double *w, const double *a)
{
    double *t = array(D * D), *i = array(D * D), most = 0;

    hps_ordered_product(D, D, D, w, D, 1, a, D, t, D);
    hps_ordered_product(D, D, D, t, D, 1, w, D, i, D);
    for (int64_t q = 0; q < (int64_t)D * D; q++) {
        most = fmax(most, fabs(i[q] - (q % (D + 1) == 0 ? 1 : 0)));
    }
    free(t);
    free(i);
    return most;
}

static void roots(void)
{
    const size_t bytes = (size_t)D * D * sizeof(double);
    double *a = array(D * D), *root = array(D * D), *w = array(D * D), *root_1 = array(D * D), *w_1 = array(D * D);

    make(1e-3, a);
    memcpy(root, a, bytes);
    memcpy(root_1, a, bytes);
    CHECK(hps_inverse_root(MPI_COMM_WORLD, 2, D, root, w) == HPS_OK);
    CHECK(hps_inverse_root(MPI_COMM_SELF, 1, D, root_1, w_1) == HPS_OK);
    CHECK(memcmp(root, root_1, bytes) == 0 && memcmp(w, w_1, bytes) == 0);
    CHECK(off_identity(w, a) < 1e-9);
    double most = 0;
    memset(root_1, 0, bytes);
    hps_ordered_product(D, D, D, root, D, 1, root, D, root_1, D);
    for (int64_t q = 0; q < (int64_t)D * D; q++) {
        most = fmax(most, fabs(root_1[q] - a[q]));
    }
    CHECK(most < 1e-12 * D);
    free(a);
    free(root);
    free(w);
    free(root_1);
    free(w_1);
    tap_case("an inverse square root, the same bits on any number of ranks and threads");
}

static void none(void)
{
    double *a = array(D * D), *w = array(D * D);

    make(0, a); /* a row and a column of zeros */
    CHECK(hps_inverse_root(MPI_COMM_WORLD, 1, D, a, w) == HPS_ENUMERIC);
    make(1e-8, a); /* a condition of 1e16 */
    CHECK(hps_inverse_root(MPI_COMM_WORLD, 1, D, a, w) == HPS_ENUMERIC);
    make(1, a);
    a[5 * D + 5] = -1;
    CHECK(hps_inverse_root(MPI_COMM_WORLD, 1, D, a, w) == HPS_ENUMERIC);
    make(1, a);
    a[5 * D + 6] = a[6 * D + 5] = NAN;
    CHECK(hps_inverse_root(MPI_COMM_WORLD, 1, D, a, w) == HPS_ENUMERIC);
    memset(a, 0, (size_t)D * D * sizeof(*a));
    CHECK(hps_inverse_root(MPI_COMM_WORLD, 1, D, a, w) == HPS_ENUMERIC);
    CHECK(hps_memory_arrays() == 0);
    free(a);
    free(w);
    tap_case("matrices without one are told");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    products();
    roots();
    none();
    tap_done();
    MPI_Finalize();
    return 0;
}
