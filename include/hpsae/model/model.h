/*
 * A dictionary and, in training, its optimiser state, as one rank holds them.
 *
 * The four tensors of math.md 1: W_enc [n, d], b_enc [n], W_dec [n, d] (row = decoder direction of a latent), b [d]
 * (subtracted before encoding, added after decoding).  Each exists once a role: the values, Adam's two moments, the
 * average.  A role is one aligned slab.  Leading dimensions are rounded up to 16 floats; padding is zero and never
 * read.
 */
#ifndef HPSAE_MODEL_MODEL_H
#define HPSAE_MODEL_MODEL_H

#include "hpsae/base/status.h"
#include "hpsae/comm/grid.h"
#include "hpsae/config/config.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    float *W_enc; /* [own, lde]: rows of this rank's latents, ascending */
    float *b_enc; /* [own] */
    float *W_dec; /* [n, ldd]: columns c0..c1 of every latent's row */
    float *b;     /* [d], the same on every rank */
    float *slab;  /* what holds them; owned */
} hps_tensors;

typedef enum { HPS_VALUE, HPS_MOMENT1, HPS_MOMENT2, HPS_AVERAGE, HPS_ROLES } hps_role;

typedef enum { HPS_NORM_NONE, HPS_NORM_SCALE, HPS_NORM_TOKEN } hps_norm;

typedef struct {
    hps_shard shard;
    int64_t lde, ldd;
    int64_t k;
    hps_norm norm; /* what is done to an activation before it enters: nothing; x * scale; token normalisation */
    double scale;  /* for HPS_NORM_SCALE, else 1 */
    hps_select select;
    double alpha, beta; /* of HPS_SELECT_GRADIENT; else 1, 0 */
    double threshold;   /* of HPS_SELECT_BATCH_TOPK in use: latents with p above it fire; negative: not known yet */
    int prefixes;       /* of a Matryoshka dictionary of fixed sizes; else 0 */
    int64_t prefix[HPS_PREFIXES_MAX]; /* nested sizes, ascending, the last n */
    hps_tensors role[HPS_ROLES];      /* roles that do not exist have NULL pointers */
    int64_t
        *fired; /* [n] tokens seen when the latent last fired, the same on every rank; only in training, else NULL */
    int64_t tokens;       /* tokens trained on */
    int64_t step;         /* optimiser steps done */
    char *hook;           /* where the activations come from; from strdup, owned; NULL: not known */
    char *model_name;     /* likewise */
    uint64_t whitening;   /* of its activations (hpsae/store/whitening.h); 0: they are as they are */
    char *whitened_store; /* first path of their store, as the run named it; likewise */
} hps_model;

/*
 * Local.  Allocates the roles (a bit mask: 1 << HPS_VALUE | ...), all zero; `fired` too when HPS_MOMENT1 is among them.
 * b is followed by zeros up to lde floats.  Errors: HPS_ENOMEM, HPS_ECONFIG (k outside 1 .. n, or from
 * hps_shard_create).  Release with hps_model_destroy.
 */
hps_status hps_model_create(const hps_grid *grid, int64_t n, int64_t d, int64_t k, unsigned roles, hps_model **model);
void hps_model_destroy(hps_model **model);

/* Local.  Bytes of the arrays that hps_model_create allocates on this rank for these sizes. */
int64_t hps_model_bytes(const hps_shard *shard, unsigned roles);

/*
 * How a tensor of a role is laid out, for everything that treats the four alike (checkpoint, checksum, export): of the
 * whole tensor [rows, columns] this rank holds `local_rows` rows, row q being global row hps_model_row(q), columns
 * [c0, c0 + width), with leading dimension ld.  b and b_enc are tensors of one column ([d, 1] and [n, 1]).
 */
typedef enum { HPS_W_ENC, HPS_B_ENC, HPS_W_DEC, HPS_B_DEC, HPS_TENSORS } hps_tensor;
typedef enum { HPS_BY_LATENT, HPS_BY_COLUMN, HPS_REPLICATED } hps_layout;
typedef struct {
    const char *name; /* "W_enc" "b_enc" "W_dec" "b_dec" */
    hps_layout layout;
    int64_t rows, columns;
    int64_t local_rows, c0, width, ld;
} hps_tensor_layout;

/* Local. */
hps_tensor_layout hps_model_layout(const hps_model *model, hps_tensor tensor);
float *hps_model_tensor(const hps_model *model, hps_role role, hps_tensor tensor);
const char *hps_role_name(hps_role role); /* "value" "moment1" "moment2" "average" */

/* Local.  The global row of local row q of a tensor laid out like that. */
static inline int64_t hps_model_row(const hps_model *model, const hps_tensor_layout *layout, int64_t q)
{
    return layout->layout == HPS_BY_LATENT ? hps_shard_latent(&model->shard, q) : q;
}

/*
 * Collective over comm (the model communicator).  Checksums independent of the layout: the sum modulo 2^64, over all
 * numbers of a tensor, of a hash of (role, tensor, global index, bits).  `values` covers the values' four tensors,
 * `state` all roles, dead counters, tokens and step.
 */
typedef struct {
    uint64_t values, state;
} hps_checksum;
hps_checksum hps_model_checksum(MPI_Comm comm, const hps_model *model);

#endif
