#include "hpsae/linalg/assignment.h"

#include "hpsae/base/memory.h"

#include <math.h>
#include <string.h>

/* Costs are -value; u and v are the duals: cost - u[i] - v[j] >= 0, and 0 where i and j are matched. */
typedef struct {
    int64_t n;
    const float *value;
    double *u, *v;
    double *distance;      /* [n] of a column from the free row */
    int32_t *column, *row; /* who is matched with whom, -1: nobody */
    int32_t *from;         /* [n] row before a column on its shortest path */
    int32_t *open;         /* [n] columns that are not done, `left` of them */
    int64_t left;
} matching;

static hps_status allocate(matching *a)
{
    HPS_TRY(HPS_ALLOC(&a->u, a->n, "matching"));
    HPS_TRY(HPS_ALLOC(&a->v, a->n, "matching"));
    HPS_TRY(HPS_ALLOC(&a->distance, a->n, "matching"));
    HPS_TRY(HPS_ALLOC(&a->row, a->n, "matching"));
    HPS_TRY(HPS_ALLOC(&a->from, a->n, "matching"));
    return HPS_ALLOC(&a->open, a->n, "matching");
}

static void release(matching *a)
{
    HPS_FREE(&a->u);
    HPS_FREE(&a->v);
    HPS_FREE(&a->distance);
    HPS_FREE(&a->row);
    HPS_FREE(&a->from);
    HPS_FREE(&a->open);
}

/* Column reduction: v_j becomes what its best row allows, and takes that row if it is free. */
static void reduce_columns(matching *a)
{
    const int64_t n = a->n;

    memset(a->row, -1, (size_t)n * sizeof(*a->row));
    memset(a->column, -1, (size_t)n * sizeof(*a->column));
    memset(a->from, 0, (size_t)n * sizeof(*a->from));
    for (int64_t j = 0; j < n; j++) {
        a->v[j] = -(double)a->value[j];
    }
    for (int64_t i = 1; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            const double cost = -(double)a->value[i * n + j];
            if (cost < a->v[j]) {
                a->v[j] = cost;
                a->from[j] = (int32_t)i;
            }
        }
    }
    for (int64_t j = n - 1; j >= 0; j--) {
        if (a->column[a->from[j]] < 0) {
            a->column[a->from[j]] = (int32_t)j;
            a->row[j] = a->from[j];
        }
    }
}

/* Paths through row i, which is `least` away: shorter ways to the open columns.  Returns the place of the nearest. */
static int64_t relax(matching *a, int32_t i, double least)
{
    const float *value = a->value + i * a->n;
    int64_t nearest = 0;

    for (int64_t o = 0; o < a->left; o++) {
        const int32_t j = a->open[o];
        const double reduced = least - (double)value[j] - a->u[i] - a->v[j];
        if (reduced < a->distance[j]) {
            a->distance[j] = reduced;
            a->from[j] = i;
        }
        const int32_t best = a->open[nearest];
        if (a->distance[j] < a->distance[best] ||
            (a->distance[j] == a->distance[best] && a->row[j] < 0 && a->row[best] >= 0)) {
            nearest = o;
        }
    }
    return nearest;
}

/* The nearest free column; those nearer stand behind the open ones.  The duals then make the path's edges tight. */
static int32_t search(matching *a, int32_t start)
{
    int32_t i = start, sink = -1;
    double least = 0;

    a->left = a->n;
    for (int64_t j = 0; j < a->n; j++) {
        a->open[j] = (int32_t)j;
        a->distance[j] = INFINITY;
    }
    while (sink < 0) {
        const int64_t place = relax(a, i, least);
        const int32_t j = a->open[place];
        least = a->distance[j];
        a->open[place] = a->open[--a->left];
        a->open[a->left] = j;
        i = a->row[j];
        sink = i < 0 ? j : -1;
    }
    a->u[start] += least;
    for (int64_t o = a->left; o < a->n; o++) {
        const int32_t j = a->open[o];
        if (j != sink) {
            a->u[a->row[j]] += least - a->distance[j];
        }
        a->v[j] -= least - a->distance[j];
    }
    return sink;
}

static void augment(matching *a, int32_t start, int32_t sink)
{
    int32_t i;

    do {
        i = a->from[sink];
        a->row[sink] = i;
        const int32_t next = a->column[i];
        a->column[i] = sink;
        sink = next;
    } while (i != start);
}

hps_status hps_assignment_best(int64_t n, const float *value, int32_t *column)
{
    matching a = {.n = n, .value = value, .column = column};

    const hps_status status = allocate(&a);
    if (status == HPS_OK) {
        reduce_columns(&a);
        for (int64_t i = 0; i < n; i++) {
            if (column[i] < 0) {
                augment(&a, (int32_t)i, search(&a, (int32_t)i));
            }
        }
    }
    release(&a);
    return status;
}
