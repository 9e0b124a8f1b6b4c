/*
 * Latent-major gradients with Adam in place: a latent's gradient row is summed over its tokens in cache and used at
 * once, so that gradients never reach memory.
 */
#include "screen.h"

#include <omp.h>
#include <string.h>

/* The row that entry e multiplies: of y by token (the encoder's gradient), else of the family's rows. */
static const float *row_of(const hps_family *family, int64_t e, int64_t ldy, const float *y)
{
    if (y != NULL) {
        return y + family->bucket->token[e] * ldy;
    }
    return family->rows +
           (family->row != NULL ? family->row[family->bucket->slot[e]] : family->bucket->token[e]) * family->ld;
}

/* part += sum over the latent's entries of one family of weight * row, m columns. */
static void add_family(const hps_family *family, int64_t latent, int64_t m, int64_t ldy, const float *y,
                       float *restrict part)
{
    const hps_bucket *bucket = family->bucket;
    const int64_t end = bucket->first[latent + 1];
    enum { AHEAD = 2 };

    for (int64_t e = bucket->first[latent]; e < end; e++) {
        const int64_t s = bucket->slot[e];
        const float weight = y != NULL ? family->slots->dz[s] : family->slots->slot[s].value;
        const float *restrict row = row_of(family, e, ldy, y);

        if (e + AHEAD < end) {
            const float *next = row_of(family, e + AHEAD, ldy, y);
            for (int64_t j = 0; j < m; j += HPS_LANES) {
                __builtin_prefetch(next + j);
            }
        }
        for (int64_t j = 0; j < m; j++) {
            part[j] = fmaf(weight, row[j], part[j]);
        }
    }
}

/* g = sum over families of c * part, m columns; `y` for the encoder (weights dz), NULL for the decoder (weights z). */
static void gradient_row(const hps_update *u, int64_t latent, int64_t m, int64_t ldy, const float *y,
                         float *restrict part, float *restrict g)
{
    memset(g, 0, (size_t)m * sizeof(*g));
    for (int f = 0; f < u->families; f++) {
        const hps_family *family = &u->family[f];

        if (family->bucket->first[latent] == family->bucket->first[latent + 1]) {
            continue;
        }
        memset(part, 0, (size_t)m * sizeof(*part));
        add_family(family, latent, m, ldy, y, part);
        for (int64_t j = 0; j < m; j++) {
            g[j] = fmaf(family->c, part[j], g[j]);
        }
    }
}

static void adam(const hps_adam *a, int64_t m, const float *restrict g, float *restrict value, float *restrict moment1,
                 float *restrict moment2)
{
    const float beta1 = a->beta1, beta2 = a->beta2, rest1 = 1 - beta1, rest2 = 1 - beta2;
    const float lr = a->lr, c1 = a->c1, c2 = a->c2, epsilon = a->epsilon;

    for (int64_t j = 0; j < m; j++) {
        moment1[j] = fmaf(beta1, moment1[j], rest1 * g[j]);
        moment2[j] = fmaf(beta2, moment2[j], rest2 * (g[j] * g[j]));
        value[j] -= lr * (moment1[j] * c1) / (sqrtf(moment2[j] * c2) + epsilon);
    }
}

void FAST(update_decoder)(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                          const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm)
{
    const int64_t m = (w + HPS_LANES - 1) / HPS_LANES * HPS_LANES;
    int64_t squares = 0;

#pragma omp parallel for schedule(dynamic, 64) num_threads(ws->size.threads) reduction(+ : squares)
    for (int64_t i = 0; i < n; i++) {
        fast_thread *me = ws->thread + omp_get_thread_num();
        float *restrict g = me->row, *restrict w_i = W_dec->value + i * ldd;
        const float par = -parallel[i], factor = u->adam.factor;

        gradient_row(u, i, m, 0, NULL, me->sum, g);
        for (int64_t j = 0; j < w; j++) {
            g[j] = fmaf(par, w_i[j], g[j]) * factor;
        }
        squares += fast_dot_fixed(w, g, g, u->square_scale);
        if (u->apply) {
            adam(&u->adam, w, g, w_i, W_dec->moment1 + i * ldd, W_dec->moment2 + i * ldd);
            norm[i] += fast_dot_fixed(w, w_i, w_i, u->norm_scale);
        }
    }
    *square += squares;
}

/* column += sum over the block's latents of gradient of b_enc times encoder row, in fixed point. */
static void bias_block(const hps_encoder *enc, int64_t l0, int64_t l1, const float *bias_gradient, double scale,
                       float *restrict sum, int64_t *restrict column)
{
    memset(sum, 0, (size_t)enc->d * sizeof(*sum));
    for (int64_t l = l0; l < l1; l++) {
        const float gb = bias_gradient[enc->latent[l]];
        const float *restrict e = enc->W_enc + l * enc->lde;
        for (int64_t j = 0; j < enc->d; j++) {
            sum[j] = fmaf(gb, e[j], sum[j]);
        }
    }
    for (int64_t j = 0; j < enc->d; j++) {
        column[j] += hps_to_fixed((double)sum[j], scale);
    }
}

/* One own latent: gradient, its square, Adam. */
static int64_t encoder_row(fast_thread *me, const hps_update *u, const hps_encoder *enc, int64_t l, int64_t ldy,
                           const float *y, float gb, const hps_state *W_enc, const hps_state *b_enc)
{
    float *restrict g = me->row;
    const float factor = u->adam.factor;

    gb *= factor;
    gradient_row(u, enc->latent[l], ldy, ldy, y, me->sum, g);
    for (int64_t j = 0; j < enc->d; j++) {
        g[j] *= factor;
    }
    if (u->apply) {
        const int64_t row = l * enc->lde;
        adam(&u->adam, enc->d, g, W_enc->value + row, W_enc->moment1 + row, W_enc->moment2 + row);
        adam(&u->adam, 1, &gb, b_enc->value + l, b_enc->moment1 + l, b_enc->moment2 + l);
    }
    return fast_dot_fixed(enc->d, g, g, u->square_scale) + hps_dot_fixed(1, &gb, &gb, u->square_scale);
}

void FAST(update_encoder)(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                          const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                          int64_t *column, float *row_norm, float *bias)
{
    int64_t squares = 0;
    float largest_square = 0, largest_bias = 0;

    for (int i = 0; i < ws->size.threads; i++) {
        memset(ws->thread[i].column, 0, (size_t)enc->d * sizeof(int64_t));
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads) \
    reduction(+ : squares) reduction(max : largest_square, largest_bias)
    for (int64_t l0 = 0; l0 < enc->own; l0 += HPS_BLOCK) {
        const int64_t l1 = l0 + HPS_BLOCK < enc->own ? l0 + HPS_BLOCK : enc->own;
        fast_thread *me = ws->thread + omp_get_thread_num();

        bias_block(enc, l0, l1, bias_gradient, u->bias_scale, me->sum, me->column);
        for (int64_t l = l0; l < l1; l++) {
            const float *e = W_enc->value + l * enc->lde;
            squares += encoder_row(me, u, enc, l, ldy, y, bias_gradient[enc->latent[l]], W_enc, b_enc);
            const float row_square = fast_dot(enc->d, e, e);
            largest_square = fmaxf(largest_square, isfinite(row_square) ? row_square : INFINITY);
            largest_bias = fmaxf(largest_bias, fabsf(b_enc->value[l]));
        }
        if (u->apply) {
            fast_pack_panel(ws, me, &ws->panels, l0 / PANEL, enc, l0, l1 - l0, NULL);
        }
    }
    for (int i = 0; i < ws->size.threads; i++) {
        for (int64_t j = 0; j < enc->d; j++) {
            column[j] += ws->thread[i].column[j];
        }
    }
    *square += squares;
    *row_norm = sqrtf(largest_square) * 1.00001f;
    *bias = largest_bias;
}

void FAST(normalise)(hps_workspace *ws, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                     float *W_dec)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t i = 0; i < n; i++) {
        const float factor = norm[i] > 0 ? 1 / sqrtf((float)hps_from_fixed(norm[i], norm_scale)) : 1;

        for (int64_t j = 0; j < w; j++) {
            W_dec[i * ldd + j] *= factor;
        }
    }
}
