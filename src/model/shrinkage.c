#include "hpsae/model/shrinkage.h"

#include "double_dot.h"
#include "row_bound.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/nnls.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { GROUP_NUMBERS = 1 << 20 }; /* of the systems that are summed over the ranks at a time */

/* The system of K values: the lower triangle of the Gram matrix by rows, then the right side. */
static int64_t system_size(int64_t K)
{
    return K * (K + 1) / 2 + K;
}

typedef struct {
    hps_forward *f;
    double row_bound; /* on decoder rows */
    int64_t *systems; /* fixed point, of the tokens of a group */
    int64_t *at;      /* [B + 1] where a token's begins */
    double *ratios;   /* [rows] sum over the slots of refined / original - 1; only tokens that this rank solved */
    int64_t *failed;  /* [rows] slots of a token whose iteration did not end */
    hps_nnls *work;   /* [threads] */
    double *matrix;   /* [threads, most, most] */
    double *right;    /* [threads, 2 most] right side, then values */
    int64_t most;     /* values of a system */
    int64_t slots;    /* of tokens that were not left out */
} measurement;

static void release(measurement *m)
{
    HPS_FREE(&m->systems);
    HPS_FREE(&m->at);
    HPS_FREE(&m->ratios);
    HPS_FREE(&m->failed);
    for (int i = 0; m->work != NULL && i < m->f->threads; i++) {
        hps_nnls_destroy(m->work + i);
    }
    HPS_FREE(&m->work);
    HPS_FREE(&m->matrix);
    HPS_FREE(&m->right);
}

static hps_status allocate(measurement *m, int64_t rows)
{
    const int threads = m->f->threads;

    HPS_TRY(HPS_ALLOC(&m->systems, GROUP_NUMBERS + system_size(m->most), "least squares"));
    HPS_TRY(HPS_ALLOC(&m->at, m->f->B + 1, "least squares"));
    HPS_TRY(HPS_ALLOC(&m->ratios, rows, "least squares"));
    HPS_TRY(HPS_ALLOC(&m->failed, rows, "least squares"));
    HPS_TRY(HPS_ALLOC(&m->matrix, threads * m->most * m->most, "least squares"));
    HPS_TRY(HPS_ALLOC(&m->right, threads * 2 * m->most, "least squares"));
    HPS_TRY(HPS_ALLOC(&m->work, threads, "least squares"));
    for (int i = 0; i < threads; i++) {
        HPS_TRY(hps_nnls_create(m->most, m->work + i));
    }
    return HPS_OK;
}

static int64_t slots_of(const measurement *m, int64_t t)
{
    return m->f->slots.first[t + 1] - m->f->slots.first[t];
}

static double scale_of_right(const measurement *m, int64_t t)
{
    return hps_fixed_scale(1.02 * m->row_bound * (double)m->f->y_norm[t]);
}

static double scale_of_gram(const measurement *m)
{
    return hps_fixed_scale(1.02 * m->row_bound * m->row_bound);
}

/* This rank's columns' part of a token's system. */
static void fill_system(const measurement *m, int64_t t, int64_t *out)
{
    const hps_model *model = m->f->model;
    const hps_candidate *slot = m->f->slots.slot + m->f->slots.first[t];
    const float *W_dec = model->role[HPS_VALUE].W_dec, *y = m->f->centred + t * model->lde + model->shard.c0;
    const double gram = scale_of_gram(m), right = scale_of_right(m, t);
    const int64_t K = slots_of(m, t), w = model->shard.w;
    int64_t *c = out + K * (K + 1) / 2;

    for (int64_t i = 0; i < K; i++) {
        const float *w_i = W_dec + slot[i].latent * model->ldd;
        for (int64_t j = 0; j <= i; j++) {
            *out++ = hps_float_dot_fixed(w, w_i, W_dec + slot[j].latent * model->ldd, gram);
        }
        c[i] = hps_float_dot_fixed(w, w_i, y, right);
    }
}

/* Solves a token's system; row is where its outcome goes. */
static void solve(measurement *m, int64_t t, int64_t row, const int64_t *in)
{
    const int64_t K = slots_of(m, t);
    const int thread = omp_get_thread_num();
    double *G = m->matrix + thread * m->most * m->most, *c = m->right + thread * 2 * m->most, *z = c + m->most;
    const hps_candidate *slot = m->f->slots.slot + m->f->slots.first[t];
    const double gram = scale_of_gram(m), right = scale_of_right(m, t);

    for (int64_t i = 0; i < K; i++) {
        for (int64_t j = 0; j <= i; j++) {
            G[i * K + j] = G[j * K + i] = hps_from_fixed(*in++, gram);
        }
    }
    for (int64_t i = 0; i < K; i++) {
        c[i] = hps_from_fixed(in[i], right);
        z[i] = (double)slot[i].value;
    }
    if (!hps_nnls_solve(m->work + thread, K, G, c, z)) {
        m->failed[row] = K;
        return;
    }
    for (int64_t i = 0; i < K; i++) {
        m->ratios[row] += z[i] / (double)slot[i].value - 1;
    }
}

/* Tokens from ... to - 1 of the batch, which is at `position` of the stream; each is solved on one rank. */
static void solve_group(measurement *m, int64_t from, int64_t to, int64_t position)
{
    const hps_grid *grid = m->f->grid;
    const int64_t origin = m->at[from];

#pragma omp parallel for schedule(dynamic, 1) num_threads(m->f->threads)
    for (int64_t t = from; t < to; t++) {
        if (m->at[t + 1] > m->at[t]) {
            fill_system(m, t, m->systems + m->at[t] - origin);
        }
    }
    hps_sum_fixed(grid->model, m->systems, m->at[to] - origin);
#pragma omp parallel for schedule(dynamic, 1) num_threads(m->f->threads)
    for (int64_t t = from + grid->p; t < to; t += grid->P) {
        if (m->at[t + 1] > m->at[t]) {
            solve(m, t, position + t, m->systems + m->at[t] - origin);
        }
    }
}

static void solve_batch(measurement *m, int64_t B, int64_t position, hps_shrinkage *r)
{
    int64_t from = 0;

    m->at[0] = 0;
    for (int64_t t = 0; t < B; t++) {
        const int64_t K = slots_of(m, t);
        const bool left_out = K > m->most;
        m->at[t + 1] = m->at[t] + (left_out ? 0 : system_size(K));
        m->slots += left_out ? 0 : K;
        r->left_out += left_out;
    }
    for (int64_t t = 1; t <= B; t++) {
        if (t == B || m->at[t + 1] - m->at[from] > GROUP_NUMBERS) {
            solve_group(m, from, t, position);
            from = t;
        }
    }
}

static void conclude(measurement *m, int64_t rows, hps_shrinkage *r)
{
    const MPI_Comm comm = m->f->grid->model;
    const hps_partials part = {m->ratios, rows, rows};
    int64_t failed[2] = {0};
    double sum;

    for (int64_t row = 0; row < rows; row++) {
        failed[0] += m->failed[row] > 0;
        failed[1] += m->failed[row];
    }
    hps_sum_fixed(comm, failed, 2);
    hps_sum_partials(comm, 1, &part, &sum, 0, NULL);
    r->left_out += failed[0];
    r->rows = rows - r->left_out;
    r->shrinkage = m->slots > failed[1] ? sum / (double)(m->slots - failed[1]) : NAN;
}

hps_status hps_shrinkage_measure(hps_forward *f, hps_feed *feed, const hps_pick *pick, int64_t rows, hps_shrinkage *r)
{
    measurement m = {.f = f, .most = HPS_SHRINKAGE_SLOTS};

    *r = (hps_shrinkage){0};
    m.most = f->model->shard.n < m.most ? f->model->shard.n : m.most;
    m.row_bound = hps_decoder_row_bound(f->grid, f->model);
    hps_status status = hps_agree(f->grid->model, allocate(&m, rows));
    for (int64_t done = 0; status == HPS_OK && done < rows; done += f->B) {
        const int64_t B = rows - done < f->B ? rows - done : f->B;
        status = hps_feed_batch(feed, done, B, f->model->lde, f->y);
        status = status == HPS_OK ? hps_forward_select(f, B, pick) : status;
        if (status == HPS_OK) {
            solve_batch(&m, B, done, r);
        }
    }
    if (status == HPS_OK) {
        conclude(&m, rows, r);
    }
    release(&m);
    return status;
}
