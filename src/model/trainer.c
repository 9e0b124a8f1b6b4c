#include "trainer.h"

#include "group_update.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/slots.h"

double hps_learning_rate(const hps_step_options *o, int64_t t)
{
    double lr = o->lr;
    const double left = (double)(o->steps - t), tail = o->decay * (double)o->steps;

    if (t < o->warmup_steps) {
        lr *= (double)(t + 1) / (double)o->warmup_steps;
    }
    if (left < tail) {
        lr *= left / tail;
    }
    return lr;
}

int64_t hps_k_at(const hps_step_options *o, int64_t k, int64_t t)
{
    if (t >= o->k_steps) {
        return k;
    }
    return (int64_t)floor((double)o->k_start + (double)(k - o->k_start) * (double)t / (double)o->k_steps + 0.5);
}

/* What a nested objective works in: so many columns at a time that it takes about two residuals' room. */
static hps_status allocate_nested(hps_trainer *t, int64_t slots)
{
    enum { FEW_LEVELS = 8 };
    const hps_model *m = t->model;
    const int64_t B = t->B, levels = t->nest.most, vectors = levels < slots / B ? levels * B : slots;
    const int64_t rows = levels <= FEW_LEVELS ? vectors : m->shard.n;
    const int64_t width = 2 * m->shard.w * B / rows / HPS_BLOCK * HPS_BLOCK, least = 2 * HPS_BLOCK;

    t->chunk = width > least ? width : least;
    t->chunk = t->chunk < m->ldd ? t->chunk : (m->ldd + HPS_BLOCK - 1) / HPS_BLOCK * HPS_BLOCK;
    HPS_TRY(HPS_ALLOC(&t->S, B * m->ldd, "suffix vectors"));
    HPS_TRY(HPS_ALLOC_BOTH(&t->S_y, m->ldd, "column sums"));
    return HPS_ALLOC(levels <= FEW_LEVELS ? &t->suffix : &t->S_sums, rows * t->chunk, "suffix vectors");
}

static hps_status allocate(hps_trainer *t, int64_t k)
{
    const hps_model *m = t->model;
    const int64_t n = m->shard.n, d = m->shard.d, B = t->B;
    const int64_t slots = (t->options.rule == HPS_PICK_BATCH ? t->options.B : B) * k;

    HPS_TRY(hps_bucket_create(n, slots, t->options.threads, &t->bucket));
    HPS_TRY(hps_nest_create(&t->options.nest, B, slots, &t->nest));
    if (t->nest.most > 1) {
        HPS_TRY(allocate_nested(t, slots));
    }
    if (t->grid->R > 1) {
        HPS_TRY(hps_group_update_create(t->grid, &m->shard, m->lde, m->ldd, &t->sums));
        HPS_TRY(HPS_ALLOC(&t->fired, (n + 63) / 64, "latents that fired"));
    }
    HPS_TRY(HPS_ALLOC_BOTH(&t->S_sum, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC_BOTH(&t->bound, B, "residual bounds"));
    HPS_TRY(HPS_ALLOC_BOTH(&t->sum, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC_BOTH(&t->square, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC(&t->variance, m->ldd, "column sums"));
    HPS_TRY(HPS_ALLOC(&t->parallel, n, "latent sums"));
    HPS_TRY(HPS_ALLOC(&t->bias_gradient, n, "latent sums"));
    for (int i = 0; i < 2 && t->kernels->batch != NULL; i++) {
        HPS_TRY(HPS_ALLOC_BOTH(&t->dz_sum[i], B, "slot gradients"));
    }
    HPS_TRY(HPS_ALLOC_BOTH(&t->fixed, n + d + 1, "row norms"));
    return HPS_ALLOC_BOTH(&t->b_gradient, d, "gradient of b");
}

/* The most slots a token that a selection is asked for. */
static int64_t slots_a_token(const hps_model *model, const hps_step_options *o)
{
    const int64_t k = o->k_start > model->k && o->k_steps > 0 ? o->k_start : model->k;

    return o->nest.objective == HPS_OBJECTIVE_MULTI_TOPK && o->nest.weight > 0 ? o->nest.factor * k : k;
}

hps_status hps_trainer_create(const hps_grid *grid, const hps_kernels *kernels, hps_model *model,
                              const hps_step_options *options, hps_trainer **trainer)
{
    const int64_t k = slots_a_token(model, options);
    const hps_forward_options forward = {.B = options->B / grid->R,
                                         .k_max = options->aux_k > k ? options->aux_k : k,
                                         .k = k,
                                         .rules = 1u << options->rule | 1u << HPS_PICK_TOPK |
                                                  (options->rule == HPS_PICK_BATCH ? 1u << HPS_PICK_THRESHOLD : 0),
                                         .shared = options->rule == HPS_PICK_BATCH && grid->R > 1,
                                         .threads = options->threads};
    hps_status status = hps_agree(grid->model, HPS_ALLOC(trainer, 1, "trainer"));

    if (status != HPS_OK) {
        HPS_FREE(trainer);
        return status;
    }
    hps_trainer *t = *trainer;
    t->grid = grid;
    t->kernels = kernels;
    t->model = model;
    t->options = *options;
    t->B = options->B / grid->R;
    status = hps_forward_create(grid, kernels, model, &forward, &t->forward);
    if (status == HPS_OK) {
        status = hps_agree(grid->model, allocate(t, k));
    }
    if (status == HPS_OK && options->aux_k > 0) {
        status = hps_aux_create(t->forward, options->aux_k, &t->aux);
    }
    if (status != HPS_OK) {
        hps_trainer_destroy(trainer);
    }
    return status;
}

void hps_trainer_destroy(hps_trainer **trainer)
{
    hps_trainer *t = *trainer;

    if (t == NULL) {
        return;
    }
    hps_group_sums_destroy(&t->sums);
    HPS_FREE(&t->fired);
    hps_forward_destroy(&t->forward);
    hps_bucket_destroy(&t->bucket);
    hps_aux_destroy(&t->aux);
    hps_nest_destroy(&t->nest);
    HPS_FREE(&t->S);
    HPS_FREE(&t->suffix);
    HPS_FREE(&t->S_sums);
    HPS_FREE(&t->S_sum);
    HPS_FREE(&t->S_y);
    HPS_FREE(&t->bound);
    HPS_FREE(&t->dz_sum[0]);
    HPS_FREE(&t->dz_sum[1]);
    HPS_FREE(&t->sum);
    HPS_FREE(&t->square);
    HPS_FREE(&t->variance);
    HPS_FREE(&t->parallel);
    HPS_FREE(&t->bias_gradient);
    HPS_FREE(&t->fixed);
    HPS_FREE(&t->b_gradient);
    HPS_FREE(trainer);
}

hps_forward *hps_trainer_forward(hps_trainer *trainer)
{
    return trainer->forward;
}
