/*
 * Packing: encoder rows and tokens as the product takes them, and how far that takes the screened values from the
 * canonical ones.  With q(.) the packed words, u the unit roundoff and D columns:
 *   |<y, e> - <q(y), q(e)>|  <=  |y - q(y)| |e| + |q(y)| |e - q(e)|       (Cauchy-Schwarz)
 *   sums in any order err by at most D u / (1 - D u) |q(y)| |q(e)|, the canonical one by (D / 16 + 5) u |y| |e|
 * (Higham 2002, 3.1).  The bias is a term of both sums.  Norms are taken in double, so that small rows do not underflow.
 */
#include "screen.h"

#include "hpsae/kernels/kernels.h"

#include <math.h>
#include <string.h>

static const double U = 0x1p-24;     /* unit roundoff of float32 */
static const double SAFE = 1 + 1e-5; /* for the roundings of the bounds themselves */
static const double TINY = 0x1p-120; /* a term that is taken for zero, or rounded among the denormals, loses less */

#if defined(__AVX512BF16__)

/* To the nearest bf16, ties to even; what the product takes for zero is zero. */
static inline uint16_t pack(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    bits += 0x7fff + (bits >> 16 & 1);
    return (bits & 0x7f800000) == 0 ? 0 : (uint16_t)(bits >> 16);
}

static inline float unpack(uint16_t word)
{
    const uint32_t bits = (uint32_t)word << 16;
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

#else

static inline float pack(float value)
{
    return value;
}

static inline float unpack(float word)
{
    return word;
}

#endif

typedef struct {
    double norm, packed, lost; /* |v|, |q(v)|, |v - q(v)| */
} norms;

static norms pack_row(int64_t d, const float *restrict v, product_word *restrict word)
{
    double square = 0, packed = 0, lost = 0;

#pragma omp simd reduction(+ : square, packed, lost)
    for (int64_t j = 0; j < d; j++) {
        const product_word w = pack(v[j]);
        const double x = (double)v[j], q = (double)unpack(w);
        word[j] = w;
        square += x * x;
        packed += q * q;
        lost += (x - q) * (x - q);
    }
    return (norms){sqrt(square) * SAFE, sqrt(packed) * SAFE, sqrt(lost) * SAFE};
}

/* Latent l of a panel gets its words; `row` holds depth words. */
static void spread(int64_t depth, const product_word *restrict row, int64_t l, product_word *restrict panel)
{
#if defined(__AVX512BF16__)
    for (int64_t j = 0; j < depth; j += PAIR) {
        memcpy(panel + j * PANEL + l * PAIR, row + j, PAIR * sizeof(*row));
    }
#else
    for (int64_t j = 0; j < depth; j++) {
        panel[j * PANEL + l] = row[j];
    }
#endif
}

void fast_pack_panel(const hps_workspace *ws, fast_thread *me, const fast_panels *panels, int64_t p,
                     const hps_encoder *enc, int64_t first, int64_t count, const int32_t *rows)
{
    product_word *row = me->packed, *word = panels->word + p * ws->depth * PANEL;
    double norm = 0, lost = 0, bias = 0;

    memset(row + enc->d, 0, (size_t)(ws->depth - enc->d) * sizeof(*row));
    for (int64_t l = 0; l < PANEL; l++) {
        float *b = panels->bias + p * PANEL + l;
        if (l >= count) {
            memset(row, 0, (size_t)ws->depth * sizeof(*row));
            *b = -INFINITY;
        } else {
            const int64_t own = rows != NULL ? rows[first + l] : first + l;
            const norms e = pack_row(enc->d, enc->W_enc + own * enc->lde, row);
            *b = enc->b_enc[own];
            norm = fmax(norm, isnan(e.norm) ? (double)INFINITY : e.norm);
            lost = fmax(lost, isnan(e.lost) ? (double)INFINITY : e.lost);
            bias = fmax(bias, fabs((double)*b));
        }
        spread(ws->depth, row, l, word);
    }
    panels->norm[p] = (float)(norm * SAFE);
    panels->lost[p] = (float)(lost * SAFE);
    panels->constant[p] = (float)(U * (1.1 * (double)ws->depth + 32) * bias + (double)ws->depth * TINY);
}

void fast_pack_token(const hps_workspace *ws, fast_thread *me, int64_t d, const float *y, int64_t t)
{
    const double sum = 1.05 * U * (double)(ws->depth + 16), canonical = 1.05 * U * (double)(d / 16 + 16);
    const norms n = pack_row(d, y, me->packed);

    memset(me->packed + d, 0, (size_t)(ws->depth - d) * sizeof(*me->packed));
    for (int64_t j = 0; j < ws->depth; j += DEPTH) {
        memcpy(me->token + product_place(ws->depth, t, j), me->packed + j, DEPTH * sizeof(*me->packed));
    }
    me->a[t] = (float)((n.lost + sum * n.packed + canonical * n.norm) * SAFE);
    me->b[t] = (float)((1 + sum) * n.packed * SAFE);
}

void FAST(prepare)(hps_workspace *ws, const hps_encoder *enc)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t l = 0; l < enc->own; l += PANEL) {
        const int64_t count = enc->own - l < PANEL ? enc->own - l : PANEL;
        fast_pack_panel(ws, ws->thread + omp_get_thread_num(), &ws->panels, l / PANEL, enc, l, count, NULL);
    }
}
