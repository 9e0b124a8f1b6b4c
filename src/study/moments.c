#include "moments.h"

#include "hpsae/base/memory.h"
#include "hpsae/linalg/products.h"

#include <string.h>

typedef struct {
    const hps_moments_options *o;
    hps_feed *feed;
    hps_cyclic X; /* d x batch, a column a row of the store */
    double *x;
    float *row;      /* [batch, ld] on every rank */
    int32_t *column; /* [local rows of X] of the store, which they are */
    int64_t d, ld;
    const hps_cyclic *C;
    double *c, *centre, *offset;
} moments;

static hps_status allocate(moments *m)
{
    HPS_TRY(hps_cyclic_create(m->o->over, m->d, m->o->rows.batch, m->C->nb, 0, &m->X));
    HPS_TRY(HPS_ALLOC(&m->x, hps_cyclic_elements(&m->X), "rows by blocks"));
    HPS_TRY(HPS_ALLOC(&m->column, m->X.local_m, "rows by blocks"));
    for (int64_t i = 0; i < m->X.local_m; i++) {
        m->column[i] = (int32_t)hps_cyclic_row(&m->X, i);
    }
    return HPS_ALLOC(&m->row, m->o->rows.batch * m->ld, "rows");
}

static void release(moments *m)
{
    hps_feed_destroy(&m->feed);
    HPS_FREE(&m->x);
    HPS_FREE(&m->column);
    HPS_FREE(&m->row);
}

/* Every rank adds up all columns, in the same order. */
static void add_to(const moments *m, int64_t count, double *sum)
{
    for (int64_t t = 0; t < count; t++) {
        for (int64_t j = 0; j < m->d; j++) {
            sum[j] += (double)m->row[t * m->ld + j] - m->centre[j];
        }
    }
}

/* This rank's part of the batch, less the centre. */
static void deal(const moments *m, int64_t count)
{
#pragma omp parallel for schedule(static) num_threads(m->o->threads)
    for (int64_t j = 0; j < m->X.local_n; j++) {
        const int64_t t = hps_cyclic_column(&m->X, j);
        for (int64_t i = 0; t < count && i < m->X.local_m; i++) {
            m->x[i + j * m->X.ld] = (double)m->row[t * m->ld + m->column[i]] - m->centre[m->column[i]];
        }
    }
}

/* Collective.  A centre near the mean, the mean of the first batch: what is left is corrected at the end. */
static hps_status guess_centre(moments *m)
{
    const int64_t count = m->o->rows.batch;

    memset(m->centre, 0, (size_t)m->d * sizeof(double));
    HPS_TRY(hps_feed_batch(m->feed, 0, count, m->ld, m->row));
    add_to(m, count, m->offset);
    for (int64_t j = 0; j < m->d; j++) {
        m->centre[j] = m->offset[j] / (double)count;
    }
    return HPS_OK;
}

/* Collective. */
static hps_status add_rows(moments *m)
{
    const int64_t rows = m->o->rows.rows, batch = m->o->rows.batch;

    memset(m->c, 0, (size_t)hps_cyclic_elements(m->C) * sizeof(double));
    memset(m->offset, 0, (size_t)m->d * sizeof(double));
    for (int64_t done = 0; done < rows; done += batch) {
        const int64_t count = rows - done < batch ? rows - done : batch;
        HPS_TRY(hps_feed_batch(m->feed, done, count, m->ld, m->row));
        add_to(m, count, m->offset);
        deal(m, count);
        hps_cyclic_add_square(&m->X, m->x, count, m->C, m->c);
    }
    for (int64_t j = 0; j < m->d; j++) {
        m->offset[j] /= (double)rows;
    }
    return HPS_OK;
}

/* From moments about the centre to those about the mean. */
static void move_to_mean(moments *m)
{
    for (int64_t j = 0; j < m->C->local_n; j++) {
        for (int64_t i = 0; i < m->C->local_m; i++) {
            m->c[i + j * m->C->ld] -=
                (double)m->o->rows.rows * m->offset[hps_cyclic_row(m->C, i)] * m->offset[hps_cyclic_column(m->C, j)];
        }
    }
    for (int64_t j = 0; j < m->d; j++) {
        m->centre[j] += m->offset[j];
        m->offset[j] = 0;
    }
}

int64_t hps_moments_bytes(const hps_process_grid *over, int64_t d, int64_t batch, int64_t nb)
{
    const int64_t words = 2 * batch * d * (int64_t)sizeof(float);

    return 8 * hps_cyclic_most_elements(over, d, batch, nb) + words + 64 * batch;
}

hps_status hps_moments_take(const hps_moments_options *o, bool own, const hps_cyclic *C, double *c, double *centre,
                            double *offset)
{
    moments m = {.o = o, .d = C->n, .ld = C->n, .C = C, .c = c, .centre = centre, .offset = offset};

    hps_status status = hps_feed_create(o->grid, o->store, &o->rows, &m.feed);
    status = hps_agree(o->grid->model, status == HPS_OK ? allocate(&m) : status);
    if (status == HPS_OK && own) {
        status = guess_centre(&m);
    }
    if (status == HPS_OK) {
        status = add_rows(&m);
    }
    if (status == HPS_OK && own) {
        move_to_mean(&m);
    }
    release(&m);
    return status;
}
