/* A configuration as the cost model counts it. */
#include "hpsae/model/cost.h"
#include "hpsae/model/nest.h"

static int64_t levels_of(const hps_config *c)
{
    switch (c->train.objective) {
    case HPS_OBJECTIVE_MULTI_TOPK:
        return 2;
    case HPS_OBJECTIVE_HIERARCHICAL:
        return c->train.hierarchical.levels.count > 0 ? c->train.hierarchical.levels.count : c->model.k;
    case HPS_OBJECTIVE_MATRYOSHKA:
        return c->train.matryoshka.random > 0           ? c->train.matryoshka.random
               : c->train.matryoshka.prefixes.count > 0 ? c->train.matryoshka.prefixes.count
                                                        : HPS_PREFIXES_DEFAULT;
    default:
        return 0;
    }
}

hps_cost_case hps_cost_case_of(const hps_config *c, int64_t d, int word_bytes, double dead)
{
    const bool multi = c->train.objective == HPS_OBJECTIVE_MULTI_TOPK && c->train.multi.weight > 0;

    return (hps_cost_case){.n = c->model.latents,
                           .d = d,
                           .B = c->train.batch,
                           .k = multi ? c->train.multi.factor * c->model.k : c->model.k,
                           .aux_k = c->train.aux.k,
                           .dead = c->train.aux.k > 0 ? (int64_t)(dead * (double)c->model.latents) : 0,
                           .select = c->model.select,
                           .nested = levels_of(c),
                           .clip = c->train.clip > 0,
                           .average = c->train.ema > 0,
                           .word_bytes = word_bytes,
                           .R = 1,
                           .P = 1,
                           .threads = 1,
                           .nodes = 1};
}
