/*
 * What the fast kernels work in, and the names under which one source gives a backend for each instruction set.
 */
#ifndef HPSAE_KERNELS_FAST_WORKSPACE_H
#define HPSAE_KERNELS_FAST_WORKSPACE_H

#include "hpsae/kernels/kernels.h"

#ifndef HPS_ISA
#define HPS_ISA base
#endif
#define FAST_GLUE_(a, b) a##b
#define FAST_GLUE(a, b)  FAST_GLUE_(a, b)
#define FAST(name)       FAST_GLUE(hps_fast_##name##_, HPS_ISA) /* a function of this directory, for this instruction set */

enum { PANEL = 1024, TOKENS = 512 }; /* latents and tokens of a screened tile */
enum { RESIDENT = 256 };             /* rows that stay in cache while tokens pass */

/* A thread's own. */
typedef struct {
    float *tile;            /* [TOKENS, PANEL] screened products */
    float *gathered;        /* [PANEL, ld] rows of a panel that is not contiguous */
    hps_candidate *pending; /* [TOKENS, capacity] screened candidates; .latent is a number of a row */
    int32_t *count;         /* [TOKENS] pending ones */
    int32_t *next;          /* [TOKENS] of them, the first that is not decided yet */
    int32_t *known;         /* [TOKENS] numbers in best */
    float *best;            /* [TOKENS, k_max] largest screened values so far */
    float *threshold;       /* [TOKENS] what a screened value must reach */
    float *error;           /* [TOKENS] bound on |screened - canonical| */
    float *scratch;         /* [capacity] */
    float *row;             /* [ld] a gradient row */
    float *sum;             /* [ld] */
    int64_t *column;        /* [ld] */
} fast_thread;

struct hps_workspace {
    hps_workspace_size size;
    int64_t ld, capacity;
    fast_thread *thread; /* [threads] */
};

void FAST(encode)(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B, int64_t ldy,
                  const float *y, const float *y_norm, int64_t k, hps_candidate *top);
void FAST(decode)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                  float *R);
int64_t FAST(encode_above)(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y,
                           const float *y_norm, int64_t k, const float *ratio, float *floor, int64_t capacity,
                           hps_hit *hit);
void FAST(slot_dots)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                     int64_t ldg, const float *G, const double *scale);
void FAST(nested)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start, const double *scale,
                  const float *R, float *S);
void FAST(suffix_rows)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                       const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t lds, float *suffix);
void FAST(column_sums)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq,
                       const float *Q, double *sum, double *product);
void FAST(update_decoder)(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                          const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm);
void FAST(update_encoder)(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                          const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                          int64_t *column, float *row_norm, float *bias);
void FAST(normalise)(hps_workspace *ws, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                     float *W_dec);

#endif
