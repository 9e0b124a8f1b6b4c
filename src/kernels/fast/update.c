/*
 * Latent-major gradients with Adam in place.  A task is so many latents that their gradients stay in cache: first these
 * are summed over the tokens, a piece of columns at a time in registers, then Adam runs along the rows, as memory likes
 * its three arrays read.  Gradients never reach memory.
 */
#include "group.h"
#include "screen.h"

#include <omp.h>
#include <string.h>

/* A few columns of the gradient of u, the encoder's or the decoder's. */
typedef struct {
    const hps_update *u;
    const float *rows[2], *sums[2]; /* of each family, from the piece's first column on; sums NULL: of rows */
    int64_t ld[2], entries[2];
    bool encoder;    /* rows are those of y and weights dz; else the families' rows and z */
    int64_t columns; /* at most PIECE */
} piece;

/* The piece of w columns that begins at `first`; y for the encoder, else NULL. */
static piece piece_of(const hps_update *u, const float *y, int64_t ldy, int64_t first, int64_t w)
{
    piece p = {.u = u, .encoder = y != NULL, .columns = w - first < PIECE ? w - first : PIECE};

    for (int f = 0; f < u->families; f++) {
        p.sums[f] = p.encoder || u->family[f].sums == NULL ? NULL : u->family[f].sums + first;
        p.rows[f] = p.sums[f] != NULL ? NULL : (p.encoder ? y : u->family[f].rows) + first;
        p.ld[f] = p.encoder ? ldy : u->family[f].ld;
        p.entries[f] = u->family[f].bucket->entries;
    }
    return p;
}

/* Where the entry's row begins. */
static inline const float *row_of(const piece *p, int f, const hps_entry *e)
{
    const int32_t *row = p->encoder ? NULL : p->u->family[f].row;

    return p->rows[f] + (row != NULL ? row[e->slot] : e->token) * p->ld[f];
}

/* sum[] += over the latent's entries, weight * row, `count` times 16 columns from j on. */
static inline void add_entries(int count, const piece *p, int f, int64_t latent, int64_t j, lanes *sum)
{
    enum { AHEAD = 16 };
    const hps_family *family = &p->u->family[f];
    const int32_t *first = family->bucket->first + latent;
    const hps_entry *entry = family->bucket->entry, *end = entry + first[1];
    const hps_entry *last = entry + p->entries[f] - 1;

    for (const hps_entry *e = entry + first[0]; e < end; e++) {
        const float weight = p->encoder ? e->dz : e->z;
        const float *row = row_of(p, f, e) + j, *next = row_of(p, f, e + AHEAD < last ? e + AHEAD : last) + j;
        for (int l = 0; l < count; l++) {
            __builtin_prefetch(next + l * HPS_LANES);
            sum[l] = lanes_axpy(weight, row + l * HPS_LANES, sum[l]);
        }
    }
}

/* g += c * (the family's sum of the latent), `count` times 16 columns from j on in registers. */
static inline void add_family(int count, const piece *p, int f, int64_t latent, int64_t j, float *g)
{
    const float *made = p->sums[f] != NULL ? p->sums[f] + latent * p->ld[f] + j : NULL;
    lanes sum[PIECE / HPS_LANES];

    for (int l = 0; l < count; l++) {
        sum[l] = made != NULL ? lanes_load(made + l * HPS_LANES) : lanes_zero();
    }
    if (made == NULL) {
        add_entries(count, p, f, latent, j, sum);
    }
    for (int l = 0; l < count; l++) {
        lanes_store(g + j + l * HPS_LANES, lanes_scaled(p->u->family[f].c, sum[l], lanes_load(g + j + l * HPS_LANES)));
    }
}

static void gradient_piece(const piece *p, int64_t latent, float *g)
{
    for (int64_t j = 0; j < p->columns; j += HPS_LANES) {
        lanes_store(g + j, lanes_zero());
    }
    for (int f = 0; f < p->u->families; f++) {
        int64_t j = 0;
        for (; j + PIECE <= p->columns; j += PIECE) {
            add_family(PIECE / HPS_LANES, p, f, latent, j, g);
        }
        for (; j + FEW * HPS_LANES <= p->columns; j += FEW * HPS_LANES) {
            add_family(FEW, p, f, latent, j, g);
        }
        for (; j < p->columns; j += HPS_LANES) {
            add_family(1, p, f, latent, j, g);
        }
    }
}

/* The latent of a task's q-th row: by the list, or in turn. */
static inline int64_t latent_at(const int32_t *list, int64_t first, int64_t q)
{
    return list != NULL ? list[first + q] : first + q;
}

static int64_t entries_of(const hps_update *u, const int32_t *list, int64_t first, int64_t rows)
{
    int64_t entries = 0;

    for (int f = 0; f < u->families; f++) {
        const int32_t *begin = u->family[f].bucket->first;
        for (int64_t q = 0; q < rows; q++) {
            const int64_t latent = latent_at(list, first, q);
            entries += begin[latent + 1] - begin[latent];
        }
    }
    return entries;
}

/*
 * Gradients of `rows` latents, g [rows, ldg], w columns.  Latents that together meet each token several times take a
 * piece of columns at a time, so that the tokens' pieces stay in cache; others are taken row by row.
 */
static void sum_gradients(const hps_workspace *ws, const hps_update *u, const float *y, int64_t ldy,
                          const int32_t *list, int64_t first, int64_t rows, int64_t w, int64_t ldg, float *g)
{
    const int64_t together = entries_of(u, list, first, rows) >= 2 * ws->size.B ? rows : 1;

    for (int64_t q0 = 0; q0 < rows; q0 += together) {
        for (int64_t j = 0; j < w; j += PIECE) {
            const piece p = piece_of(u, y, ldy, j, w);
            for (int64_t q = q0; q < q0 + together; q++) {
                gradient_piece(&p, latent_at(list, first, q), g + q * ldg + j);
            }
        }
    }
}

/* The same, or those that were made before. */
static void take_gradients(const hps_workspace *ws, const hps_update *u, const float *y, int64_t ldy,
                           const int32_t *list, int64_t first, int64_t rows, int64_t w, float *g)
{
    if (u->gradient == NULL) {
        sum_gradients(ws, u, y, ldy, list, first, rows, w, ws->ld, g);
        return;
    }
    for (int64_t q = 0; q < rows; q++) {
        memcpy(g + q * ws->ld, u->gradient + (first + q) * u->ldg, (size_t)w * sizeof(*g));
    }
}

/* square[q] += |a_q|^2 of `rows` <= FOLDED rows of m columns, in fixed point. */
static void add_squares(int64_t rows, int64_t m, int64_t ld, const float *a, double scale, int64_t *square)
{
    const int64_t blocks = m / HPS_BLOCK * HPS_BLOCK;
    const float *from[FOLDED];
    int64_t part[FOLDED] = {0};

    for (int64_t j = 0; j < blocks; j += HPS_BLOCK) {
        for (int64_t q = 0; q < FOLDED; q++) {
            from[q] = a + (q < rows ? q : 0) * ld + j;
        }
        group_dots(from, from, scale, part);
    }
    for (int64_t q = 0; q < rows; q++) {
        const float *rest = a + q * ld + blocks;
        square[q] += part[q] + (blocks < m ? fast_dot_fixed(m - blocks, rest, rest, scale) : 0);
    }
}

/* The sum of |a_q|^2. */
static int64_t squares_of(int64_t rows, int64_t m, int64_t ld, const float *a, double scale)
{
    int64_t square[FOLDED] = {0}, sum = 0;

    add_squares(rows, m, ld, a, scale, square);
    for (int64_t q = 0; q < rows; q++) {
        sum += square[q];
    }
    return sum;
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

/* Latents of a task, whole blocks: as many as have room, and fewer where threads would wait for one another. */
static int64_t task_latents(const hps_workspace *ws, int64_t latents)
{
    const int64_t share = latents / (8 * ws->size.threads) / HPS_BLOCK * HPS_BLOCK;

    if (share >= ws->task) {
        return ws->task;
    }
    return share > HPS_BLOCK ? share : HPS_BLOCK;
}

void FAST(gradients)(hps_workspace *ws, const hps_update *u, int64_t first, int64_t count, const int32_t *latent,
                     int64_t m, int64_t ldy, const float *y, int64_t ldg, float *G)
{
    const int64_t task = task_latents(ws, count);

#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads)
    for (int64_t i = 0; i < count; i += task) {
        sum_gradients(ws, u, y, ldy, latent, first + i, count - i < task ? count - i : task, m, ldg, G + i * ldg);
    }
}

/* What the decoder's update works on. */
typedef struct {
    const hps_update *u;
    int64_t w, ldd;
    const float *parallel;
    const hps_state *W_dec;
    int64_t *norm;
} decoder_update;

/* Decoder rows i .. i + rows - 1, at most FOLDED, of gradient g; the sum of the squared gradients. */
static int64_t decoder_group(const decoder_update *v, int64_t i, int64_t rows, int64_t ld, float *gradient)
{
    const hps_update *u = v->u;
    const float factor = u->adam.factor;

    for (int64_t q = 0; q < rows; q++) {
        const float par = -v->parallel[i + q];
        const float *restrict row = v->W_dec->value + (i + q) * v->ldd;
        float *restrict g = gradient + q * ld;
        for (int64_t j = 0; j < v->w; j++) {
            g[j] = fmaf(par, row[j], g[j]) * factor;
        }
    }
    if (u->apply) {
        for (int64_t q = 0; q < rows; q++) {
            const int64_t at = (i + q) * v->ldd;
            adam(&u->adam, v->w, gradient + q * ld, v->W_dec->value + at, v->W_dec->moment1 + at,
                 v->W_dec->moment2 + at);
        }
        add_squares(rows, v->w, v->ldd, v->W_dec->value + i * v->ldd, u->norm_scale, v->norm + i);
    }
    return squares_of(rows, v->w, ld, gradient, u->square_scale);
}

void FAST(update_decoder)(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                          const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm)
{
    const decoder_update v = {u, w, ldd, parallel, W_dec, norm};
    const int64_t task = task_latents(ws, n);
    int64_t squares = 0;

#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads) reduction(+ : squares)
    for (int64_t i0 = 0; i0 < n; i0 += task) {
        const int64_t rows = n - i0 < task ? n - i0 : task;
        float *g = ws->thread[omp_get_thread_num()].gradient;

        take_gradients(ws, u, NULL, 0, NULL, i0, rows, w, g);
        for (int64_t q = 0; q < rows; q += FOLDED) {
            squares += decoder_group(&v, i0 + q, rows - q < FOLDED ? rows - q : FOLDED, ws->ld, g + q * ws->ld);
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

/* What the encoder's update works on. */
typedef struct {
    const hps_update *u;
    const hps_encoder *enc;
    const float *bias_gradient;
    const hps_state *W_enc, *b_enc;
} encoder_update;

/* A block of own latents l0 .. l1 - 1 of gradient g; the sum of the squared gradients. */
static int64_t encoder_block(const encoder_update *v, int64_t l0, int64_t l1, fast_thread *me, int64_t ld, float *g)
{
    const hps_update *u = v->u;
    const int64_t d = v->enc->d;
    int64_t squares = 0;

    bias_block(v->enc, l0, l1, v->bias_gradient, u->bias_scale, me->sum, me->column);
    for (int64_t j = 0; j < (l1 - l0) * ld; j++) {
        g[j] *= u->adam.factor;
    }
    for (int64_t l = l0; l < l1; l++) {
        const int64_t at = l * v->enc->lde;
        const float gb = v->bias_gradient[v->enc->latent[l]] * u->adam.factor;
        squares += hps_dot_fixed(1, &gb, &gb, u->square_scale);
        if (u->apply) {
            adam(&u->adam, d, g + (l - l0) * ld, v->W_enc->value + at, v->W_enc->moment1 + at, v->W_enc->moment2 + at);
            adam(&u->adam, 1, &gb, v->b_enc->value + l, v->b_enc->moment1 + l, v->b_enc->moment2 + l);
        }
    }
    for (int64_t q = 0; q < l1 - l0; q += FOLDED) {
        squares += squares_of(l1 - l0 - q < FOLDED ? l1 - l0 - q : FOLDED, d, ld, g + q * ld, u->square_scale);
    }
    return squares;
}

/* The largest |row|^2; infinity where one is not finite. */
static float largest_row_square(const hps_encoder *enc, int64_t l0, int64_t l1, float most)
{
    for (int64_t l = l0; l < l1; l++) {
        const float square = fast_dot(enc->d, enc->W_enc + l * enc->lde, enc->W_enc + l * enc->lde);
        most = fmaxf(most, isfinite(square) ? square : INFINITY);
    }
    return most;
}

void FAST(update_encoder)(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                          const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                          int64_t *column, float *row_norm)
{
    const encoder_update v = {u, enc, bias_gradient, W_enc, b_enc};
    const int64_t task = task_latents(ws, enc->own);
    int64_t squares = 0;
    float largest_square = 0;

    for (int i = 0; i < ws->size.threads; i++) {
        memset(ws->thread[i].column, 0, (size_t)enc->d * sizeof(int64_t));
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads) \
    reduction(+ : squares) reduction(max : largest_square)
    for (int64_t l0 = 0; l0 < enc->own; l0 += task) {
        const int64_t l1 = enc->own - l0 < task ? enc->own : l0 + task;
        fast_thread *me = ws->thread + omp_get_thread_num();

        take_gradients(ws, u, y, ldy, enc->latent, l0, l1 - l0, enc->d, me->gradient);
        for (int64_t b0 = l0; b0 < l1; b0 += HPS_BLOCK) {
            const int64_t b1 = l1 - b0 < HPS_BLOCK ? l1 : b0 + HPS_BLOCK;
            squares += encoder_block(&v, b0, b1, me, ws->ld, me->gradient + (b0 - l0) * ws->ld);
            largest_square = largest_row_square(enc, b0, b1, largest_square);
            if (u->apply) {
                fast_pack_panel(ws, me, &ws->panels, (u->first + b0) / PANEL, enc, b0, b1 - b0, NULL);
            }
        }
    }
    for (int i = 0; i < ws->size.threads; i++) {
        for (int64_t j = 0; j < enc->d; j++) {
            column[j] += ws->thread[i].column[j];
        }
    }
    *square += squares;
    *row_norm = sqrtf(largest_square) * 1.00001f;
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
