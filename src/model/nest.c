#include "hpsae/model/nest.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"

#include <stdlib.h>
#include <string.h>

static int64_t most_levels(const hps_nest_options *o)
{
    switch (o->objective) {
    case HPS_OBJECTIVE_MULTI_TOPK:
        return 2;
    case HPS_OBJECTIVE_HIERARCHICAL:
        return o->list.count > 0 ? o->list.count : o->k_max;
    case HPS_OBJECTIVE_MATRYOSHKA:
        return o->random > 0 ? o->random : o->list.count > 0 ? o->list.count : HPS_PREFIXES_DEFAULT;
    default:
        return 1;
    }
}

hps_status hps_nest_create(const hps_nest_options *options, int64_t B, int64_t slots, hps_nest *nest)
{
    *nest = (hps_nest){
        .options = *options, .by_latent = options->objective == HPS_OBJECTIVE_MATRYOSHKA, .most = most_levels(options)};
    HPS_TRY(HPS_ALLOC(&nest->size, nest->most, "levels of the objective"));
    HPS_TRY(HPS_ALLOC(&nest->weight, nest->most, "levels of the objective"));
    if (nest->most == 1) {
        return HPS_OK;
    }
    HPS_TRY(HPS_ALLOC_BOTH(&nest->nesting.weight, slots, "weights of the objective"));
    HPS_TRY(HPS_ALLOC_BOTH(&nest->nesting.row, slots, "weights of the objective"));
    return HPS_ALLOC_BOTH(&nest->nesting.bias_weight, B, "weights of the objective");
}

void hps_nest_destroy(hps_nest *nest)
{
    HPS_FREE(&nest->size);
    HPS_FREE(&nest->weight);
    HPS_FREE(&nest->nesting.weight);
    HPS_FREE(&nest->nesting.row);
    HPS_FREE(&nest->nesting.bias_weight);
}

void hps_nest_default_prefixes(int64_t n, int64_t prefix[HPS_PREFIXES_DEFAULT])
{
    prefix[0] = n / 32;
    prefix[1] = prefix[0] + n / 16;
    prefix[2] = prefix[1] + n / 8;
    prefix[3] = prefix[2] + n / 4;
    prefix[4] = n;
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Distinct lengths smallest + l with P proportional to sqrt(l + 1) - sqrt(l), l < n - smallest, and n (Bussmann et al. 2025). */
static void draw_prefixes(hps_nest *nest, int64_t step)
{
    const hps_nest_options *o = &nest->options;
    const int64_t range = o->n - o->smallest;
    int64_t drawn = 0;

    for (uint64_t draw = 0; drawn < o->random - 1; draw++) {
        const double u = hps_random_uniform(o->seed, HPS_DRAW_PREFIX, (uint64_t)step, draw);
        const int64_t size = o->smallest + (int64_t)(u * u * (double)range);
        bool known = false;
        for (int64_t i = 0; i < drawn; i++) {
            known |= nest->size[i] == size;
        }
        if (!known) {
            nest->size[drawn++] = size;
        }
    }
    nest->size[drawn] = o->n;
    nest->levels = o->random;
    qsort(nest->size, (size_t)nest->levels, sizeof(*nest->size), ascending);
}

static void equal_weights(hps_nest *nest)
{
    for (int64_t l = 0; l < nest->levels; l++) {
        nest->weight[l] = (float)(1 / (double)nest->levels);
    }
}

static void take_list(hps_nest *nest)
{
    nest->levels = nest->options.list.count;
    memcpy(nest->size, nest->options.list.items, (size_t)nest->levels * sizeof(*nest->size));
}

static void begin_multi(hps_nest *nest, int64_t k)
{
    const double weight = nest->options.weight;

    nest->size[0] = k;
    nest->weight[0] = (float)(1 / (1 + weight));
    if (weight > 0) {
        nest->levels = 2;
        nest->size[1] = nest->slots = nest->options.factor * k;
        nest->weight[1] = (float)(weight / (1 + weight));
        nest->main = k;
    }
}

static void begin_hierarchical(hps_nest *nest, int64_t k)
{
    nest->levels = k;
    if (nest->options.list.count > 0) {
        take_list(nest);
    } else {
        for (int64_t l = 0; l < k; l++) {
            nest->size[l] = l + 1;
        }
    }
    equal_weights(nest);
}

static void begin_matryoshka(hps_nest *nest, int64_t step)
{
    if (nest->options.random > 0) {
        draw_prefixes(nest, step);
    } else if (nest->options.list.count > 0) {
        take_list(nest);
    } else {
        nest->levels = HPS_PREFIXES_DEFAULT;
        hps_nest_default_prefixes(nest->options.n, nest->size);
    }
    equal_weights(nest);
}

void hps_nest_begin(hps_nest *nest, int64_t step, int64_t k)
{
    nest->levels = 1;
    nest->slots = k;
    nest->main = -1;
    switch (nest->options.objective) {
    case HPS_OBJECTIVE_MULTI_TOPK:
        begin_multi(nest, k);
        break;
    case HPS_OBJECTIVE_HIERARCHICAL:
        begin_hierarchical(nest, k);
        break;
    case HPS_OBJECTIVE_MATRYOSHKA:
        begin_matryoshka(nest, step);
        break;
    case HPS_OBJECTIVE_PLAIN:
        break;
    }
}

/* By latent; a token's slots are few. */
static void sort_by_latent(int64_t count, hps_candidate *slot)
{
    for (int64_t i = 1; i < count; i++) {
        const hps_candidate moved = slot[i];
        int64_t at = i;
        for (; at > 0 && slot[at - 1].latent > moved.latent; at--) {
            slot[at] = slot[at - 1];
        }
        slot[at] = moved;
    }
}

/* The weights of one token's slots: each level's goes to the last slot in it. */
static void weigh(const hps_nest *nest, int64_t t, const hps_slots *slots)
{
    const hps_candidate *slot = slots->slot + slots->first[t];
    const int64_t count = slots->first[t + 1] - slots->first[t];
    float *weight = nest->nesting.weight + slots->first[t], *bias = nest->nesting.bias_weight + t;
    int64_t within = 0;

    *bias = 0;
    memset(weight, 0, (size_t)count * sizeof(*weight));
    for (int64_t l = 0; l < nest->levels; l++) {
        if (nest->by_latent) {
            while (within < count && slot[within].latent < nest->size[l]) {
                within++;
            }
        } else {
            within = nest->size[l] < count ? nest->size[l] : count;
        }
        *(within > 0 ? &weight[within - 1] : bias) += nest->weight[l];
    }
}

void hps_nest_fill(hps_nest *nest, int64_t B, int threads, hps_slots *slots)
{
    int32_t row = 0;

#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t t = 0; t < B; t++) {
        if (nest->by_latent) {
            sort_by_latent(slots->first[t + 1] - slots->first[t], slots->slot + slots->first[t]);
        }
        weigh(nest, t, slots);
    }
    for (int32_t s = 0; s < slots->first[B]; s++) {
        nest->nesting.row[s] = row;
        row += nest->nesting.weight[s] != 0;
    }
    nest->nesting.rows = row;
}
