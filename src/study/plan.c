#include "hpsae/study/plan.h"

#include "plan_ensemble.h"

#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"

#include <math.h>
#include <string.h>

enum { METRICS_LINE = 1400 };  /* bytes of a line of metrics.jsonl, with figures of an evaluation */
enum { NODES_MOST = 1 << 20 }; /* where the search for more nodes ends */

static hps_status check_request(const hps_plan_request *r)
{
    const hps_config *c = r->config;
    const int64_t ranks = (int64_t)r->nodes * r->ranks_per_node;

    if (r->nodes < 1 || r->ranks_per_node < 1 || ranks > 1 << 24) {
        return hps_fail(HPS_EARG, "--nodes %d --ranks-per-node %d: both from 1, together at most %d ranks", r->nodes,
                        r->ranks_per_node, 1 << 24);
    }
    if (c->train.groups == HPS_AUTO_INT) {
        return HPS_OK;
    }
    if (ranks % c->train.groups != 0) {
        return hps_config_fail(c, "train.groups", "%lld does not divide the %lld ranks; choose a divisor",
                               (long long)c->train.groups, (long long)ranks);
    }
    if (ranks / c->train.groups > c->model.latents) {
        return hps_config_fail(c, "model.latents", "%lld for %lld ranks a group; use at most as many ranks as latents",
                               (long long)c->model.latents, (long long)(ranks / c->train.groups));
    }
    return HPS_OK;
}

/* What the activations are: as the store says, or as the options do. */
static hps_status describe_data(const hps_plan_request *r, hps_plan *plan)
{
    hps_config *c = r->config;
    const bool by_gradient = c->model.select == HPS_SELECT_GRADIENT;
    hps_store *store;

    if (r->d > 0) {
        const int64_t needed = c->train.tokens + (c->data.holdout < 1 ? 0 : (int64_t)c->data.holdout);
        plan->data = (hps_store_info){.d = r->d, .rows = r->rows > 0 ? r->rows : needed, .dtype = r->dtype};
        plan->gradients = by_gradient;
        return hps_config_resolve(c, r->d, "");
    }
    hps_status status = hps_store_open(MPI_COMM_NULL, c->data.store.count, c->data.store.items, c->data.hook, &store);
    if (status != HPS_OK) {
        return hps_fail(status, "%s (where the store is not at hand: --dim D [--rows N] [--dtype WORD])",
                        hps_status_message());
    }
    plan->data = *hps_store_about(store);
    plan->gradients = by_gradient && hps_store_has_gradients(store);
    status = hps_config_resolve(c, plan->data.d, plan->data.hook);
    hps_store_close(&store);
    plan->data.hook = plan->data.model_name = NULL;
    plan->data.mean = NULL;
    return status;
}

static hps_status find_machine(const hps_plan_request *r, hps_plan *plan)
{
    hps_calibration *m = &plan->machine;

    if (r->bench != NULL) {
        HPS_TRY(hps_calibration_read(r->bench, m));
        plan->bench = r->bench;
    } else {
        HPS_TRY(hps_calibration_for(r->config, false, m));
        plan->bench = m->assumed ? NULL : r->config->train.calibration;
    }
    if (r->network.bytes > 0) {
        m->network = r->network;
        m->network_assumed = false;
    }
    return HPS_OK;
}

/* The kernels that the run will use, as far as they are known and run here: their buffers differ. */
static hps_status find_kernels(const hps_plan_request *r, hps_plan *plan)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    const int count = hps_kernels_all(all);
    const hps_backend backend = r->config->kernels.backend;
    const bool measured = backend == HPS_BACKEND_AUTO && !plan->machine.assumed;

    if (backend == HPS_BACKEND_CUDA) { /* which needs no GPU here */
        plan->kernels = hps_kernels_planned();
        return HPS_OK;
    }
    for (int i = 0; measured && i < count; i++) {
        if (strcmp(all[i]->name, plan->machine.backend) == 0) {
            plan->kernels = all[i];
            return HPS_OK;
        }
    }
    if (hps_kernels_choose(backend, &plan->kernels) != HPS_OK) {
        snprintf(plan->wanted, sizeof(plan->wanted), "kernels.backend");
        return hps_kernels_choose(HPS_BACKEND_AUTO, &plan->kernels);
    }
    snprintf(plan->wanted, sizeof(plan->wanted), "%s", measured ? plan->machine.backend : "");
    return HPS_OK;
}

static hps_cost_case case_of(const hps_plan_request *r, const hps_plan *plan)
{
    hps_cost_case size = hps_cost_case_of(r->config, plan->data.d, (int)hps_dtype_size(plan->data.dtype), r->dead);

    const int side = plan->ensemble.groups;

    size.R = (int)r->config->train.groups;
    size.P = (int)(r->nodes * (int64_t)r->ranks_per_node / r->config->train.groups / side);
    size.threads = plan->grid.size.threads;
    size.nodes = r->nodes > side ? r->nodes / side : 1;
    return size;
}

/* Of what a rank's memory is asked while sizes vary, with all members that it holds. */
typedef struct {
    hps_rank_question rank;
    const hps_plan *plan;
} question;

static hps_status rank_memory(const question *q, const hps_cost_case *size, hps_memory_plan *memory)
{
    HPS_TRY(hps_rank_memory(&q->rank, size, memory));
    return hps_plan_ensemble_memory(q->rank.config, q->plan, size, memory);
}

/* Groups side by side share a node, and its libraries know of all its ranks. */
static int64_t libraries_of(const question *q, const hps_cost_case *size)
{
    hps_cost_case job = *size;

    if (q->plan->ensemble.groups > 1) {
        const int together = q->plan->grid.ranks_per_node * size->nodes / size->P;
        job.R = together > size->R ? together : size->R;
    }
    return hps_rank_libraries(q->rank.resident, &job);
}

static int64_t rank_bytes(void *context, const hps_cost_case *size)
{
    const question *q = context;
    hps_memory_plan memory;

    return rank_memory(q, size, &memory) == HPS_OK
               ? memory.state + memory.buffers + memory.starting + libraries_of(q, size)
               : -1;
}

/* Forward passes over the held-out rows: input, encode, select, decode. */
static double evaluation_seconds(const hps_plan_request *r, const hps_plan *plan)
{
    const hps_config *c = r->config;
    const double holdout = c->data.holdout < 1 ? ceil(c->data.holdout * (double)plan->data.rows) : c->data.holdout;
    const double *s = plan->seconds;
    const double pass = s[HPS_PHASE_IO] + s[HPS_PHASE_ENCODE] + s[HPS_PHASE_SELECT] + s[HPS_PHASE_DECODE];
    const double times = c->train.eval_steps > 0 ? ceil((double)plan->steps / (double)c->train.eval_steps)
                         : holdout > 0           ? 1
                                                 : 0;

    return times * holdout / (double)c->train.batch * pass;
}

static void predict(const hps_plan_request *r, hps_plan *plan)
{
    const hps_config *c = r->config;
    const double words = (double)plan->data.d * (double)hps_dtype_size(plan->data.dtype) * (plan->gradients ? 2 : 1);

    plan->steps = (c->train.tokens + c->train.batch - 1) / c->train.batch;
    plan->step = hps_cost_predict(&plan->machine, &plan->grid.size, plan->seconds);
    plan->grid.seconds = plan->step;
    plan->communication = hps_cost_communication(&plan->machine, &plan->grid.size) * (double)plan->steps;
    plan->evaluations = evaluation_seconds(r, plan);
    plan->total = plan->step * (double)plan->steps + plan->evaluations;
    plan->input = (double)c->train.batch * words / plan->step;
}

static void predict_disk(const hps_plan_request *r, hps_plan *plan)
{
    const hps_config *c = r->config;
    const unsigned roles =
        1u << HPS_VALUE | 1u << HPS_MOMENT1 | 1u << HPS_MOMENT2 | (c->train.ema > 0 ? 1u << HPS_AVERAGE : 0);

    plan->checkpoint = hps_checkpoint_bytes(c->model.latents, plan->data.d, roles, true);
    plan->keep = c->train.checkpoint.keep;
    plan->metrics = (plan->steps / c->train.log_steps + 1) * METRICS_LINE;
}

static bool node_holds(const hps_plan *plan, question *q, const hps_cost_case *size)
{
    const int64_t bytes = rank_bytes(q, size);

    return bytes >= 0 && (double)bytes * plan->grid.ranks_per_node <= plan->node_limit;
}

/* The smallest number of nodes, as filled now, that hold it: doubled, then halved. */
static int64_t enough_nodes(const hps_plan *plan, question *q)
{
    hps_cost_case size = plan->grid.size;
    const int64_t per_node = plan->grid.ranks_per_node,
                  most = size.n / per_node < NODES_MOST ? size.n / per_node : NODES_MOST;
    int64_t low = size.nodes, high = 2 * low;

    for (;; low = high, high *= 2) {
        if (high > most) {
            return 0;
        }
        size.P = (int)(high * per_node / size.R);
        if (node_holds(plan, q, &size)) {
            break;
        }
    }
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        size.P = (int)(middle * per_node / size.R);
        *(middle * per_node % size.R == 0 && node_holds(plan, q, &size) ? &high : &low) = middle;
    }
    return high;
}

/* The largest value of one size, a multiple of `unit` and below what it is, that fits; 0: none. */
static int64_t largest(const hps_plan *plan, question *q, hps_cost_case *size, int64_t *value, int64_t unit,
                       int64_t from)
{
    int64_t low = from / unit, high = *value / unit;

    *value = low * unit;
    if (low < 1 || !node_holds(plan, q, size)) {
        return 0;
    }
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        *value = middle * unit;
        *(node_holds(plan, q, size) ? &low : &high) = middle;
    }
    return low * unit;
}

/* What alone would make it fit. */
static void find_remedies(hps_plan *plan, question *q)
{
    hps_cost_case size = plan->grid.size;
    const int64_t ranks = (int64_t)size.R * size.P,
                  k = size.k > q->rank.config->train.k_start ? size.k : q->rank.config->train.k_start;
    const int64_t unit = size.R > 64 ? size.R : 64 / size.R * size.R;

    plan->nodes_needed = enough_nodes(plan, q);
    plan->batch_possible = largest(plan, q, &size, &size.B, unit, unit);
    size = plan->grid.size;
    const int64_t least = (ranks > k ? ranks : k) + HPS_BLOCK;
    plan->latents_possible = largest(plan, q, &size, &size.n, HPS_BLOCK, least);
}

/* train.groups: auto becomes the number that train would choose on this layout. */
static hps_status choose_groups(const hps_plan_request *r, hps_plan *plan, question *q)
{
    const hps_cost_case size =
        hps_cost_case_of(r->config, plan->data.d, (int)hps_dtype_size(plan->data.dtype), r->dead);
    const hps_grid_space space = {.nodes = r->nodes,
                                  .cores = r->ranks_per_node * plan->grid.size.threads,
                                  .ranks_per_node = r->ranks_per_node,
                                  .node_bytes = r->node_bytes,
                                  .rank_bytes = rank_bytes,
                                  .context = q};

    plan->groups_auto = r->config->train.groups == HPS_AUTO_INT;
    if (plan->groups_auto) {
        HPS_TRY(hps_groups_choose(&plan->machine, &size, &space, &plan->groups));
        r->config->train.groups = plan->groups.point[plan->groups.chosen].size.R;
    }
    return HPS_OK;
}

/* Ranks of more threads than were measured are left out: a rank that spans NUMA domains is slower than threads count. */
static void choose_grids(const hps_plan_request *r, hps_plan *plan, question *q)
{
    const int asked = plan->grid.size.threads, measured = plan->machine.threads;
    hps_grid_space space = {.nodes = r->nodes,
                            .cores = r->ranks_per_node * plan->grid.size.threads,
                            .most_threads = asked > measured ? asked : measured,
                            .groups = (int)r->config->train.groups,
                            .node_bytes = plan->node_limit,
                            .rank_bytes = rank_bytes,
                            .context = q};

    plan->has_best = hps_grid_choose(&plan->machine, &plan->grid.size, &space, &plan->best, plan->reason);
    space.groups = 0;
    plan->has_best_groups =
        hps_grid_choose(&plan->machine, &plan->grid.size, &space, &plan->best_groups, plan->reason_groups);
}

static hps_status fill(const hps_plan_request *r, hps_plan *plan)
{
    const hps_config *c = r->config;

    HPS_TRY(describe_data(r, plan));
    HPS_TRY(find_machine(r, plan));
    HPS_TRY(find_kernels(r, plan));
    const int configured = c->grid.threads == HPS_AUTO_INT ? plan->machine.threads : (int)c->grid.threads;
    plan->grid.size.threads = r->threads > 0 ? r->threads : configured;
    plan->grid.ranks_per_node = r->ranks_per_node;
    plan->node_limit = r->node_bytes;

    question q = {{c, plan->kernels, &plan->data, plan->gradients, plan->machine.libraries}, plan};
    hps_plan_ensemble_begin(r, plan);
    HPS_TRY(choose_groups(r, plan, &q));
    plan->grid.size = case_of(r, plan);
    HPS_TRY(rank_memory(&q, &plan->grid.size, &plan->rank));
    plan->libraries = libraries_of(&q, &plan->grid.size);
    plan->rank_bytes = plan->rank.state + plan->rank.buffers + plan->rank.starting + plan->libraries;
    plan->fits = plan->node_limit <= 0 || (double)plan->rank_bytes * r->ranks_per_node <= plan->node_limit;
    predict(r, plan);
    predict_disk(r, plan);
    hps_plan_ensemble_total(r, plan);
    if (plan->ensemble.groups == 1) { /* a search for grids has one dictionary on all ranks in mind */
        choose_grids(r, plan, &q);
    }
    if (!plan->fits && plan->ensemble.groups == 1) {
        find_remedies(plan, &q);
    }
    return HPS_OK;
}

hps_status hps_plan_make(const hps_plan_request *request, hps_plan *plan)
{
    memset(plan, 0, sizeof(*plan));
    HPS_TRY(check_request(request));
    const hps_status status = fill(request, plan);
    if (status != HPS_OK) {
        hps_plan_release(plan);
    }
    return status;
}

void hps_plan_release(hps_plan *plan)
{
    hps_calibration_release(&plan->machine);
}
