/* A configuration as the cost model counts it. */
#include "hpsae/model/cost.h"

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
                           .nested = c->train.objective != HPS_OBJECTIVE_PLAIN,
                           .clip = c->train.clip > 0,
                           .average = c->train.ema > 0,
                           .word_bytes = word_bytes,
                           .R = 1,
                           .P = 1,
                           .threads = 1,
                           .nodes = 1};
}
