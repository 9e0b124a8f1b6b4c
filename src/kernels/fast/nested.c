/*
 * The nested reconstruction: a token's residual runs back from its last slot and leaves the suffix vectors behind.  The
 * residual, the suffix vector and the decoder rows of a token stay in cache.
 */
#include "lanes.h"
#include "workspace.h"

#include <omp.h>
#include <string.h>

static int64_t padded(int64_t w)
{
    return (w + HPS_LANES - 1) / HPS_LANES * HPS_LANES;
}

/* r += z * row, m columns. */
static void add_row(int64_t m, float z, const float *restrict row, float *restrict r)
{
    for (int64_t j = 0; j < m; j++) {
        r[j] = fmaf(z, row[j], r[j]);
    }
}

/* r = R, then the slots after the first_slots first ones. */
static void whole_residual(int64_t m, int64_t ldd, const float *W_dec, const hps_slots *slots, int64_t t,
                           int64_t first_slots, const float *R, float *r)
{
    memcpy(r, R + t * ldd, (size_t)m * sizeof(*r));
    for (int64_t s = slots->first[t] + first_slots; first_slots >= 0 && s < slots->first[t + 1]; s++) {
        add_row(m, slots->slot[s].value, W_dec + slots->slot[s].latent * ldd, r);
    }
}

void FAST(nested)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start, const double *scale,
                  const float *R, float *S)
{
    const int64_t m = padded(w);

#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        float *restrict r = ws->thread[omp_get_thread_num()].row, *restrict sum = S + t * ldd;

        memset(sum, 0, (size_t)m * sizeof(*sum));
        whole_residual(m, ldd, W_dec, slots, t, first_slots, R, r);
        for (int64_t s = slots->first[t + 1] - 1; s >= slots->first[t]; s--) {
            const float *w_i = W_dec + slots->slot[s].latent * ldd;
            if (nesting->weight[s] != 0) {
                add_row(m, nesting->weight[s], r, sum);
            }
            slots->dz_fixed[s] = fast_dot_fixed(w, sum, w_i, scale[t]);
            add_row(m, -slots->slot[s].value, w_i, r);
        }
        for (int64_t j = 0; j < w; j++) {
            sum[j] = fmaf(nesting->bias_weight[t], -start[t * lds + j], sum[j]);
        }
    }
}

void FAST(suffix_rows)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                       const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t lds, float *suffix)
{
    const int64_t m = padded(w);

#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        fast_thread *me = ws->thread + omp_get_thread_num();
        float *restrict r = me->row, *restrict sum = me->sum;

        memset(sum, 0, (size_t)m * sizeof(*sum));
        whole_residual(m, ldd, W_dec, slots, t, first_slots, R, r);
        for (int64_t s = slots->first[t + 1] - 1; s >= slots->first[t]; s--) {
            if (nesting->weight[s] != 0) {
                add_row(m, nesting->weight[s], r, sum);
                memcpy(suffix + nesting->row[s] * lds, sum, (size_t)m * sizeof(*sum));
            }
            add_row(m, -slots->slot[s].value, W_dec + slots->slot[s].latent * ldd, r);
        }
    }
}
