#include "hpsae/model/slots.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <string.h>

hps_status hps_bucket_create(int64_t n, int64_t slots, hps_bucket *bucket)
{
    HPS_TRY(HPS_ALLOC(&bucket->first, n + 1, "slots by latent"));
    HPS_TRY(HPS_ALLOC(&bucket->token, slots, "slots by latent"));
    HPS_TRY(HPS_ALLOC(&bucket->slot, slots, "slots by latent"));
    return HPS_OK;
}

void hps_bucket_destroy(hps_bucket *bucket)
{
    HPS_FREE(&bucket->first);
    HPS_FREE(&bucket->token);
    HPS_FREE(&bucket->slot);
}

void hps_bucket_fill(int64_t B, int64_t n, const hps_slots *slots, hps_bucket *bucket)
{
    int32_t *first = bucket->first;
    const int32_t all = slots->first[B];

    /* first[i] is the latent's count, then where its entries end, and, once they are dealt from the last, where they begin. */
    memset(first, 0, (size_t)(n + 1) * sizeof(*first));
    for (int32_t s = 0; s < all; s++) {
        first[slots->slot[s].latent]++;
    }
    for (int64_t i = 1; i <= n; i++) {
        first[i] += first[i - 1];
    }
    for (int64_t t = B - 1; t >= 0; t--) {
        for (int32_t s = slots->first[t + 1] - 1; s >= slots->first[t]; s--) {
            const int32_t place = --first[slots->slot[s].latent];
            bucket->token[place] = (int32_t)t;
            bucket->slot[place] = s;
        }
    }
}

void hps_slots_sum_dz(MPI_Comm comm, int64_t B, const double *scale, hps_slots *slots)
{
    hps_sum_fixed(comm, slots->dz_fixed, slots->first[B]);
    for (int64_t t = 0; t < B; t++) {
        for (int32_t s = slots->first[t]; s < slots->first[t + 1]; s++) {
            slots->dz[s] = (float)hps_from_fixed(slots->dz_fixed[s], scale[t]);
        }
    }
}

void hps_latent_sums(int64_t n, int families, const hps_family family[2], int threads, float *parallel,
                     float *bias_gradient)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        parallel[i] = bias_gradient[i] = 0;
        for (int f = 0; f < families; f++) {
            const hps_bucket *bucket = family[f].bucket;
            const hps_slots *slots = family[f].slots;
            float z_dz = 0, dz = 0;
            for (int32_t e = bucket->first[i]; e < bucket->first[i + 1]; e++) {
                const int32_t s = bucket->slot[e];
                z_dz = fmaf(slots->slot[s].value, slots->dz[s], z_dz);
                dz += slots->dz[s];
            }
            parallel[i] = fmaf(family[f].c, z_dz, parallel[i]);
            bias_gradient[i] = fmaf(family[f].c, dz, bias_gradient[i]);
        }
    }
}

hps_slot_bounds hps_slots_bound(int64_t B, const hps_slots *slots, const float *y_norm, const float *z_sum,
                                const double *residual_bound)
{
    hps_slot_bounds bound = {0};

    for (int64_t t = 0; t < B; t++) {
        double dz = 0;
        for (int32_t s = slots->first[t]; s < slots->first[t + 1]; s++) {
            dz += fabs((double)slots->dz[s]);
        }
        bound.dz += dz;
        bound.y_dz += (double)y_norm[t] * dz;
        bound.R_z += residual_bound[t] * (double)z_sum[t];
    }
    return bound;
}
