#include "plan_ensemble.h"

#include "hpsae/base/memory.h"
#include "hpsae/ensemble/chain.h"
#include "hpsae/store/residual_file.h"

static int64_t of_stage(const hps_ints *list, int64_t all, int j)
{
    return list->count > j ? list->items[j] : all;
}

static void take_largest(hps_config *c, int members)
{
    int64_t n = 0, k = 0;

    for (int j = 0; j < members; j++) {
        const int64_t nj = of_stage(&c->ensemble.latents, c->model.latents, j);
        const int64_t kj = of_stage(&c->ensemble.k, c->model.k, j);
        n = nj > n ? nj : n;
        k = kj > k ? kj : k;
    }
    c->model.latents = n;
    c->model.k = k;
}

/* As training chooses them (ensemble/bagging.c). */
static int choose_groups(const hps_config *c, int64_t ranks, int members)
{
    int64_t groups = c->ensemble.groups;

    if (groups == HPS_AUTO_INT) {
        groups = members < ranks ? members : ranks;
        while (groups > 1 && (members % groups != 0 || ranks % groups != 0 || ranks / groups % c->train.groups != 0)) {
            groups--;
        }
    }
    groups = groups < members ? groups : members;
    return groups > 1 ? (int)groups : 1;
}

void hps_plan_ensemble_begin(const hps_plan_request *r, hps_plan *plan)
{
    hps_config *c = r->config;
    hps_plan_ensemble *e = &plan->ensemble;

    *e = (hps_plan_ensemble){
        .method = c->ensemble.method, .members = (int)c->ensemble.members, .groups = 1, .at_once = 1};
    if (e->method == HPS_ENSEMBLE_BAGGING) {
        e->groups = choose_groups(c, (int64_t)r->nodes * r->ranks_per_node, e->members);
        e->in_turn = (e->members + e->groups - 1) / e->groups;
        e->at_once = c->ensemble.together ? e->in_turn : 1;
    } else {
        e->in_turn = e->members;
        take_largest(c, e->members);
    }
}

/* Bytes of the stages before the last as a chain for B tokens, on a rank of `size`. */
static hps_status chain_bytes(const hps_config *c, const hps_plan *plan, const hps_cost_case *size, int64_t *bytes)
{
    const hps_grid grid = {
        .world = MPI_COMM_NULL, .model = MPI_COMM_NULL, .groups = MPI_COMM_NULL, .R = size->R, .P = size->P};
    const int stages = plan->ensemble.members - 1;
    hps_model **model;
    hps_chain *chain = NULL;

    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    HPS_TRY(HPS_ALLOC(&model, stages, "stages"));
    const int64_t before = hps_memory_live();
    hps_memory_rehearse(true);
    hps_status status = HPS_OK;
    for (int j = 0; j < stages && status == HPS_OK; j++) {
        status = hps_model_create(&grid, of_stage(&c->ensemble.latents, size->n, j), size->d,
                                  of_stage(&c->ensemble.k, c->model.k, j), 1u << HPS_VALUE, &model[j]);
        if (status == HPS_OK && c->model.select == HPS_SELECT_BATCH_TOPK) {
            model[j]->select = HPS_SELECT_BATCH_TOPK;
            model[j]->threshold = 0;
        }
    }
    if (status == HPS_OK) {
        status = hps_chain_create(&grid, plan->kernels, stages, model, size->B / size->R, size->threads, &chain);
    }
    *bytes = hps_memory_live() - before;
    hps_chain_destroy(&chain);
    for (int j = 0; j < stages; j++) {
        hps_model_destroy(&model[j]);
    }
    hps_memory_rehearse(false);
    HPS_FREE(&model);
    return status;
}

hps_status hps_plan_ensemble_memory(const hps_config *config, const hps_plan *plan, const hps_cost_case *size,
                                    hps_memory_plan *memory)
{
    const hps_plan_ensemble *e = &plan->ensemble;
    int64_t chain;

    memory->state *= e->at_once;
    memory->buffers *= e->at_once;
    memory->device *= e->at_once;
    if (e->method != HPS_ENSEMBLE_BOOSTING || config->ensemble.residuals != HPS_RESIDUALS_LIVE || e->members < 2) {
        return HPS_OK;
    }
    HPS_TRY(chain_bytes(config, plan, size, &chain));
    memory->buffers += chain;
    return HPS_OK;
}

/* Seconds of a step of stage j; in *forward those of its forward pass over a batch. */
static double stage_seconds(const hps_plan_request *r, const hps_plan *plan, int j, double *forward)
{
    const hps_config *c = r->config;
    hps_cost_case size = plan->grid.size;
    double s[HPS_PHASES];

    size.n = of_stage(&c->ensemble.latents, size.n, j);
    size.k = c->ensemble.k.count > j ? size.k / c->model.k * c->ensemble.k.items[j] : size.k;
    const double step = hps_cost_predict(&plan->machine, &size, s);
    *forward = s[HPS_PHASE_ENCODE] + s[HPS_PHASE_SELECT] + s[HPS_PHASE_DECODE];
    return step;
}

static void add_stages(const hps_plan_request *r, hps_plan *plan)
{
    const bool live = r->config->ensemble.residuals == HPS_RESIDUALS_LIVE;
    const double batches = (double)plan->data.rows / (double)r->config->train.batch;
    hps_plan_ensemble *e = &plan->ensemble;
    double before = 0, forward; /* of the stages that rows go through */

    plan->total = 0;
    for (int j = 0; j < e->members; j++) {
        plan->total += stage_seconds(r, plan, j, &forward) * (double)plan->steps + plan->evaluations;
        e->residual_seconds += live ? before * (double)plan->steps : j > 0 ? batches * before : 0;
        before = live ? before + forward : forward;
    }
    plan->total += e->residual_seconds;
}

void hps_plan_ensemble_total(const hps_plan_request *r, hps_plan *plan)
{
    const hps_config *c = r->config;
    hps_plan_ensemble *e = &plan->ensemble;
    const int sets = e->members - 1;

    if (e->method == HPS_ENSEMBLE_BAGGING) {
        plan->total *= e->in_turn;
    } else if (e->method == HPS_ENSEMBLE_BOOSTING) {
        add_stages(r, plan);
    }
    if (e->method == HPS_ENSEMBLE_BOOSTING && c->ensemble.residuals == HPS_RESIDUALS_FILE) {
        e->residual_bytes = hps_residual_bytes(plan->data.rows, plan->data.d);
        e->residual_sets = c->ensemble.keep == HPS_KEEP_ALL || sets < 2 ? sets : 2;
    }
    plan->evaluations *= e->in_turn;
}
