#include "group_update.h"

#include "hpsae/base/canonical.h"

#include <math.h>

enum {
    MOST = 1 << 20, /* numbers of a chunk: 4 MiB, long against the latency of a message */
    PIECES = 4      /* of a chunk, between which messages are looked after */
};

static int64_t step_of(int64_t rows, int64_t ld)
{
    return hps_group_rows_step(rows, ld, HPS_BLOCK, MOST);
}

hps_status hps_group_update_create(const hps_grid *grid, const hps_shard *shard, int64_t lde, int64_t ldd,
                                   hps_group_sums **sums)
{
    const int64_t decoder = hps_group_rows_room(shard->n, ldd, HPS_BLOCK, MOST);
    const int64_t encoder = hps_group_rows_room(shard->own, lde, HPS_BLOCK, MOST);

    return hps_group_sums_create(grid->groups, grid->R, grid->r, decoder > encoder ? decoder : encoder, sums);
}

static hps_state from_row(const hps_state *s, int64_t first, int64_t ld)
{
    return (hps_state){s->value + first * ld, s->moment1 + first * ld, s->moment2 + first * ld};
}

/* The arguments of a kernel, and the sums that it adds to. */
typedef struct {
    const hps_kernels *kernels;
    hps_workspace *ws;
    const hps_update *u;
    int64_t ldg;
    int64_t w, ldd; /* of the decoder */
    const float *parallel;
    const hps_state *W_dec;
    int64_t *norm;
    const hps_encoder *enc; /* of the encoder */
    int64_t ldy;
    const float *y, *bias_gradient;
    const hps_state *W_enc, *b_enc;
    int64_t *column;
    float row_norm;
    int64_t *square;
} pass;

static void make_decoder(void *context, int64_t first, int64_t count, float *values)
{
    const pass *p = context;

    p->kernels->gradients(p->ws, p->u, first, count, NULL, p->w, 0, NULL, p->ldg, values);
}

static void use_decoder(void *context, int64_t first, int64_t count, const float *values)
{
    const pass *p = context;
    const hps_state rows = from_row(p->W_dec, first, p->ldd);
    hps_update u = *p->u;

    u.gradient = values;
    u.ldg = p->ldg;
    p->kernels->update_decoder(p->ws, &u, count, p->w, p->ldd, p->parallel + first, &rows, p->square, p->norm + first);
}

void hps_group_update_decoder(hps_group_sums *sums, const hps_kernels *kernels, hps_workspace *ws, const hps_update *u,
                              int64_t n, int64_t w, int64_t ldd, const float *parallel, const hps_state *W_dec,
                              int64_t *square, int64_t *norm)
{
    pass p = {.kernels = kernels,
              .ws = ws,
              .u = u,
              .ldg = (w + HPS_LANES - 1) / HPS_LANES * HPS_LANES,
              .w = w,
              .ldd = ldd,
              .parallel = parallel,
              .W_dec = W_dec,
              .norm = norm,
              .square = square};
    const hps_group_rows rows = {.rows = n,
                                 .ld = p.ldg,
                                 .step = step_of(n, p.ldg),
                                 .pieces = PIECES,
                                 .context = &p,
                                 .make = make_decoder,
                                 .use = use_decoder};

    hps_group_sums_rows(sums, &rows);
}

static void make_encoder(void *context, int64_t first, int64_t count, float *values)
{
    const pass *p = context;

    p->kernels->gradients(p->ws, p->u, first, count, p->enc->latent, p->enc->d, p->ldy, p->y, p->ldg, values);
}

static void use_encoder(void *context, int64_t first, int64_t count, const float *values)
{
    pass *p = context;
    const hps_state rows = from_row(p->W_enc, first, p->enc->lde), biases = from_row(p->b_enc, first, 1);
    hps_encoder enc = *p->enc;
    hps_update u = *p->u;
    float row_norm;

    enc.own = count;
    enc.W_enc += first * enc.lde;
    enc.b_enc += first;
    enc.latent += first;
    u.gradient = values;
    u.ldg = p->ldg;
    u.first = first;
    p->kernels->update_encoder(p->ws, &u, &enc, p->ldy, p->y, p->bias_gradient, &rows, &biases, p->square, p->column,
                               &row_norm);
    p->row_norm = fmaxf(p->row_norm, row_norm);
}

void hps_group_update_encoder(hps_group_sums *sums, const hps_kernels *kernels, hps_workspace *ws, const hps_update *u,
                              const hps_encoder *enc, int64_t ldy, const float *y, const float *bias_gradient,
                              const hps_state *W_enc, const hps_state *b_enc, int64_t *square, int64_t *column,
                              float *row_norm)
{
    pass p = {.kernels = kernels,
              .ws = ws,
              .u = u,
              .ldg = ldy,
              .enc = enc,
              .ldy = ldy,
              .y = y,
              .bias_gradient = bias_gradient,
              .W_enc = W_enc,
              .b_enc = b_enc,
              .column = column,
              .square = square};
    const hps_group_rows rows = {.rows = enc->own,
                                 .ld = p.ldg,
                                 .step = step_of(enc->own, p.ldg),
                                 .pieces = PIECES,
                                 .context = &p,
                                 .make = make_encoder,
                                 .use = use_encoder};

    hps_group_sums_rows(sums, &rows);
    *row_norm = p.row_norm;
}
