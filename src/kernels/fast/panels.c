/*
 * Packing: encoder rows and tokens as the product takes them, and how far that takes the screened values from the
 * canonical ones.  With q(.) the packed words, u the unit roundoff and D columns:
 *   |<y, e> - <q(y), q(e)>|  <=  |y - q(y)| |e| + |q(y)| |e - q(e)|       (Cauchy-Schwarz)
 *   sums in any order err by at most D u / (1 - D u) |q(y)| |q(e)|, the canonical one by (D / 16 + 5) u |y| |e|
 * (Higham 2002, 3.1).  The bias is a term of both sums.  Norms are taken in double, so that small rows do not underflow.
 */
#include "pack.h"
#include "screen.h"

#include "hpsae/kernels/kernels.h"

#include <math.h>
#include <string.h>

static const double U = 0x1p-24;     /* unit roundoff of float32 */
static const double SAFE = 1 + 1e-5; /* for the roundings of the bounds themselves */
static const double TINY = 0x1p-120; /* a term that is taken for zero, or rounded among the denormals, loses less */

/* At least the root; infinite if that is not a number. */
static double norm_of(double square)
{
    return isfinite(square) ? sqrt(square) * SAFE : (double)INFINITY;
}

void fast_pack_panel(const hps_workspace *ws, fast_thread *me, const fast_panels *panels, int64_t p,
                     const hps_encoder *enc, int64_t first, int64_t count, const int32_t *rows)
{
    const int64_t words = product_row_words(ws->depth);
    double norm = 0, lost = 0, bias = 0;

    for (int64_t l = 0; l < PANEL; l++) {
        float *b = panels->bias + p * PANEL + l;
        if (l >= count) {
            memset(me->packed + l * words, 0, (size_t)words * sizeof(*me->packed));
            *b = -INFINITY;
        } else {
            const int64_t own = rows != NULL ? rows[first + l] : first + l;
            const pack_squares e = pack_row(enc->d, ws->depth, enc->W_enc + own * enc->lde, me->packed + l * words);
            *b = enc->b_enc[own];
            norm = fmax(norm, norm_of(e.square));
            lost = fmax(lost, norm_of(e.lost));
            bias = fmax(bias, fabs((double)*b));
        }
    }
    pack_panel(ws->depth, me->packed, panels->word + p * product_panel_words(ws->depth));
    panels->norm[p] = (float)(norm * SAFE);
    panels->lost[p] = (float)(lost * SAFE);
    panels->constant[p] = (float)(U * (1.1 * (double)ws->depth + 32) * bias + (double)ws->depth * TINY);
}

void fast_pack_token(const hps_workspace *ws, fast_thread *me, int64_t d, const float *y, int64_t t)
{
    const double sum = 1.05 * U * (double)(ws->depth + 16), canonical = 1.05 * U * ((double)d / 16 + 16);
    const pack_squares s = pack_row(d, ws->depth, y, me->packed);
    const double lost = norm_of(s.lost), packed = norm_of(s.packed);

    pack_token(ws->depth, me->packed, t, me->token);
    me->a[t] = (float)((lost + sum * packed + canonical * norm_of(s.square)) * SAFE);
    me->b[t] = (float)((1 + sum) * packed * SAFE);
}

void FAST(prepare)(hps_workspace *ws, const hps_encoder *enc)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t l = 0; l < enc->own; l += PANEL) {
        const int64_t count = enc->own - l < PANEL ? enc->own - l : PANEL;
        fast_pack_panel(ws, ws->thread + omp_get_thread_num(), &ws->panels, l / PANEL, enc, l, count, NULL);
    }
}
