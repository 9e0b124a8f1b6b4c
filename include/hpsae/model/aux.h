/*
 * AuxK (Gao et al. 2024, A.2): the k_aux largest pre-activations among the dead latents reconstruct what the dictionary
 * missed, e = x - xhat, so that their gradients bring them back.
 */
#ifndef HPSAE_MODEL_AUX_H
#define HPSAE_MODEL_AUX_H

#include "hpsae/model/forward.h"

typedef struct {
    int64_t k;
    hps_topk topk;
    int32_t *rows; /* [own] dead latents of this rank, local numbers */
    hps_slots slots;
    hps_bucket bucket;
    float *R;              /* [B, ldd] ehat - e */
    float *z_sum;          /* [B] */
    double *bound, *scale; /* [B] on |R|, and the fixed point of <R, w> */
    double *sum, *square;  /* [ldd] column sums of R and R^2 */
} hps_aux;

/* Collective over the model ranks.  Buffers for the forward pass's batches.  HPS_ENOMEM.  Release with hps_aux_destroy. */
hps_status hps_aux_create(const hps_forward *forward, int64_t k, hps_aux **aux);
void hps_aux_destroy(hps_aux **aux);

/* Local.  How many latents have not fired for dead_tokens tokens of the whole job (every rank has all the counters). */
int64_t hps_dead_latents(const hps_model *model, int64_t dead_tokens);

/*
 * Collective over the model ranks.  After hps_forward_decode of B tokens, whose |R| is at most main_bound [B]: the dead
 * latents' slots, R, its slot gradients in fixed point, its column sums.
 */
void hps_aux_forward(hps_aux *aux, hps_forward *f, int64_t B, int64_t dead_tokens, const double *main_bound);

#endif
