#include "planted.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"

#include <stdbool.h>

hps_status hps_planted_scratch_create(const hps_planted *planted, hps_planted_scratch *scratch)
{
    *scratch = (hps_planted_scratch){0};
    HPS_TRY(HPS_ALLOC(&scratch->drawn, planted->n, "features of a row"));
    HPS_TRY(HPS_ALLOC(&scratch->active, planted->n, "features of a row"));
    return HPS_ALLOC(&scratch->x, planted->d, "a row");
}

void hps_planted_scratch_free(hps_planted_scratch *scratch)
{
    HPS_FREE(&scratch->drawn);
    HPS_FREE(&scratch->active);
    HPS_FREE(&scratch->x);
}

/* One row being drawn: its own stream of random numbers, one after the other. */
typedef struct {
    const hps_planted *planted;
    hps_planted_scratch *scratch;
    int64_t row, count;
    uint64_t draws;
} drawing;

static double next_uniform(drawing *job)
{
    return hps_random_uniform(job->planted->seed, HPS_DRAW_SYNTH_TOKEN, (uint64_t)job->row, job->draws++);
}

static bool is_active(const drawing *job, int64_t feature)
{
    return job->scratch->drawn[feature] == job->row + 1;
}

static void activate(drawing *job, int64_t feature)
{
    job->scratch->drawn[feature] = job->row + 1;
    job->scratch->active[job->count++] = (int32_t)feature;
}

/* A feature that is active of itself may take its rarer partner along. */
static void activate_pair(drawing *job, int64_t feature)
{
    const int64_t partner = job->planted->partner[feature];

    activate(job, feature);
    if (partner > feature && next_uniform(job) < job->planted->with[partner]) {
        activate(job, partner);
    }
}

/*
 * Features of one band are met with its largest probability, the gaps between them being geometric, and kept with the
 * ratio of their own to it: as many draws as there are active features, about, not as many as features.
 */
static void draw_band(drawing *job, int band)
{
    const hps_planted *p = job->planted;
    const int64_t end = ((int64_t)2 << band) - 1 < p->n ? ((int64_t)2 << band) - 1 : p->n;
    const double most = p->bound[band], rate = most > 0 ? hps_ln(1 - most) : 0;

    if (most <= 0 || rate >= 0) {
        return;
    }
    for (int64_t i = ((int64_t)1 << band) - 1;; i++) {
        const double gap = hps_ln(next_uniform(job)) / rate;
        if (gap >= (double)(end - i)) {
            return;
        }
        i += (int64_t)gap;
        const bool decided = p->partner[i] >= 0 && p->partner[i] < i && is_active(job, p->partner[i]);
        if (next_uniform(job) * most < p->alone[i] && !decided) {
            activate_pair(job, i);
        }
    }
}

static void draw_children(drawing *job)
{
    const hps_planted *p = job->planted;
    const int64_t parents = job->count;

    for (int64_t a = 0; a < parents; a++) {
        const int64_t parent = job->scratch->active[a];
        for (int64_t c = p->first_child[parent]; c < p->first_child[parent + 1]; c++) {
            if (next_uniform(job) < p->with[p->children[c]]) {
                activate(job, p->children[c]);
            }
        }
    }
}

int64_t hps_planted_row(const hps_planted *p, int64_t row, hps_planted_scratch *scratch, float *x)
{
    drawing job = {.planted = p, .scratch = scratch, .row = row};

    for (int band = 0; band < HPS_PLANTED_BANDS && ((int64_t)1 << band) - 1 < p->n; band++) {
        draw_band(&job, band);
    }
    draw_children(&job);
    for (int64_t c = 0; c < p->d; c++) {
        scratch->x[c] = p->offset[c];
    }
    for (int64_t a = 0; a < job.count; a++) {
        const double magnitude = 0.5 - 0.5 * hps_ln(next_uniform(&job));
        const float *direction = p->dictionary + scratch->active[a] * p->d;
        for (int64_t c = 0; c < p->d; c++) {
            scratch->x[c] += magnitude * (double)direction[c];
        }
    }
    for (int64_t c = 0; c < p->d; c++) {
        const double noise =
            p->noise > 0 ? p->noise * hps_random_normal(p->seed, HPS_DRAW_SYNTH_NOISE, (uint64_t)row, (uint64_t)c) : 0;
        x[c] = (float)(scratch->x[c] + noise);
    }
    return job.count;
}
