/*
 * The compute kernels behind one interface.  A backend is a table of functions; every backend gives the bits of `ref`,
 * whatever instruction set or library it uses.
 *
 * A kernel works on a whole batch and on one rank's share; it knows neither MPI nor files.  Rows (of activations y,
 * residuals R, weights) are float32, start on 64-byte boundaries and have leading dimensions that are multiples of 16;
 * what stands in the padding behind a row is neither used nor preserved.  All functions are Local, cannot fail, use the
 * threads of the workspace, and allocate nothing.  Pointers may stand for memory that only the backend reaches: callers
 * get it from its alloc and look into it only through what the kernels return.
 *
 * Letters as in math.md: d columns, n latents, k slots, B tokens; p pre-activation, z value, R = xhat - x residual.
 */
#ifndef HPSAE_KERNELS_KERNELS_H
#define HPSAE_KERNELS_KERNELS_H

#include "hpsae/base/candidate.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/status.h"
#include "hpsae/config/config.h"

#include <stdbool.h>
#include <stdint.h>

/* A rank's encoder rows, as selection sees them. */
typedef struct {
    int64_t own, d, lde;
    const float *W_enc;    /* [own, lde] */
    const float *b_enc;    /* [own] */
    const int32_t *latent; /* [own] global numbers, ascending */
    float row_norm;        /* at least the largest |row| */
} hps_encoder;

/* Selected latents of a batch, kept by token: token t has slots first[t] .. first[t + 1] - 1, values z > 0. */
typedef struct {
    int32_t *first;      /* [B + 1] */
    hps_candidate *slot; /* value z, latent; in slot order */
    int64_t *dz_fixed;   /* [slots] <R, w> in fixed point, scale of the token */
    float *dz;           /* [slots] <R, w>, summed over all columns */
    int64_t latents;     /* at most so many different ones occur; 0: not known.  A hint for the order of work */
} hps_slots;

/*
 * The weighted nested reconstruction of a batch (math: "one objective for all"): the loss of a token is
 * w_0 |b - x|^2 + sum over slots s, in slot order, of w_s |r_s|^2, r_s the residual after slot s.  The last slot of a
 * token has a weight above 0.  S_s = sum over t >= s of w_t r_t changes only where a weight is, so the slots up to the next
 * weight share one suffix vector.
 */
typedef struct {
    float *weight;      /* [slots] w_s */
    float *bias_weight; /* [B] w_0 */
    int32_t *row;       /* [slots] number of the slot's suffix vector, ascending */
    int64_t rows;       /* suffix vectors of the batch */
} hps_nesting;

/* A pre-activation of the batch. */
typedef struct {
    int32_t token;
    hps_candidate candidate;
} hps_hit;

/* A slot as its latent sees it: the token, the number of the slot in hps_slots, its value and gradient. */
typedef struct {
    int32_t token, slot;
    float z, dz;
} hps_entry;

/* The same slots by latent: latent i has entries first[i] .. first[i + 1] - 1, tokens ascending. */
typedef struct {
    int32_t *first;   /* [n + 1] */
    hps_entry *entry; /* [slots] */
    int64_t entries;  /* slots of the batch */
    int parts;        /* ranges of tokens that are sorted side by side */
    int32_t *place;   /* [parts, n] where a part's next slot of a latent goes */
} hps_bucket;

/* Adam (Kingma and Ba 2015) with bias corrections c1 = 1 / (1 - beta1^t), c2 = 1 / (1 - beta2^t). */
typedef struct {
    float lr, beta1, beta2, epsilon, c1, c2;
    float factor; /* of the gradient: 1, or what the clip leaves of it */
} hps_adam;

/* One family of slots in the gradient: the main ones or AuxK's. */
typedef struct {
    const hps_slots *slots;
    const hps_bucket *bucket;
    const float *rows; /* [.., ld] what a slot's z multiplies in the decoder's gradient: residuals, suffix vectors */
    const float *sums; /* [n, ld] instead of rows: what they sum to by latent (nested_sums); else NULL */
    int64_t ld;
    const int32_t *row; /* [slots] which of the rows; NULL: the token's */
    float c;            /* weight of the rows in the loss gradient: S = c * row */
} hps_family;

/* What the update kernels share. */
typedef struct {
    int families; /* 1, or 2 with AuxK */
    hps_family family[2];
    hps_adam adam;
    double square_scale; /* fixed point of the squared gradient norm */
    double norm_scale;   /* fixed point of squared row norms */
    double bias_scale;   /* fixed point of the gradient of b */
    bool apply;          /* false: only sums of the gradient, nothing is changed */
    const float
        *gradient; /* [rows, ldg] of the rows to update, made by `gradients` and summed; NULL: by the families */
    int64_t ldg;
    int64_t first; /* and number among the rank's of the first of those encoder rows, a multiple of HPS_BLOCK; else 0 */
} hps_update;

typedef struct {
    float *value, *moment1, *moment2;
} hps_state;

typedef struct hps_workspace hps_workspace;

/*
 * What a step does between the kernels, where the host had better not touch a batch's arrays.  Each gives the bits of the
 * host's loop named beside it.
 */
typedef struct {
    /* y = x - b, y_norm at least |y| (centre, model/select.c); x [B, ld] is the host's, y [B, ld] the device's. */
    void (*centre)(hps_workspace *ws, int64_t B, int64_t d, int64_t ld, const float *x, const float *b, float *y,
                   float *y_norm);
    /* hps_slots_compact. */
    void (*compact)(hps_workspace *ws, int64_t B, int64_t k, int64_t keep, hps_slots *slots, float *z_sum);
    /* bound = hps_residual_bound(y_norm or 0, z_sum), on top of `more` if not NULL; scale = hps_fixed_scale(bound). */
    void (*scales)(hps_workspace *ws, int64_t B, const float *y_norm, const float *z_sum, const double *more,
                   double *bound, double *scale);
    /* dz from dz_fixed (hps_slots_sum_dz); sum [B] of |dz| over a token's slots, in order (hps_slots_bound). */
    void (*take_dz)(hps_workspace *ws, int64_t B, const double *scale, hps_slots *slots, double *sum);
    /* hps_bucket_fill; hps_latent_sums. */
    void (*fill_bucket)(hps_workspace *ws, int64_t B, int64_t n, const hps_slots *slots, hps_bucket *bucket);
    void (*latent_sums)(hps_workspace *ws, int64_t n, int families, const hps_family family[2], float *parallel,
                        float *bias_gradient);
    /* counters[i] = tokens for latents among a token's first_slots first slots, below 0: all (count_fired, model/step.c). */
    void (*fired)(hps_workspace *ws, int64_t B, int64_t n, const hps_slots *slots, int64_t first_slots, int64_t tokens,
                  int64_t *counters);
    /* mean = fma(weight, value - mean, mean) (average, model/step.c). */
    void (*average)(hps_workspace *ws, int64_t count, float weight, const float *value, float *mean);
    /* Adam of m numbers, the gradient times a->factor (update_bias, model/step_update.c). */
    void (*adam)(hps_workspace *ws, const hps_adam *a, int64_t m, const float *gradient, const hps_state *state);
} hps_batch_kernels;

/* A bound on |xhat - x| of a token of norm y_norm whose values sum to z_sum; decoder rows have norm 1. */
#define HPS_RESIDUAL_BOUND(y_norm, z_sum) (1.02 * ((double)(y_norm) + (double)(z_sum)))

/* Sizes that a workspace must serve. */
typedef struct {
    int64_t B, d, k_max; /* tokens a call, columns, slots a token of the widest selection */
    int64_t own;         /* encoder rows */
    int64_t slots, n; /* what hps_batch_kernels sort by latent at most, latents of all ranks; 0: they are not called */
    int threads;
} hps_workspace_size;

typedef struct {
    const char *name; /* "ref", or what the screen runs on: "portable", "avx2", "avx512", "avx512vnni", ... */
    const char *isa;  /* what it was compiled for: of ref "base", "avx2", "avx512"; else the name */

    /*
     * Where the arrays that the kernels are given come from (hps_memory_use); NULL: anywhere.  Pointers to single numbers
     * (*square, *row_norm) may always be to the host's own.
     */
    const hps_memory_source *memory;

    /*
     * Takes a device for this process, number `rank` of `ranks` on its node that do so; before any memory or workspace.
     * NULL: there is nothing to take.  HPS_ECONFIG when there are fewer devices than ranks.
     */
    hps_status (*bind)(int rank, int ranks);

    /* Bytes of the device that nothing holds now; NULL where there is no device. */
    int64_t (*memory_left)(void);

    const hps_batch_kernels *batch; /* NULL: the host's loops do it */

    /* Creates a workspace; destroy takes its address and sets NULL.  HPS_ENOMEM. */
    hps_status (*workspace_create)(const hps_workspace_size *size, hps_workspace **workspace);
    void (*workspace_destroy)(hps_workspace **workspace);

    /*
     * Takes in an encoder: before the first encode or encode_above with it, and whenever its rows have changed but by this
     * workspace's update_encoder.
     */
    void (*prepare)(hps_workspace *ws, const hps_encoder *enc);

    /*
     * The k candidates of each token, first in the total order, among the encoder's rows, or among the `count` rows
     * whose local numbers `rows` lists in ascending order (NULL: all): top[t * k ...], sorted, filled up with
     * HPS_NO_CANDIDATE.  p = hps_dot(y, row) + b_enc.  y [B, ldy].
     */
    void (*encode)(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B,
                   int64_t ldy, const float *y, int64_t k, hps_candidate *top);

    /*
     * Decodes the rank's w columns and takes the slots' gradients: R[t] = sign * start[t], then R[t] += z w_i in slot
     * order (fma), then, if dz, dz_fixed = hps_dot_fixed(w, R[t], w_i, scale[t]).  W_dec [n, ldd], start [B, lds] from
     * this rank's first column on (it may be R), R [B, ldd], scale [B].  With first_slots >= 0 only a token's first that
     * many slots take part.
     */
    void (*decode)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                   int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                   float *R);

    /*
     * All pre-activations of the batch that are at least floor[t] (> 0, or infinite for a token without any), in any
     * order; returns their number.  When that is above `capacity`, hit[] holds that many of them.  With k > 0 floor[t]
     * may rise, up to ratio[t] (at most 1) times the k-th largest of the token; others may then be among the hits.
     */
    int64_t (*encode_above)(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y,
                            int64_t k, const float *ratio, float *floor, int64_t capacity, hps_hit *hit);

    /* dz_fixed = hps_dot_fixed(w, G[t], w_i, scale[t]) of every slot; G [B, ldg] from this rank's first column on. */
    void (*slot_dots)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                      int64_t ldg, const float *G, const double *scale);

    /*
     * The suffix vectors of a nested reconstruction, from R, the residuals after the first_slots first slots (below 0:
     * all).  A token's residual takes in the other slots, then runs back, and is R[t] again where it meets those: from the
     * last slot on, S = fma(w_s, r, S) where w_s is not 0; dz_fixed = hps_dot_fixed(w, S, w_i, scale[t]);
     * r = fma(-z, w_i, r).  S[t] ends with fma(w_0, -start[t], S): the gradient of b.  S [B, ldd].
     */
    void (*nested)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                   const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start,
                   const double *scale, const float *R, float *S);

    /*
     * The same sweep over w columns (W_dec, R and the results point to the first), for the decoder's gradient: suffix_rows
     * leaves the vectors, suffix [nesting->rows, lds], for few levels; nested_sums what they come to by latent,
     * G [n, ldg]: the sum over slots, tokens in order, of z S (fma), for many.
     */
    void (*suffix_rows)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec,
                        const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                        int64_t lds, float *suffix);
    void (*nested_sums)(hps_workspace *ws, int64_t B, int64_t n, int64_t w, int64_t ldd, const float *W_dec,
                        const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                        int64_t ldg, float *G);

    /* Column sums over tokens, in token order, in double: sum[j] of R, product[j] of R Q; j < w.  Q [B, ldq] may be R. */
    void (*column_sums)(hps_workspace *ws, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq,
                        const float *Q, double *sum, double *product);

    /*
     * Decoder rows of all n latents over w of the rank's columns, a multiple of HPS_BLOCK unless they are the last.
     * Gradient g = sum over families of c * (sum over slots, tokens in order, of z row); less its component along the row,
     * parallel[i] * w_i; times adam.factor.  Adds hps_dot_fixed(g, g, square_scale) of all rows to *square.  With apply:
     * Adam, and norm[i] += hps_dot_fixed(w_i, w_i, norm_scale).  With u->gradient its row i takes the place of the sum over
     * families, so that some latents alone can be updated: pointers to their first, n their number.
     */
    void (*update_decoder)(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                           const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm);

    /*
     * Encoder rows and biases of the rank's own latents.  Gradient g = sum over families of c * (sum of dz y); that of
     * b_enc is bias_gradient[i] (i global).  *square as above, biases included.  Adds to column[j], over blocks of
     * HPS_BLOCK latents in fixed point (bias_scale), sum_i bias_gradient[i] e_ij of the rows before the update.  With
     * apply: Adam; *row_norm becomes the largest |row| (canonical) after it.  With u->gradient as above,
     * pointers to encoder row u->first.
     */
    void (*update_encoder)(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                           const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                           int64_t *column, float *row_norm);

    /*
     * The sums over families in the two above, as rows G [count, ldg]: of latents first ... first + count - 1, m columns of
     * the families' rows; or, with y [B, ldy], of the encoder rows of latent[first] and so on.
     */
    void (*gradients)(hps_workspace *ws, const hps_update *u, int64_t first, int64_t count, const int32_t *latent,
                      int64_t m, int64_t ldy, const float *y, int64_t ldg, float *G);

    /* Decoder rows times 1 / |row|, norm[i] = |row|^2 in fixed point (norm_scale). */
    void (*normalise)(hps_workspace *ws, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                      float *W_dec);

    /*
     * One thread's dense work, for measuring the machine: the screen's unit on registers alone, the screen's product on words
     * in cache, float32 fma on registers alone.  Returns the operations done, a multiply-add being two.
     */
    double (*screen_peak)(int64_t rounds);
    double (*screen_trial)(int64_t rounds);
    double (*float_peak)(int64_t rounds);
} hps_kernels;

/*
 * Local.  The table of a backend; HPS_BACKEND_AUTO: the one whose screen's product is the fastest by a measurement of
 * some milliseconds (the bits are the same).  HPS_ECONFIG if this CPU cannot run it, naming those that it can.
 */
hps_status hps_kernels_choose(hps_backend backend, const hps_kernels **kernels);

/* Local.  Every table that this CPU can run, the base reference first; returns how many, at most HPS_KERNELS_MAX - 1. */
enum { HPS_KERNELS_MAX = 10 };
int hps_kernels_all(const hps_kernels *all[HPS_KERNELS_MAX]);

/* Local.  The table of the kernels that run on this machine's GPU, whose arrays must come from its memory; NULL if there is
 * none. */
const hps_kernels *hps_kernels_device(void);

/*
 * Local.  What a rehearsal counts by in place of a device's table, on any machine: the same arrays, from hps_alloc, whose workspace
 * is good for nothing else.  No kernel may be called.
 */
const hps_kernels *hps_kernels_planned(void);

#endif
