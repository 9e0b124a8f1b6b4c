/*
 * What the fast kernels work in, and the names under which one source gives a backend for each instruction set.
 */
#ifndef HPSAE_KERNELS_FAST_WORKSPACE_H
#define HPSAE_KERNELS_FAST_WORKSPACE_H

#include "hpsae/kernels/kernels.h"
#include "product.h"

#ifndef HPS_ISA
#define HPS_ISA portable
#endif
#define FAST_GLUE_(a, b) a##b
#define FAST_GLUE(a, b)  FAST_GLUE_(a, b)
#define FAST(name)       FAST_GLUE(hps_fast_##name##_, HPS_ISA) /* a function of this directory, for this instruction set */

enum { TOKENS = 512 / STRIP * STRIP }; /* of a task, at most */
enum { GROUP = 8 };                    /* panels whose tiles wait for the next columns where d is above CHUNK */
enum { RESIDENT = 256 };               /* rows that stay in cache while tokens pass */

/*
 * Panels of latents as the product takes them, and what bounds their error: a product with a token differs from the
 * canonical one by at most a |e| + b |e - q(e)| + c, the norms being the largest of the panel (a, b: fast_token).
 */
typedef struct {
    product_word *word; /* [panels, depth, PANEL] */
    float *bias;        /* [panels, PANEL]; -infinity where there is no latent */
    float *norm;        /* [panels] at least |e| */
    float *lost;        /* [panels] at least |e - q(e)|, q(e) being the packed words */
    float *constant;    /* [panels] c */
} fast_panels;

/* A thread's own. */
typedef struct {
    product_word *token;  /* [TOKENS, depth] packed */
    product_word *packed; /* [PANEL, depth] rows on their way */
    float *a, *b;         /* [TOKENS] what |e| and |e - q(e)| are multiplied by in the error bound */
    float *tile;          /* [GROUP or 2 strips, TOKENS, PANEL] screened products */
    fast_panels gathered; /* one panel of rows that are listed */
    float *low;           /* [TOKENS, capacity] lower bounds of the pending pre-activations */
    int32_t *number;      /* [TOKENS, capacity] their rows, ascending */
    int32_t *count;       /* [TOKENS] pending ones */
    int32_t *next;        /* [TOKENS] of them, the first that is not decided yet */
    int32_t *known;       /* [TOKENS] numbers in best */
    float *best;          /* [TOKENS, k_max] largest lower bounds so far */
    float *threshold;     /* [TOKENS] what an upper bound must reach */
    float *error;         /* [TOKENS] the largest bound of any panel */
    float *guess;         /* [TOKENS] a threshold that is not proved */
    float *scratch;       /* [capacity + k_max] */
    hps_candidate *list;  /* [capacity] */
    int32_t *which;       /* [TOKENS] the task's tokens, as numbers of the batch */
    float *row;           /* [ld] */
    float *sum;           /* [ld] */
    int64_t *column;      /* [ld] */
    float *gradient;      /* [task, ld] */
} fast_thread;

struct hps_workspace {
    hps_workspace_size size;
    int64_t ld, depth, capacity;
    int64_t task;       /* latents whose gradients are summed together, a multiple of HPS_BLOCK */
    fast_panels panels; /* of the encoder that was prepared */
    float norm, lost;   /* the largest of any panel */
    float constant;
    fast_thread *thread; /* [threads] */
};

void FAST(prepare)(hps_workspace *ws, const hps_encoder *enc);
void FAST(encode)(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B, int64_t ldy,
                  const float *y, int64_t k, hps_candidate *top);
int64_t FAST(encode_above)(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y, int64_t k,
                           const float *ratio, float *floor, int64_t capacity, hps_hit *hit);
void FAST(decode)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                  float *R);
void FAST(slot_dots)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                     int64_t ldg, const float *G, const double *scale);
void FAST(nested)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                  const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start, const double *scale,
                  const float *R, float *S);
void FAST(suffix_rows)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                       const hps_nesting *nesting, int64_t first_slots, const float *R, int64_t lds, float *suffix);
void FAST(nested_sums)(hps_workspace *ws, int64_t B, int64_t n, int64_t w, int64_t ldd, const float *W_dec,
                       const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                       int64_t ldg, float *G);
void FAST(column_sums)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq,
                       const float *Q, double *sum, double *product);
void FAST(update_decoder)(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                          const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm);
void FAST(update_encoder)(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                          const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                          int64_t *column, float *row_norm);
void FAST(gradients)(hps_workspace *ws, const hps_update *u, int64_t first, int64_t count, const int32_t *latent,
                     int64_t m, int64_t ldy, const float *y, int64_t ldg, float *G);
void FAST(normalise)(hps_workspace *ws, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                     float *W_dec);
double FAST(screen_peak)(int64_t rounds);
double FAST(screen_trial)(int64_t rounds);
double FAST(float_peak)(int64_t rounds);

#endif
