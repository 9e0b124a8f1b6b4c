#include "hpsae/base/report.h"
#include "hpsae/study/plan.h"

static json_t *grid_json(const hps_grid_point *g, const char *reason)
{
    json_t *object =
        json_pack("{s:i,s:i,s:i,s:i,s:i,s:f}", "nodes", g->size.nodes, "ranks_per_node", g->ranks_per_node, "groups",
                  g->size.R, "ranks", g->size.P, "threads", g->size.threads, "step_seconds", g->seconds);

    if (reason != NULL) {
        json_object_set_new(object, "reason", json_string(reason));
    }
    return object;
}

static json_t *memory_json(const hps_plan *p)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:b}", "state", (json_int_t)p->rank.state, "buffers",
                     (json_int_t)p->rank.buffers, "starting", (json_int_t)p->rank.starting, "device",
                     (json_int_t)p->rank.device, "libraries", (json_int_t)p->libraries, "rank",
                     (json_int_t)p->rank_bytes, "node", (json_int_t)(p->rank_bytes * p->grid.ranks_per_node),
                     "node_limit", p->node_limit > 0 ? hps_json_real(p->node_limit) : json_null(), "fits", p->fits);
}

static json_t *count_or_null(int64_t count)
{
    return count > 0 ? json_integer(count) : json_null();
}

static json_t *phases_json(const hps_plan *p)
{
    json_t *phases = json_object();

    for (int i = 0; i < HPS_PHASES; i++) {
        const hps_cost_wire w = hps_cost_sends(&p->grid.size, (hps_phase)i);
        json_object_set_new(phases, hps_phase_name((hps_phase)i),
                            json_pack("{s:f,s:f,s:f,s:f,s:f}", "seconds", p->seconds[i], "bytes", w.bytes, "messages",
                                      w.messages, "group_bytes", w.group_bytes, "group_messages", w.group_messages));
    }
    return phases;
}

static json_t *run_json(const hps_plan *p)
{
    const hps_cost_case *c = &p->grid.size;

    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "latents", (json_int_t)c->n, "d", (json_int_t)c->d, "k",
                     (json_int_t)c->k, "batch", (json_int_t)c->B, "aux_k", (json_int_t)c->aux_k, "dead",
                     (json_int_t)c->dead, "steps", (json_int_t)p->steps);
}

static const char *method_name(hps_ensemble_method method)
{
    return method == HPS_ENSEMBLE_BAGGING ? "bagging" : method == HPS_ENSEMBLE_BOOSTING ? "boosting" : "none";
}

static json_t *ensemble_json(const hps_plan_ensemble *e)
{
    return json_pack("{s:s,s:i,s:i,s:i,s:I,s:i,s:f}", "method", method_name(e->method), "members", e->members, "groups",
                     e->groups, "at_once", e->at_once, "residual_bytes", (json_int_t)e->residual_bytes, "residual_sets",
                     e->residual_sets, "residual_seconds", e->residual_seconds);
}

static json_t *time_json(const hps_plan *p)
{
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "step_seconds", p->step, "total_seconds", p->total,
                     "evaluation_seconds", p->evaluations, "communication_share",
                     p->communication / (p->step * (double)p->steps), "tokens_per_s", (double)p->grid.size.B / p->step,
                     "input_bytes_per_s", p->input);
}

json_t *hps_plan_json(const hps_plan *p)
{
    const hps_calibration *m = &p->machine;
    json_t *root =
        json_pack("{s:s,s:b,s:b,s:s?,s:s,s:s,s:s}", "format", "hpsae plan 1", "assumed", m->assumed, "network_assumed",
                  m->network_assumed, "bench", p->bench, "host", m->host, "cpu", m->cpu, "backend", m->backend);

    if (root == NULL) {
        return NULL;
    }
    json_object_set_new(root, "network",
                        json_pack("{s:f,s:f}", "latency", m->network.latency, "bytes", m->network.bytes));
    json_object_set_new(root, "run", run_json(p));
    json_object_set_new(root, "ensemble", ensemble_json(&p->ensemble));
    json_object_set_new(root, "layout", grid_json(&p->grid, NULL));
    json_object_set_new(root, "groups_auto", p->groups_auto ? hps_groups_json(&p->groups) : json_null());
    json_object_set_new(root, "memory", memory_json(p));
    json_object_set_new(root, "remedies",
                        json_pack("{s:o,s:o,s:o}", "nodes", count_or_null(p->nodes_needed), "batch",
                                  count_or_null(p->batch_possible), "latents", count_or_null(p->latents_possible)));
    json_object_set_new(root, "disk",
                        json_pack("{s:I,s:I,s:I,s:I}", "checkpoint", (json_int_t)p->checkpoint, "keep",
                                  (json_int_t)p->keep, "most",
                                  (json_int_t)(p->checkpoint * (p->keep * p->ensemble.members + p->ensemble.groups)),
                                  "metrics", (json_int_t)p->metrics));
    json_object_set_new(root, "phases", phases_json(p));
    json_object_set_new(root, "time", time_json(p));
    json_object_set_new(root, "best", p->has_best ? grid_json(&p->best, p->reason) : json_null());
    json_object_set_new(root, "best_groups",
                        p->has_best_groups ? grid_json(&p->best_groups, p->reason_groups) : json_null());
    return root;
}
