/*
 * The training step (math.md 1 to 4): one batch forward, AuxK, gradients, Adam, unit rows; the same bits on any number
 * of ranks and threads.
 */
#ifndef HPSAE_MODEL_STEP_H
#define HPSAE_MODEL_STEP_H

#include "hpsae/model/forward.h"
#include "hpsae/model/nest.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t B;                /* tokens a step */
    double V;                 /* E|x - mean|^2: the loss is L / V (math.md 2) */
    hps_pick_rule rule;       /* HPS_PICK_TOPK, _BATCH or _GRADIENT */
    double alpha, beta;       /* of the last */
    int64_t k_start, k_steps; /* k goes linearly from k_start to model->k over so many steps */
    hps_nest_options nest;
    int64_t threshold_start; /* HPS_PICK_BATCH: steps before model->threshold is averaged */
    double threshold_decay;
    int64_t aux_k; /* latents that AuxK reconstructs with; 0: no AuxK (Gao et al. 2024, A.2) */
    double aux_coefficient;
    int64_t dead_tokens;         /* a latent is dead that has not fired for so many tokens */
    double lr;                   /* peak */
    int64_t warmup_steps, steps; /* lr rises linearly over the first, falls linearly to 0 over the last decay * steps */
    double decay;
    double beta1, beta2, epsilon; /* beta1 < sqrt(beta2) */
    double clip;                  /* largest global gradient norm; 0: no clip */
    double ema;                   /* decay of the average of the weights; 0: none */
    int threads;
} hps_step_options;

/* Where the time of a step goes, on this rank. */
typedef enum {
    HPS_PHASE_IO,     /* reading and spreading the batch */
    HPS_PHASE_ENCODE, /* pre-activations and the rank's candidates */
    HPS_PHASE_SELECT, /* merging candidates over ranks */
    HPS_PHASE_DECODE, /* reconstruction, slot gradients, column sums */
    HPS_PHASE_AUX,    /* all of AuxK's forward part */
    HPS_PHASE_UPDATE, /* gradients and Adam */
    HPS_PHASE_COMM,   /* sums over ranks */
    HPS_PHASES
} hps_phase;

typedef struct {
    double loss;    /* the objective / V, of the batch before the update; without AuxK */
    double fvu;     /* sum |x - xhat|^2 / (B V), xhat of the step's k latents */
    double aux_fvu; /* L_aux; 0 without dead latents */
    double l0;      /* mean active latents a token */
    int64_t dead;   /* dead latents at the start of the step */
    int64_t k;
    double lr, grad_norm;
    double seconds[HPS_PHASES];
} hps_step_report;

typedef struct hps_trainer hps_trainer;

/*
 * Collective over grid->model.  Borrows grid, kernels and model, which has values, moments and fired (and the average if
 * options->ema > 0).  Errors: those of hps_forward_create.  Release with hps_trainer_destroy (local).
 */
hps_status hps_trainer_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model,
                              const hps_step_options *options, hps_trainer **trainer);
void hps_trainer_destroy(hps_trainer **trainer);

/* Local.  The trainer's forward pass: the batch goes into forward->y [B, lde], with HPS_PICK_GRADIENT its gradients into
 * forward->g. */
hps_forward *hps_trainer_forward(hps_trainer *trainer);

/*
 * Collective over grid->model.  One step on the batch in forward->y.  `flag` (>= 0) becomes its maximum over the ranks,
 * so that a wish to stop reaches all of them without a message of its own.  Error, on every rank and before the model has
 * changed: HPS_ENUMERIC when the loss is not finite, those of hps_forward_select; after: when the update was not.
 */
hps_status hps_trainer_step(hps_trainer *trainer, double *flag, hps_step_report *report);

/* Local.  k of step t = 0, 1, ... when the last one is k. */
int64_t hps_k_at(const hps_step_options *options, int64_t k, int64_t t);

/* Local.  Learning rate of step t = 0, 1, ... */
double hps_learning_rate(const hps_step_options *options, int64_t t);

#endif
