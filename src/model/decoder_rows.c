#include "hpsae/model/decoder_rows.h"

#include "double_dot.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <math.h>
#include <string.h>

enum { SLICE_FLOATS = 1 << 19, BATCH_ROWS = 1024 };

/* What the ranks exchange: a slice in which columns become latents. */
typedef struct {
    float *send, *receive;
    int *counts, *offsets, *counts_in, *offsets_in; /* [P] */
} slice;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

hps_shard hps_shard_of(const hps_shard *any, int q)
{
    hps_shard shard;

    (void)hps_shard_create(any->n, any->d, any->P, q, &shard); /* what was accepted once cannot fail */
    return shard;
}

int64_t hps_shard_most(const hps_shard *any)
{
    int64_t most = 0;

    for (int q = 0; q < any->P; q++) {
        const int64_t own = hps_shard_of(any, q).own;
        most = own > most ? own : most;
    }
    return most;
}

static int64_t lde_of(int64_t d)
{
    return (d + HPS_LANES - 1) / HPS_LANES * HPS_LANES;
}

/* Own rows that every rank moves in a slice, in whole blocks: P times as many latents take part. */
static int64_t slice_rows(int64_t d)
{
    const int64_t blocks = SLICE_FLOATS / (d * HPS_BLOCK);

    return (blocks < 1 ? 1 : blocks) * HPS_BLOCK;
}

static hps_status allocate(const hps_shard *s, slice *x)
{
    const int64_t rows = slice_rows(s->d);

    HPS_TRY(HPS_ALLOC(&x->send, rows * s->P * s->w, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&x->receive, rows * s->d, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&x->counts, s->P, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&x->offsets, s->P, "decoder by latent"));
    HPS_TRY(HPS_ALLOC(&x->counts_in, s->P, "decoder by latent"));
    return HPS_ALLOC(&x->offsets_in, s->P, "decoder by latent");
}

static void release(slice *x)
{
    HPS_FREE(&x->send);
    HPS_FREE(&x->receive);
    HPS_FREE(&x->counts);
    HPS_FREE(&x->offsets);
    HPS_FREE(&x->counts_in);
    HPS_FREE(&x->offsets_in);
}

int64_t hps_decoder_rows_bytes(int64_t d, int P)
{
    const int64_t columns = smaller(d, (d / HPS_BLOCK / P + 1) * HPS_BLOCK);

    return slice_rows(d) * (P * columns + d) * (int64_t)sizeof(float);
}

/* This rank's columns of the rows that rank q owns among own rows l0 ... l0 + rows - 1, tight; returns how many rows. */
static int64_t pack(const hps_model *m, const hps_shard *q, int64_t l0, int64_t rows, float *to)
{
    const int64_t end = smaller(l0 + rows, q->own);

    for (int64_t l = l0; l < end; l++) {
        memcpy(to + (l - l0) * m->shard.w, m->role[HPS_VALUE].W_dec + hps_shard_latent(q, l) * m->ldd,
               (size_t)m->shard.w * sizeof(float));
    }
    return end > l0 ? end - l0 : 0;
}

/* Own rows l0 ... l0 + rows - 1 from the columns of all ranks. */
static void exchange(const hps_grid *grid, const hps_model *m, slice *x, int64_t l0, int64_t rows,
                     const hps_decoder_rows *to)
{
    const hps_shard *s = &m->shard;
    const int64_t mine = smaller(l0 + rows, s->own) > l0 ? smaller(l0 + rows, s->own) - l0 : 0;
    int64_t out = 0, in = 0;

    for (int q = 0; q < s->P; q++) {
        const hps_shard other = hps_shard_of(s, q);
        x->offsets[q] = hps_count(out);
        x->counts[q] = hps_count(pack(m, &other, l0, rows, x->send + out) * s->w);
        x->offsets_in[q] = hps_count(in);
        x->counts_in[q] = hps_count(mine * other.w);
        out += x->counts[q];
        in += x->counts_in[q];
    }
    HPS_MPI(MPI_Alltoallv(x->send, x->counts, x->offsets, MPI_FLOAT, x->receive, x->counts_in, x->offsets_in, MPI_FLOAT,
                          grid->model));
    for (int q = 0; q < s->P; q++) {
        const hps_shard other = hps_shard_of(s, q);
        for (int64_t l = 0; l < mine; l++) {
            memcpy(to->rows + (l0 + l) * to->lde + other.c0, x->receive + x->offsets_in[q] + l * other.w,
                   (size_t)other.w * sizeof(float));
        }
    }
}

static void scale(const hps_decoder_rows *r, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t l = 0; l < r->shard.own; l++) {
        float *row = r->rows + l * r->lde;
        const double square = hps_float_dot(r->shard.d, row, row), factor = square > 0 ? 1 / sqrt(square) : 0;
        for (int64_t j = 0; j < r->shard.d; j++) {
            row[j] = (float)((double)row[j] * factor);
        }
    }
}

hps_status hps_decoder_rows_create(const hps_grid *grid, const hps_model *model, int threads, hps_decoder_rows *rows)
{
    const int64_t most = hps_shard_most(&model->shard), step = slice_rows(model->shard.d);
    slice x = {0};

    *rows = (hps_decoder_rows){.shard = model->shard, .lde = lde_of(model->shard.d)};
    hps_status status = HPS_ALLOC(&rows->rows, model->shard.own * rows->lde, "decoder by latent");
    status = hps_agree(grid->model, status == HPS_OK ? allocate(&model->shard, &x) : status);
    if (status == HPS_OK) {
        for (int64_t l0 = 0; l0 < most; l0 += step) {
            exchange(grid, model, &x, l0, step, rows);
        }
        scale(rows, threads);
    } else {
        hps_decoder_rows_destroy(rows);
    }
    release(&x);
    return status;
}

void hps_decoder_rows_destroy(hps_decoder_rows *rows)
{
    HPS_FREE(&rows->rows);
}

/* Own rows of every rank in a batch. */
static int64_t batch_step(int64_t lde, int P)
{
    const int64_t most = smaller(BATCH_ROWS, INT32_MAX / lde) / P;

    return most < 1 ? 1 : most;
}

int64_t hps_row_batch_bytes(int64_t d, int P)
{
    return batch_step(lde_of(d), P) * P * (lde_of(d) + 1) * (int64_t)sizeof(float);
}

hps_status hps_row_batch_create(const hps_decoder_rows *rows, hps_row_batch *batch)
{
    const int P = rows->shard.P;

    *batch = (hps_row_batch){.step = batch_step(rows->lde, P)};
    HPS_TRY(HPS_ALLOC(&batch->row, batch->step * P * rows->lde, "decoder rows of all ranks"));
    HPS_TRY(HPS_ALLOC(&batch->latent, batch->step * P, "decoder rows of all ranks"));
    HPS_TRY(HPS_ALLOC(&batch->counts, P, "decoder rows of all ranks"));
    return HPS_ALLOC(&batch->offsets, P, "decoder rows of all ranks");
}

void hps_row_batch_destroy(hps_row_batch *batch)
{
    HPS_FREE(&batch->row);
    HPS_FREE(&batch->latent);
    HPS_FREE(&batch->counts);
    HPS_FREE(&batch->offsets);
}

void hps_row_batch_gather(const hps_grid *grid, const hps_decoder_rows *rows, int64_t l0, hps_row_batch *batch)
{
    const hps_shard *s = &rows->shard;

    batch->B = 0;
    for (int q = 0; q < s->P; q++) {
        const hps_shard other = hps_shard_of(s, q);
        const int64_t end = smaller(l0 + batch->step, other.own);
        batch->offsets[q] = hps_count(batch->B * rows->lde);
        for (int64_t l = l0; l < end; l++) {
            batch->latent[batch->B++] = (int32_t)hps_shard_latent(&other, l);
        }
        batch->counts[q] = hps_count(batch->B * rows->lde - batch->offsets[q]);
    }
    const float *mine = rows->rows + smaller(l0, s->own) * rows->lde;
    HPS_MPI(MPI_Allgatherv(mine, batch->counts[s->p], MPI_FLOAT, batch->row, batch->counts, batch->offsets, MPI_FLOAT,
                           grid->model));
}
