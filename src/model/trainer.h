/*
 * What a training step works in, between the files that create it, run the batch forward and update the parameters.
 */
#ifndef HPSAE_MODEL_TRAINER_H
#define HPSAE_MODEL_TRAINER_H

#include "hpsae/comm/groups.h"
#include "hpsae/model/aux.h"
#include "hpsae/model/step.h"

struct hps_trainer {
    const hps_grid *grid;
    const hps_kernels *kernels;
    hps_model *model;
    hps_step_options options;
    int64_t B;            /* tokens of this data group */
    hps_group_sums *sums; /* NULL with one data group */
    uint64_t *fired;      /* [n / 64] with several: a bit for each latent */
    hps_forward *forward;
    hps_bucket bucket;
    hps_nest nest;
    float *S;             /* [B, ldd] suffix vectors over all slots: the gradient of b; NULL if never nested */
    float *suffix;        /* [.., chunk] for few levels: the suffix vectors, over some columns at a time; else NULL */
    float *S_sums;        /* [n, chunk] for many: sums of z S by latent; else NULL */
    int64_t chunk;        /* a multiple of HPS_BLOCK */
    hps_aux *aux;         /* NULL without AuxK */
    double *bound;        /* [B] on |R| */
    double *dz_sum[2];    /* [B] sums of |dz| of the main slots and AuxK's, where the backend has a device; else NULL */
    double *sum, *square; /* [ldd] column sums of R and R^2 */
    double *variance;     /* [ldd] */
    double *S_sum, *S_y;  /* [ldd] column sums of S and of S y; those of R for S_sum where nothing is nested */
    float *parallel, *bias_gradient; /* [n] */
    int64_t *fixed;                  /* [n + d + 1] row norms, gradient of b, squared gradient norm, in one message */
    float *b_gradient;               /* [d] */
    double sse, aux_sse, error_variance; /* of the batch, over all columns */
    double S_y_all;                      /* sum of <S, y> */
    float row_norm;                      /* largest encoder row of all ranks */
};

/*
 * Collective over the ranks of the grid.  After the batch's forward pass and its sums: gradients, clip, Adam, unit rows.
 * Adds to the report's seconds; sets its lr and grad_norm.  Error, on every rank: HPS_ENUMERIC.
 */
hps_status hps_trainer_update(hps_trainer *t, bool has_aux, hps_step_report *report);

#endif
