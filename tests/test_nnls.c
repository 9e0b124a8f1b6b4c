/*
 * The non-negative least squares of shrinkage: the values meet the conditions of Karush, Kuhn and Tucker, which only the
 * minimum meets, on random systems of all shapes; a singular system gives the solution nearest the start; the same bits
 * when solved again.
 *
 * ranks: 1
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/nnls.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { MOST = 60, SYSTEMS = 60 };

typedef struct {
    int64_t K, d;
    double w[MOST * MOST], x[MOST]; /* rows, target */
    double G[MOST * MOST], c[MOST], z0[MOST], z[MOST];
} problem;

static double normal(uint64_t stream, int64_t i)
{
    return hps_random_normal(5, HPS_DRAW_TEST, stream, (uint64_t)i);
}

/* K rows near one direction in d dimensions (the nearer, the worse the condition), fitted to a target near them. */
static void make(problem *p, uint64_t stream, int64_t K, int64_t d, double spread)
{
    p->K = K;
    p->d = d;
    for (int64_t j = 0; j < d; j++) {
        p->x[j] = normal(stream, j) + 1;
    }
    for (int64_t i = 0; i < K * d; i++) {
        p->w[i] = (1 + spread * normal(stream, d + i)) / sqrt((double)d);
    }
    for (int64_t i = 0; i < K; i++) {
        p->c[i] = 0;
        p->z0[i] = 0.1 + fabs(normal(stream, 10000 + i));
        for (int64_t j = 0; j < d; j++) {
            p->c[i] += p->w[i * d + j] * p->x[j];
        }
        for (int64_t q = 0; q < K; q++) {
            p->G[i * K + q] = 0;
            for (int64_t j = 0; j < d; j++) {
                p->G[i * K + q] += p->w[i * d + j] * p->w[q * d + j];
            }
        }
    }
    memcpy(p->z, p->z0, sizeof(p->z));
}

/* How far z is from the minimum: the gradient is 0 where z > 0, and never below 0. */
static double violation(const problem *p)
{
    double worst = 0;

    for (int64_t i = 0; i < p->K; i++) {
        double gradient = -p->c[i];
        for (int64_t q = 0; q < p->K; q++) {
            gradient += p->G[i * p->K + q] * p->z[q];
        }
        worst = fmax(worst, p->z[i] > 0 ? fabs(gradient) : -gradient);
        worst = p->z[i] < 0 ? INFINITY : worst;
    }
    return worst;
}

static void test_conditions(hps_nnls *work, problem *p)
{
    int64_t held = 0, all = 0;

    for (int s = 0; s < SYSTEMS; s++) {
        make(p, 100 + (uint64_t)s, 1 + s % MOST, 30 + s % 7, s % 3 == 0 ? 2 : 0.3);
        CHECK(hps_nnls_solve(work, p->K, p->G, p->c, p->z));
        CHECK(violation(p) < 1e-7);
        for (int64_t i = 0; i < p->K; i++, all++) {
            held += p->z[i] == 0;
        }
    }
    CHECK(held > all / 5 && held < all * 4 / 5); /* the bound matters, and not everywhere */
    tap_case("conditions of the minimum, more or fewer values than dimensions");
}

static void test_start_is_minimum(hps_nnls *work, problem *p)
{
    make(p, 7, 20, 40, 1);
    for (int64_t i = 0; i < p->K; i++) {
        p->c[i] = 0;
        for (int64_t q = 0; q < p->K; q++) {
            p->c[i] += p->G[i * p->K + q] * p->z0[q];
        }
    }
    CHECK(hps_nnls_solve(work, p->K, p->G, p->c, p->z));
    for (int64_t i = 0; i < p->K; i++) {
        CHECK(fabs(p->z[i] / p->z0[i] - 1) < 1e-9);
    }
    tap_case("values that are the minimum stay");
}

/* Two equal rows: only the sum of their values is determined; each moves by the same amount. */
static void test_equal_rows(hps_nnls *work, problem *p)
{
    memset(p, 0, sizeof(*p));
    p->G[0] = p->G[1] = p->G[2] = p->G[3] = 1;
    p->c[0] = p->c[1] = 6;
    p->z[0] = 1;
    p->z[1] = 3;
    CHECK(hps_nnls_solve(work, 2, p->G, p->c, p->z));
    CHECK(fabs(p->z[0] - 2) < 1e-4 && fabs(p->z[1] - 4) < 1e-4);
    memset(p->G, 0, sizeof(p->G));
    p->z[0] = 1;
    CHECK(hps_nnls_solve(work, 1, p->G, p->c, p->z) && p->z[0] == 1);
    tap_case("a singular system takes the solution nearest the start");
}

static void test_again(hps_nnls *work, problem *p)
{
    double first[MOST];

    make(p, 9, MOST, 50, 0.5);
    CHECK(hps_nnls_solve(work, p->K, p->G, p->c, p->z));
    memcpy(first, p->z, sizeof(first));
    memcpy(p->z, p->z0, sizeof(p->z));
    CHECK(hps_nnls_solve(work, p->K, p->G, p->c, p->z));
    CHECK(memcmp(first, p->z, sizeof(first)) == 0);
    tap_case("the same bits again");
}

int main(int argc, char **argv)
{
    static problem p;
    hps_nnls work;

    MPI_Init(&argc, &argv);
    CHECK(hps_nnls_create(MOST, &work) == HPS_OK);
    test_conditions(&work, &p);
    test_start_is_minimum(&work, &p);
    test_equal_rows(&work, &p);
    test_again(&work, &p);
    hps_nnls_destroy(&work);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
