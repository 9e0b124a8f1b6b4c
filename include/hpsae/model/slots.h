/*
 * A family of selected slots in training: the slots of every token, the same by latent, and what the gradient needs of
 * them.  The main selection is one family, AuxK's another.
 */
#ifndef HPSAE_MODEL_SLOTS_H
#define HPSAE_MODEL_SLOTS_H

#include "hpsae/base/status.h"
#include "hpsae/kernels/kernels.h"

#include <mpi.h>
#include <stdint.h>

/* Local.  A bucket for up to `slots` slots over n latents, filled by up to so many threads.  HPS_ENOMEM.  Release with
 * hps_bucket_destroy. */
hps_status hps_bucket_create(int64_t n, int64_t slots, int threads, hps_bucket *bucket);
void hps_bucket_destroy(hps_bucket *bucket);

/* Local.  Sorts the slots of B tokens, dz known, by latent (counting sort; tokens ascend within a latent). */
void hps_bucket_fill(int64_t B, int64_t n, const hps_slots *slots, hps_bucket *bucket);

/*
 * Collective over comm.  Adds the ranks' <R, w> of every slot and turns them into slots->dz; scale [B] is the fixed
 * point that they are in.
 */
void hps_slots_sum_dz(MPI_Comm comm, int64_t B, const double *scale, int threads, hps_slots *slots);

/*
 * Local.  For every latent, over both families and with their weights c: parallel [n] = sum of c z dz, the component of
 * the decoder gradient along the row (<g, w_i> = sum_t z <S, w_i>, so that no message is needed for it);
 * bias_gradient [n] = sum of c dz.
 */
void hps_latent_sums(int64_t n, int families, const hps_family family[2], int threads, float *parallel,
                     float *bias_gradient);

/*
 * Local.  Over the B tokens of one family: total of |dz|, of |y| |dz| and of bound * z_sum; what gradients are bounded
 * by before they are known.
 */
typedef struct {
    double dz, y_dz, R_z;
} hps_slot_bounds;
hps_slot_bounds hps_slots_bound(int64_t B, const hps_slots *slots, const float *y_norm, const float *z_sum,
                                const double *residual_bound);

/* Local.  The same where each token's sum of |dz|, in slot order, is known: dz [B]. */
hps_slot_bounds hps_slots_bound_of_sums(int64_t B, const double *dz, const float *y_norm, const float *z_sum,
                                        const double *residual_bound);

#endif
