#include "hpsae/model/slots.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <string.h>

hps_status hps_bucket_create(int64_t n, int64_t slots, int threads, hps_bucket *bucket)
{
    /* More parts than this would count longer than they deal. */
    const int64_t worth = 1 + slots / n;

    bucket->parts = threads < worth ? threads : (int)worth;
    HPS_TRY(HPS_ALLOC(&bucket->first, n + 1, "slots by latent"));
    HPS_TRY(HPS_ALLOC(&bucket->entry, slots, "slots by latent"));
    return HPS_ALLOC(&bucket->place, bucket->parts * n, "slots by latent");
}

void hps_bucket_destroy(hps_bucket *bucket)
{
    HPS_FREE(&bucket->first);
    HPS_FREE(&bucket->entry);
    HPS_FREE(&bucket->place);
}

/* How often each latent occurs among tokens t0 .. t1 - 1. */
static void count_part(int64_t t0, int64_t t1, int64_t n, const hps_slots *slots, int32_t *count)
{
    memset(count, 0, (size_t)n * sizeof(*count));
    for (int32_t s = slots->first[t0]; s < slots->first[t1]; s++) {
        count[slots->slot[s].latent]++;
    }
}

/* From the parts' counts: where each latent's entries begin, and where each part's do. */
static void add_up(int64_t n, hps_bucket *bucket)
{
    int32_t sum = 0;

    for (int64_t i = 0; i < n; i++) {
        bucket->first[i] = sum;
        for (int p = 0; p < bucket->parts; p++) {
            const int32_t count = bucket->place[p * n + i];
            bucket->place[p * n + i] = sum;
            sum += count;
        }
    }
    bucket->first[n] = sum;
    bucket->entries = sum;
}

static void deal_part(int64_t t0, int64_t t1, const hps_slots *slots, int32_t *place, hps_bucket *bucket)
{
    enum { AHEAD = 16 };
    const int32_t last = slots->first[t1] - 1;

    for (int64_t t = t0; t < t1; t++) {
        for (int32_t s = slots->first[t]; s < slots->first[t + 1]; s++) {
            const hps_candidate c = slots->slot[s], next = slots->slot[s + AHEAD < last ? s + AHEAD : last];
            __builtin_prefetch(bucket->entry + place[next.latent], 1);
            bucket->entry[place[c.latent]++] = (hps_entry){(int32_t)t, s, c.value, slots->dz[s]};
        }
    }
}

void hps_bucket_fill(int64_t B, int64_t n, const hps_slots *slots, hps_bucket *bucket)
{
    const int64_t parts = bucket->parts;

#pragma omp parallel for schedule(static, 1) num_threads(bucket->parts)
    for (int64_t p = 0; p < parts; p++) {
        count_part(B * p / parts, B * (p + 1) / parts, n, slots, bucket->place + p * n);
    }
    add_up(n, bucket);
#pragma omp parallel for schedule(static, 1) num_threads(bucket->parts)
    for (int64_t p = 0; p < parts; p++) {
        deal_part(B * p / parts, B * (p + 1) / parts, slots, bucket->place + p * n, bucket);
    }
}

void hps_slots_sum_dz(MPI_Comm comm, int64_t B, const double *scale, int threads, hps_slots *slots)
{
    hps_sum_fixed(comm, slots->dz_fixed, slots->first[B]);
#pragma omp parallel for schedule(static) num_threads(threads)
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
            float z_dz = 0, dz = 0;
            for (int32_t e = bucket->first[i]; e < bucket->first[i + 1]; e++) {
                z_dz = fmaf(bucket->entry[e].z, bucket->entry[e].dz, z_dz);
                dz += bucket->entry[e].dz;
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

hps_slot_bounds hps_slots_bound_of_sums(int64_t B, const double *dz, const float *y_norm, const float *z_sum,
                                        const double *residual_bound)
{
    hps_slot_bounds bound = {0};

    for (int64_t t = 0; t < B; t++) {
        bound.dz += dz[t];
        bound.y_dz += (double)y_norm[t] * dz[t];
        bound.R_z += residual_bound[t] * (double)z_sum[t];
    }
    return bound;
}
