#include "hpsae/base/ordered_product.h"

#include <string.h>

/* Of a tile of c, which stays in registers, two numbers in each; of b that is taken at a time. */
enum { ROWS = 4, COLUMNS = 4, LANES = 2, DEPTH = 256 };

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

typedef struct {
    lanes row[ROWS][COLUMNS / LANES];
} tile;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of b, `width` of them a row, side by side, zeros behind. */
static void pack(int64_t depth, int64_t width, const double *b, int64_t ldb, double *to)
{
    for (int64_t k = 0; k < depth; k++) {
        for (int64_t j = 0; j < COLUMNS; j++) {
            to[k * COLUMNS + j] = j < width ? b[k * ldb + j] : 0;
        }
    }
}

/* Four rows of a and a packed strip of b. */
static void add_tile(int64_t depth, const double *a, int64_t across, int64_t down, const double *b, tile *c)
{
    lanes sum[ROWS][COLUMNS / LANES];

    memcpy(sum, c->row, sizeof(sum));
    for (int64_t k = 0; k < depth; k++) {
        lanes pair[COLUMNS / LANES];
        memcpy(pair, b + k * COLUMNS, sizeof(pair));
        for (int i = 0; i < ROWS; i++) {
            for (int v = 0; v < COLUMNS / LANES; v++) {
                sum[i][v] += a[i * across + k * down] * pair[v];
            }
        }
    }
    memcpy(c->row, sum, sizeof(sum));
}

/* The last rows, where fewer than four are left: the last one repeats itself. */
static void add_rest(int64_t rows, int64_t depth, const double *a, int64_t across, int64_t down, const double *b,
                     tile *c)
{
    double copy[ROWS * DEPTH];

    for (int64_t i = 0; i < ROWS; i++) {
        for (int64_t k = 0; k < depth; k++) {
            copy[i * DEPTH + k] = a[least(i, rows - 1) * across + k * down];
        }
    }
    add_tile(depth, copy, DEPTH, 1, b, c);
}

/* Columns of c, COLUMNS of them or fewer, over a depth of at most DEPTH. */
static void add_strip(int64_t m, int64_t width, int64_t depth, const double *a, int64_t across, int64_t down,
                      const double *b, double *c, int64_t ldc)
{
    const size_t bytes = (size_t)width * sizeof(double);

    for (int64_t i0 = 0; i0 < m; i0 += ROWS) {
        const int64_t rows = least(ROWS, m - i0);
        tile t = {0};
        for (int64_t i = 0; i < rows; i++) {
            memcpy(t.row[i], c + (i0 + i) * ldc, bytes);
        }
        if (rows == ROWS) {
            add_tile(depth, a + i0 * across, across, down, b, &t);
        } else {
            add_rest(rows, depth, a + i0 * across, across, down, b, &t);
        }
        for (int64_t i = 0; i < rows; i++) {
            memcpy(c + (i0 + i) * ldc, t.row[i], bytes);
        }
    }
}

void hps_ordered_product(int64_t m, int64_t n, int64_t depth, const double *a, int64_t across, int64_t down,
                         const double *b, int64_t ldb, double *c, int64_t ldc)
{
    double strip[DEPTH * COLUMNS];

    for (int64_t k = 0; k < depth; k += DEPTH) {
        const int64_t now = least(DEPTH, depth - k);
        for (int64_t j = 0; j < n; j += COLUMNS) {
            const int64_t width = least(COLUMNS, n - j);
            pack(now, width, b + k * ldb + j, ldb, strip);
            add_strip(m, width, now, a + k * down, across, down, strip, c + j, ldc);
        }
    }
}
