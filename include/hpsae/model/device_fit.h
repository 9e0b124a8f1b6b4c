/* What would fit into a device's memory where a training run does not. */
#ifndef HPSAE_MODEL_DEVICE_FIT_H
#define HPSAE_MODEL_DEVICE_FIT_H

#include "hpsae/model/rehearse.h"

/* Each alone would do; 0: nothing smaller does, or all fits as it is. */
typedef struct {
    int64_t latents; /* a multiple of HPS_BLOCK */
    int64_t batch;   /* a multiple of the data groups */
} hps_device_fit;

/*
 * Local, without a device.  The largest dictionary and the largest batch, below those of `size`, whose rank holds at most `bytes` on its
 * device, by the rehearsal that `plan` counts with.
 */
hps_device_fit hps_device_largest(const hps_rank_question *question, const hps_cost_case *size, int64_t bytes);

/*
 * Local.  After an HPS_ENOMEM: the same error, with what would fit into `bytes`, the memory that the device had free, added to its
 * message.
 */
hps_status hps_device_advise(const hps_rank_question *question, const hps_cost_case *size, int64_t bytes);

#endif
