#include "hpsae/model/rehearse.h"

#include "training.h"

#include "hpsae/base/memory.h"
#include "hpsae/model/initialise.h"
#include "hpsae/model/model.h"

#include <math.h>

/* The rank of most parameters: columns and latents do not divide evenly. */
static hps_status largest_shard(const hps_config *c, int64_t d, int P, int *largest)
{
    int64_t most = 0;

    for (int p = 0; p < P; p++) {
        hps_shard shard;
        HPS_TRY(hps_shard_create(c->model.latents, d, P, p, &shard));
        const int64_t bytes = hps_model_bytes(&shard, hps_training_roles(c));
        if (bytes > most) {
            most = bytes;
            *largest = p;
        }
    }
    return HPS_OK;
}

/* In train's order, so that the peak is that of train's start. */
static hps_status create_all(hps_training *t)
{
    const hps_config *c = t->config;
    const int64_t d = t->dataset.info->d,
                  rows = c->train.sample < t->dataset.train ? c->train.sample : t->dataset.train;
    hps_sample sample;

    HPS_TRY(hps_model_create(&t->grid, c->model.latents, d, c->model.k, hps_training_roles(c), &t->model));
    HPS_TRY(hps_training_feeds(t));
    HPS_TRY(hps_sample_take(&t->grid, t->feed, rows, d, true, &sample));
    t->options = hps_training_options(c, 1);
    const hps_status status = hps_trainer_create(&t->grid, t->kernels, t->model, &t->options, &t->trainer);
    hps_sample_destroy(&sample);
    return status;
}

static hps_status rehearse(hps_training *t, hps_memory_plan *plan)
{
    const int64_t before = hps_memory_live(), both_before = hps_memory_of_both();

    HPS_TRY(largest_shard(t->config, t->dataset.info->d, t->grid.P, &t->grid.p));
    HPS_TRY(create_all(t));
    plan->state = hps_model_bytes(&t->model->shard, hps_training_roles(t->config));
    plan->buffers = hps_memory_live() - before - plan->state;
    plan->starting = hps_memory_peak() - hps_memory_live();
    /* What both sides touch stays with the host. */
    const int64_t with_host = hps_memory_of_both() - both_before;
    plan->device = t->kernels->batch != NULL ? plan->state + plan->buffers + plan->starting - with_host : 0;
    return HPS_OK;
}

/* The store that the configuration speaks of, as far as a run's memory depends on it. */
static hps_status imagine(const hps_store_info *info, bool gradients, hps_training *t)
{
    const double holdout = t->config->data.holdout;

    t->dataset.info = info;
    t->dataset.holdout = (int64_t)(holdout < 1 ? ceil(holdout * (double)info->rows) : holdout);
    t->dataset.train = info->rows - t->dataset.holdout;
    HPS_TRY(hps_store_imagine(info, &t->dataset.store));
    hps_store_info other = *info;
    other.rms_norm = 1;
    return gradients ? hps_store_imagine(&other, &t->dataset.gradients) : HPS_OK;
}

int64_t hps_rank_libraries(int64_t resident, const hps_cost_case *size)
{
    const int64_t mailbox = 7 << 19, collective = 36 << 20, ranks = (int64_t)size->R * size->P;

    return resident + ranks / size->nodes * mailbox + (size->P > 2 ? collective : 0);
}

hps_status hps_rank_memory(const hps_rank_question *q, const hps_cost_case *size, hps_memory_plan *plan)
{
    hps_config config = *q->config;

    config.model.latents = size->n;
    config.train.batch = size->B;
    config.train.aux.k = config.train.aux.k < size->n ? config.train.aux.k : size->n;
    return hps_train_rehearse(&config, q->kernels, q->data, q->gradients, size->R, size->P, size->threads, plan);
}

int64_t hps_rank_bytes(void *question, const hps_cost_case *size)
{
    const hps_rank_question *q = question;
    hps_memory_plan plan;

    if (hps_rank_memory(q, size, &plan) != HPS_OK) {
        return -1;
    }
    return plan.device > 0 ? plan.device
                           : plan.state + plan.buffers + plan.starting + hps_rank_libraries(q->resident, size);
}

hps_status hps_train_rehearse(const hps_config *config, const hps_kernels *kernels, const hps_store_info *info,
                              bool gradients, int R, int P, int threads, hps_memory_plan *plan)
{
    hps_config with = *config;                                 /* strings and lists stay those of config */
    const hps_memory_source *until_now = hps_memory_use(NULL); /* nothing is taken of a device */
    hps_training t = {
        .world = MPI_COMM_NULL,
        .config = &with,
        .kernels = kernels->bind != NULL ? hps_kernels_planned() : kernels,
        .grid = {.world = MPI_COMM_NULL, .model = MPI_COMM_NULL, .groups = MPI_COMM_NULL, .R = R, .P = P}};

    with.train.groups = R;
    with.grid.threads = threads;
    hps_memory_rehearse(true);
    hps_status status = imagine(info, gradients, &t);
    if (status == HPS_OK) {
        status = rehearse(&t, plan);
    }
    hps_training_release(&t);
    hps_memory_rehearse(false);
    hps_memory_use(until_now);
    return status;
}
