#include "sweep_cost.h"

#include <math.h>
#include <stdio.h>

static uint64_t fnv1a(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* What decides which rows are in a batch and how they are scaled, and that hps_train takes them once for several. */
static uint64_t batches_of(const hps_config *c)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char text[256];

    for (int64_t i = 0; i < c->data.store.count; i++) {
        hash = fnv1a(fnv1a(hash, c->data.store.items[i]), "\n");
    }
    snprintf(text, sizeof(text), " %.17g %d %d %lld %lld %lld %lld %lld", c->data.holdout, (int)c->data.scale,
             c->model.select == HPS_SELECT_GRADIENT, (long long)c->train.seed, (long long)c->train.batch,
             (long long)c->train.groups, (long long)c->train.tokens, (long long)c->train.sample);
    return fnv1a(fnv1a(hash, c->data.hook), text);
}

hps_sweep_size hps_sweep_size_of(const hps_config *c, const hps_store_info *info)
{
    const double n = (double)c->model.latents, rows = (double)info->rows;
    const double holdout = c->data.holdout < 1 ? ceil(c->data.holdout * rows) : c->data.holdout;
    const int64_t whole = (c->train.tokens + c->train.batch - 1) / c->train.batch;
    const double steps = (double)whole;
    const double during = c->train.eval_steps > 0 ? ceil(steps / (double)c->train.eval_steps) : 1;
    const double after = c->eval.rows == HPS_ROWS_ALL     ? rows
                         : c->eval.rows == HPS_ROWS_TRAIN ? rows - holdout
                                                          : holdout;

    hps_cost_case size = hps_cost_case_of(c, info->d, (int)hps_dtype_size(info->dtype), HPS_DEAD_ASSUMED);
    size.threads = (int)c->grid.threads;
    return (hps_sweep_size){.size = size,
                            .R = (int)c->train.groups,
                            .steps = steps,
                            .passes = (during * holdout + after) / (double)c->train.batch,
                            .batches = batches_of(c),
                            .max_cos = c->eval.max_cos ? 2 * n * n * (double)info->d : 0};
}

static double seconds_on(const hps_calibration *machine, const hps_sweep_size *size, int ranks, int per_node)
{
    hps_cost_case with = size->size;
    double phase[HPS_PHASES];

    with.R = size->R;
    with.P = ranks / size->R;
    with.nodes = (ranks + per_node - 1) / per_node;
    const double step = hps_cost_predict(machine, &with, phase);
    const double forward =
        phase[HPS_PHASE_IO] + phase[HPS_PHASE_ENCODE] + phase[HPS_PHASE_SELECT] + phase[HPS_PHASE_DECODE];
    const double flops = machine->limits.float32_flops * with.threads * ranks;
    return size->steps * step + size->passes * forward + (flops > 0 ? size->max_cos / flops : 0);
}

hps_sweep_cost hps_sweep_cost_on(const hps_calibration *machine, const hps_sweep_size *size, int64_t count,
                                 const int64_t *number, int ranks, int per_node, bool all)
{
    const int R = size[number[0]].R;
    hps_sweep_cost best = {.ranks = 0};
    int64_t most = ranks;

    for (int64_t i = 0; i < count; i++) {
        const int64_t these = size[number[i]].size.n * R;
        most = these < most ? these : most;
    }
    for (int m = (int)most / R * R; m > 0; m = m / 2 / R * R) {
        double seconds = 0;
        for (int64_t i = 0; i < count; i++) {
            seconds += seconds_on(machine, &size[number[i]], m, per_node);
        }
        if (best.ranks == 0 || (!all && seconds < best.seconds)) {
            best = (hps_sweep_cost){seconds, m};
        }
    }
    return best;
}
