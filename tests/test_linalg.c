/*
 * Block-cyclic matrices give what plain loops give, whatever the grid and the block: numbers dealt from one grid to
 * another, products, eigenvectors (also where ScaLAPACK asks for too little workspace), positive definite systems; an
 * indefinite one is told; a grid that is not the job's is refused.  The best assignment of small matrices is that of
 * trying all, of larger ones the one that was planted.
 *
 * ranks: 1 2 3 4 6
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/linalg/assignment.h"
#include "hpsae/linalg/products.h"
#include "hpsae/linalg/solve.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ranks;

static double number(int matrix, int64_t i, int64_t j)
{
    return hps_random_uniform(7, HPS_DRAW_TEST, (uint64_t)matrix, (uint64_t)(i * 4096 + j)) - 0.5;
}

static double symmetric(int64_t i, int64_t j, double diagonal)
{
    return number(9, i < j ? i : j, i < j ? j : i) + (i == j ? diagonal : 0);
}

static void *array(int64_t count, size_t size)
{
    void *made = calloc((size_t)count + 1, size);

    if (made == NULL) {
        abort();
    }
    return made;
}

static void fill(const hps_cyclic *c, int matrix, double *part)
{
    for (int64_t j = 0; j < c->local_n; j++) {
        for (int64_t i = 0; i < c->local_m; i++) {
            part[i + j * c->ld] = number(matrix, hps_cyclic_row(c, i), hps_cyclic_column(c, j));
        }
    }
}

static void fill_symmetric(const hps_cyclic *c, double diagonal, double *part)
{
    for (int64_t j = 0; j < c->local_n; j++) {
        for (int64_t i = 0; i < c->local_m; i++) {
            part[i + j * c->ld] = symmetric(hps_cyclic_row(c, i), hps_cyclic_column(c, j), diagonal);
        }
    }
}

static void gathers(const hps_process_grid *grid, int64_t m, int64_t n, int64_t nb)
{
    hps_cyclic c = {0};

    CHECK(hps_cyclic_create(grid, m, n, nb, 0, &c) == HPS_OK);
    double *part = array(hps_cyclic_elements(&c), 8), *rows = array(m * n, 8), *columns = array(m * n, 8);
    fill(&c, 1, part);
    hps_cyclic_gather_rows(&c, part, 0, m, rows);
    hps_cyclic_gather_columns(&c, part, 0, n, columns);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            CHECK(rows[i * n + j] == number(1, i, j) && columns[j * m + i] == number(1, i, j));
        }
    }
    CHECK(hps_cyclic_elements(&c) <= hps_cyclic_most_elements(grid, m, n, nb));
    free(part);
    free(rows);
    free(columns);
}

/* Columns [5, 5 + count) of d x n from a line of ranks to the grid, then their Gram matrix with the first ones. */
static void deals_and_multiplies(const hps_process_grid *grid, int64_t d, int64_t n, int64_t count, int64_t nb)
{
    hps_process_grid line;
    hps_cyclic from = {0}, a = {0}, b = {0}, g = {0};
    int64_t wrong = 0;
    double worst = 0;

    CHECK(hps_process_grid_create(grid->comm, 1, 0, &line) == HPS_OK);
    CHECK(hps_cyclic_create(&line, d, n, 32, d + 3, &from) == HPS_OK);
    CHECK(hps_cyclic_create(grid, d, count, nb, 0, &a) == HPS_OK);
    CHECK(hps_cyclic_create(grid, d, count + 1, nb, 0, &b) == HPS_OK);
    CHECK(hps_cyclic_create(grid, count, count + 1, nb, 0, &g) == HPS_OK);
    float *x = array(hps_cyclic_elements(&from), 4), *pa = array(hps_cyclic_elements(&a), 4),
          *pb = array(hps_cyclic_elements(&b), 4), *pg = array(hps_cyclic_elements(&g), 4);
    for (int64_t j = 0; j < from.local_n; j++) {
        for (int64_t i = 0; i < d; i++) {
            x[i + j * from.ld] = (float)number(2, i, hps_cyclic_column(&from, j));
        }
    }
    hps_cyclic_deal(&from, x, 5, &a, pa);
    hps_cyclic_deal(&from, x, 0, &b, pb);
    for (int64_t j = 0; j < a.local_n; j++) {
        for (int64_t i = 0; i < a.local_m; i++) {
            wrong += pa[i + j * a.ld] != (float)number(2, hps_cyclic_row(&a, i), hps_cyclic_column(&a, j) + 5);
        }
    }
    CHECK(wrong == 0);
    hps_cyclic_gram(&a, pa, &b, pb, &g, pg);
    for (int64_t j = 0; j < g.local_n; j++) {
        for (int64_t i = 0; i < g.local_m; i++) {
            double sum = 0;
            for (int64_t q = 0; q < d; q++) {
                sum += number(2, q, hps_cyclic_row(&g, i) + 5) * number(2, q, hps_cyclic_column(&g, j));
            }
            worst = fmax(worst, fabs(sum - (double)pg[i + j * g.ld]));
        }
    }
    CHECK(worst < 1e-5);
    free(x);
    free(pa);
    free(pb);
    free(pg);
    hps_process_grid_destroy(&line);
}

/* A A' of the first columns alone, then a symmetric matrix times another. */
static void squares(const hps_process_grid *grid, int64_t n, int64_t k, int64_t nb)
{
    hps_cyclic a = {0}, c = {0};
    double worst = 0;

    CHECK(hps_cyclic_create(grid, n, k + 4, nb, 0, &a) == HPS_OK && hps_cyclic_create(grid, n, n, nb, 0, &c) == HPS_OK);
    double *pa = array(hps_cyclic_elements(&a), 8), *pc = array(hps_cyclic_elements(&c), 8),
           *pb = array(hps_cyclic_elements(&c), 8), *pp = array(hps_cyclic_elements(&c), 8);
    fill(&a, 3, pa);
    hps_cyclic_add_square(&a, pa, k, &c, pc);
    hps_cyclic_add_square(&a, pa, k, &c, pc);
    fill(&c, 4, pb);
    hps_cyclic_symmetric_times(&c, pc, &c, pb, &c, pp);
    double *whole = array(n * n, 8);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            for (int64_t q = 0; q < k; q++) {
                whole[i * n + j] += 2 * number(3, i, q) * number(3, j, q);
            }
        }
    }
    for (int64_t j = 0; j < c.local_n; j++) {
        for (int64_t i = 0; i < c.local_m; i++) {
            const int64_t gi = hps_cyclic_row(&c, i), gj = hps_cyclic_column(&c, j);
            double sum = 0;
            for (int64_t q = 0; q < n; q++) {
                sum += whole[gi * n + q] * number(4, q, gj);
            }
            worst = fmax(worst, fabs(sum - pp[i + j * c.ld]));
            worst = fmax(worst, gi >= gj ? fabs(whole[gi * n + gj] - pc[i + j * c.ld]) : 0);
        }
    }
    CHECK(worst < 1e-10);
    free(pa);
    free(pb);
    free(pc);
    free(pp);
    free(whole);
}

/* |A Z - Z W| and |Z'Z - 1|. */
static void eigenvectors(const hps_process_grid *grid, int64_t n, int64_t wanted)
{
    hps_cyclic c = {0};
    double worst = 0;

    CHECK(hps_cyclic_create(grid, n, n, hps_cyclic_block(grid, n, wanted), 0, &c) == HPS_OK);
    double *a = array(hps_cyclic_elements(&c), 8), *z = array(hps_cyclic_elements(&c), 8), *w = array(n, 8),
           *columns = array(n * n, 8);
    fill_symmetric(&c, 0, a);
    CHECK(hps_cyclic_eigen(&c, a, w, z) == HPS_OK);
    hps_cyclic_gather_columns(&c, z, 0, n, columns);
    for (int64_t e = 0; e < n; e++) {
        const double *v = columns + e * n;
        CHECK(e == 0 || w[e] >= w[e - 1]);
        for (int64_t i = 0; i < n; i++) {
            double product = 0, dot = 0;
            for (int64_t j = 0; j < n; j++) {
                product += symmetric(i, j, 0) * v[j];
                dot += columns[i * n + j] * v[j];
            }
            worst = fmax(worst, fmax(fabs(product - w[e] * v[i]), fabs(dot - (i == e))));
        }
    }
    CHECK(worst < 1e-11);
    free(a);
    free(z);
    free(w);
    free(columns);
}

static void systems(const hps_process_grid *grid, int64_t n, int64_t sides, int64_t nb)
{
    hps_cyclic A = {0}, B = {0};
    int64_t minor;
    double worst = 0;

    CHECK(hps_cyclic_create(grid, n, n, nb, 0, &A) == HPS_OK && hps_cyclic_create(grid, n, sides, nb, 0, &B) == HPS_OK);
    double *a = array(hps_cyclic_elements(&A), 8), *b = array(hps_cyclic_elements(&B), 8), *x = array(n * sides, 8);
    fill_symmetric(&A, (double)n, a);
    fill(&B, 5, b);
    hps_cyclic_solve(&A, a, &B, b, &minor);
    CHECK(minor == 0);
    hps_cyclic_gather_rows(&B, b, 0, n, x);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t s = 0; s < sides; s++) {
            double sum = -number(5, i, s);
            for (int64_t j = 0; j < n; j++) {
                sum += symmetric(i, j, (double)n) * x[j * sides + s];
            }
            worst = fmax(worst, fabs(sum));
        }
    }
    CHECK(worst < 1e-11);
    fill_symmetric(&A, -1, a);
    hps_cyclic_solve(&A, a, &B, b, &minor);
    CHECK(minor == 1);
    free(a);
    free(b);
    free(x);
}

static void on_grid(int64_t rows, int64_t columns)
{
    static const int64_t size[] = {1, 2, 5, 64, 65, 129, 200};
    hps_process_grid grid;

    CHECK(hps_process_grid_create(MPI_COMM_WORLD, rows, columns, &grid) == HPS_OK && grid.P * grid.Q == ranks);
    gathers(&grid, 37, 11, 4);
    gathers(&grid, 3, 130, 64);
    deals_and_multiplies(&grid, 45, 333, 100, 8);
    deals_and_multiplies(&grid, 3, 70, 20, 32);
    squares(&grid, 33, 20, 8);
    squares(&grid, 5, 70, 32);
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        eigenvectors(&grid, size[i], 64);
        systems(&grid, size[i], 7, hps_cyclic_block(&grid, size[i], 32));
    }
    systems(&grid, 50, 3, 64);
    hps_process_grid_destroy(&grid);
}

static void all_grids(void)
{
    for (int rows = 1; rows <= ranks; rows++) {
        if (ranks % rows == 0) {
            on_grid(rows, 0);
        }
    }
    on_grid(0, 0);
    tap_case("products, eigenvectors and systems on every grid");
}

static void wrong_grids(void)
{
    hps_process_grid grid;

    CHECK(hps_process_grid_create(MPI_COMM_WORLD, ranks + 1, 0, &grid) == HPS_ECONFIG);
    hps_process_grid_destroy(&grid);
    CHECK(hps_process_grid_create(MPI_COMM_WORLD, ranks, 2, &grid) == HPS_ECONFIG);
    CHECK(hps_process_grid_create(MPI_COMM_WORLD, 0, ranks + 3, &grid) == HPS_ECONFIG);
    for (int round = 0; round < 50; round++) {
        CHECK(hps_process_grid_create(MPI_COMM_WORLD, 0, 0, &grid) == HPS_OK && grid.P <= grid.Q);
        hps_process_grid_destroy(&grid);
    }
    tap_case("grids that are not the job's are refused, others come and go");
}

/* The largest sum over all permutations of rows from `row` on. */
static double try_all(int64_t n, const float *value, int64_t row, unsigned taken)
{
    double best = row == n ? 0 : -INFINITY;

    for (int64_t j = 0; row < n && j < n; j++) {
        if ((taken & 1u << j) == 0) {
            best = fmax(best, (double)value[row * n + j] + try_all(n, value, row + 1, taken | 1u << j));
        }
    }
    return best;
}

static double assigned(int64_t n, const float *value)
{
    int32_t *column = array(n, 4), *seen = array(n, 4);
    double sum = 0;

    CHECK(hps_assignment_best(n, value, column) == HPS_OK);
    for (int64_t i = 0; i < n; i++) {
        CHECK(column[i] >= 0 && column[i] < n && seen[column[i]]++ == 0);
        sum += (double)value[i * n + column[i]];
    }
    free(column);
    free(seen);
    return sum;
}

static void assignments(void)
{
    float value[7 * 7];

    for (int trial = 0; trial < 300; trial++) {
        const int64_t n = 1 + trial % 7;
        for (int64_t i = 0; i < n * n; i++) {
            const double x = number(20 + trial, i, 0);
            value[i] = (float)(trial % 3 == 0 ? round(4 * x) : x);
        }
        CHECK(fabs(assigned(n, value) - try_all(n, value, 0, 0)) < 1e-6);
    }
    tap_case("the best assignment, by trying all");
}

/* A planted permutation that no other can reach: value 1 there, less elsewhere. */
static void planted_assignment(void)
{
    enum { N = 400 };
    float *value = array(N * N, 4);

    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < N; j++) {
            value[i * N + j] = j == (i * 37 + 11) % N ? 1 : (float)(0.9 + 0.09 * number(6, i, j));
        }
    }
    CHECK(assigned(N, value) == N);
    for (int64_t i = 0; i < (int64_t)N * N; i++) {
        value[i] = 0.25f;
    }
    CHECK(assigned(N, value) == 0.25 * N);
    free(value);
    tap_case("a planted assignment, and one of equal values");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    all_grids();
    wrong_grids();
    assignments();
    planted_assignment();
    CHECK(hps_memory_arrays() == 0);
    tap_case("every array is given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
