#include "code_stream.h"

#include <string.h>

static hps_status check_model(const hps_code_options *o)
{
    const hps_model *m = o->model;

    HPS_TRY(hps_dataset_fits(o->dataset, o->path, m->shard.d));
    if (m->select == HPS_SELECT_BATCH_TOPK && m->threshold < 0) {
        return hps_fail(HPS_ECONFIG,
                        "%s has no threshold yet: it is averaged from step train.threshold.start_step on, and this "
                        "one has done %lld; train further, or lower that key",
                        o->path, (long long)m->step);
    }
    return HPS_OK;
}

hps_status hps_code_stream_open(const hps_grid *grid, const hps_code_options *options, hps_code_stream *s)
{
    const hps_model *m = options->model;

    memset(s, 0, sizeof(*s));
    s->options = *options;
    HPS_TRY(check_model(options));
    s->batch = options->batch < options->rows ? options->batch : options->rows;
    const hps_feed_options feed = {
        .first = options->first, .rows = options->rows, .batch = s->batch, .norm = m->norm, .scale = m->scale};
    HPS_TRY(hps_feed_create(grid, options->dataset->store, &feed, &s->feed));
    const hps_forward_options passes = {
        .B = s->batch, .k_max = m->k, .k = m->k, .rules = 1u << hps_pick_in_use(m).rule, .threads = options->threads};
    return hps_forward_create(grid, options->kernels, options->model, &passes, &s->forward);
}

void hps_code_stream_close(hps_code_stream *s)
{
    hps_forward_destroy(&s->forward);
    hps_feed_destroy(&s->feed);
}

/* A threshold may let more through than there is room for: smaller batches then, down to one row. */
hps_status hps_code_stream_next(hps_code_stream *s, int64_t position, int64_t *count)
{
    const hps_pick pick = hps_pick_in_use(s->options.model);

    for (;;) {
        *count = s->options.rows - position < s->batch ? s->options.rows - position : s->batch;
        HPS_TRY(hps_feed_batch(s->feed, position, *count, s->options.model->lde, s->forward->y));
        const hps_status status = hps_forward_select(s->forward, *count, &pick);
        if (status != HPS_EARG || *count == 1) {
            return status;
        }
        s->batch = *count / 2;
    }
}
