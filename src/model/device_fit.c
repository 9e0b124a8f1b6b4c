#include "hpsae/model/device_fit.h"

#include "hpsae/base/canonical.h"

#include <stdio.h>
#include <string.h>

static bool holds(const hps_rank_question *q, const hps_cost_case *size, int64_t bytes)
{
    hps_memory_plan plan;

    return hps_rank_memory(q, size, &plan) == HPS_OK && plan.device <= bytes;
}

/* The largest multiple of `unit` from `least` on and below *value, a member of size, that fits; 0: none. */
static int64_t largest(const hps_rank_question *q, hps_cost_case *size, int64_t *value, int64_t unit, int64_t least,
                       int64_t bytes)
{
    int64_t low = (least + unit - 1) / unit, high = (*value + unit - 1) / unit;

    *value = low * unit;
    if (low >= high || !holds(q, size, bytes)) {
        return 0;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *value = middle * unit;
        *(holds(q, size, bytes) ? &low : &high) = middle;
    }
    return low * unit;
}

hps_device_fit hps_device_largest(const hps_rank_question *q, const hps_cost_case *size, int64_t bytes)
{
    const int64_t k = size->k > q->config->train.k_start ? size->k : q->config->train.k_start;
    const int64_t least = k > size->P ? k : size->P, unit = size->R > 64 ? size->R : 64 / size->R * size->R;
    hps_cost_case of_latents = *size, of_batch = *size;
    hps_device_fit fit = {0};

    if (holds(q, size, bytes)) {
        return fit;
    }
    fit.latents = largest(q, &of_latents, &of_latents.n, HPS_BLOCK, least, bytes);
    fit.batch = largest(q, &of_batch, &of_batch.B, unit, unit, bytes);
    return fit;
}

hps_status hps_device_advise(const hps_rank_question *q, const hps_cost_case *size, int64_t bytes)
{
    char failed[HPS_MESSAGE_MAX], latents[64] = "", batch[64] = "";

    snprintf(failed, sizeof(failed), "%s", hps_status_message()); /* the search for what fits may fail itself */
    const hps_device_fit fit = hps_device_largest(q, size, bytes);
    if (fit.latents > 0) {
        snprintf(latents, sizeof(latents), "model.latents %lld (%lld now)", (long long)fit.latents, (long long)size->n);
    }
    if (fit.batch > 0) {
        snprintf(batch, sizeof(batch), "train.batch %lld (%lld now)", (long long)fit.batch, (long long)size->B);
    }
    if (fit.latents + fit.batch == 0) {
        return hps_fail(HPS_ENOMEM, "%s", failed);
    }
    return hps_fail(HPS_ENOMEM, "%.*s; of %.0f MiB free, %s%s%s would fit", HPS_MESSAGE_MAX - 200, failed,
                    (double)bytes / 1048576, latents, latents[0] != '\0' && batch[0] != '\0' ? " or " : "", batch);
}
