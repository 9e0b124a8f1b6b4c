#include "code_stream.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/lists.h"

#include <string.h>

/* How rows enter: as the dictionary, or the first member, has it. */
static const hps_model *first_model(const hps_code_options *o)
{
    return o->ensemble != NULL ? o->ensemble->model[0] : o->model;
}

static hps_status check_threshold(const hps_code_options *o, const hps_model *m, const char *member)
{
    if (m->select == HPS_SELECT_BATCH_TOPK && m->threshold < 0) {
        return hps_fail(HPS_ECONFIG,
                        "%s%s%s has no threshold yet: it is averaged from step train.threshold.start_step on, and this "
                        "one has done %lld; train further, or lower that key",
                        o->path, member[0] != '\0' ? "/" : "", member, (long long)m->step);
    }
    return HPS_OK;
}

static hps_status check_model(const hps_code_options *o)
{
    HPS_TRY(hps_dataset_fits(o->dataset, o->path, first_model(o)->shard.d));
    HPS_TRY(hps_dataset_whitened(o->dataset, o->path, first_model(o)->whitening));
    if (o->ensemble == NULL) {
        return check_threshold(o, o->model, "");
    }
    for (int j = 0; j < o->ensemble->file.members; j++) {
        HPS_TRY(check_threshold(o, o->ensemble->model[j], o->ensemble->file.member[j].directory));
    }
    return HPS_OK;
}

static hps_status allocate_joined(hps_code_stream *s)
{
    int64_t capacity = 0;

    for (int j = 0; j < s->options.ensemble->file.members; j++) {
        capacity += s->pass->forward[j]->capacity;
    }
    if (capacity > INT32_MAX) {
        return hps_fail(HPS_ECONFIG,
                        "%s: a batch of %lld rows may have %lld values over all members, more than are counted; use a "
                        "smaller batch",
                        s->options.path, (long long)s->batch, (long long)capacity);
    }
    HPS_TRY(HPS_ALLOC(&s->joined.first, s->batch + 1, "codes of all members"));
    return HPS_ALLOC(&s->joined.slot, capacity, "codes of all members");
}

/* Collective. */
static hps_status open_forward(const hps_grid *grid, hps_code_stream *s)
{
    const hps_code_options *o = &s->options;
    hps_model *m = o->model;

    if (o->ensemble != NULL) {
        s->latents = o->ensemble->offset[o->ensemble->file.members];
        s->k = hps_ensemble_k(o->ensemble);
        s->slots = &s->joined;
        HPS_TRY(hps_ensemble_forward_create(o->ensemble, o->kernels, s->batch, o->threads, &s->pass));
        return hps_agree(grid->model, allocate_joined(s));
    }
    const hps_forward_options passes = {
        .B = s->batch, .k_max = m->k, .k = m->k, .rules = 1u << hps_pick_in_use(m).rule, .threads = o->threads};
    HPS_TRY(hps_forward_create(grid, o->kernels, m, &passes, &s->forward));
    s->latents = m->shard.n;
    s->k = m->k;
    s->slots = &s->forward->slots;
    return HPS_OK;
}

hps_status hps_code_stream_open(const hps_grid *grid, const hps_code_options *options, hps_code_stream *s)
{
    const hps_model *m = first_model(options);

    memset(s, 0, sizeof(*s));
    s->options = *options;
    HPS_TRY(check_model(options));
    s->batch = options->batch < options->rows ? options->batch : options->rows;
    const hps_feed_options feed = {
        .first = options->first, .rows = options->rows, .batch = s->batch, .norm = m->norm, .scale = m->scale};
    HPS_TRY(hps_feed_create(grid, options->dataset->store, &feed, &s->feed));
    return open_forward(grid, s);
}

void hps_code_stream_close(hps_code_stream *s)
{
    hps_forward_destroy(&s->forward);
    hps_ensemble_forward_destroy(&s->pass);
    HPS_FREE(&s->joined.first);
    HPS_FREE(&s->joined.slot);
    hps_feed_destroy(&s->feed);
}

/* Each token's slots of all members, numbered in the ensemble, in the order of their values. */
static void join(hps_code_stream *s, int64_t B)
{
    const hps_ensemble *e = s->options.ensemble;
    int32_t count = 0;

    for (int64_t t = 0; t < B; t++) {
        s->joined.first[t] = count;
        for (int j = 0; j < e->file.members; j++) {
            const hps_slots *slots = &s->pass->forward[j]->slots;
            for (int32_t i = slots->first[t]; i < slots->first[t + 1]; i++) {
                const hps_candidate slot = slots->slot[i];
                s->joined.slot[count++] = (hps_candidate){slot.value, (int32_t)(e->offset[j] + slot.latent)};
            }
        }
    }
    s->joined.first[B] = count;
    hps_lists_sort(B, s->joined.first, s->joined.slot);
}

/* Collective.  The codes of B rows that stand where they are to. */
static hps_status encode(hps_code_stream *s, int64_t B)
{
    if (s->pass == NULL) {
        const hps_pick pick = hps_pick_in_use(s->options.model);
        return hps_forward_select(s->forward, B, &pick);
    }
    HPS_TRY(hps_ensemble_forward_run(s->pass, B));
    join(s, B);
    return HPS_OK;
}

/* A threshold may let more through than there is room for: smaller batches then, down to one row. */
hps_status hps_code_stream_next(hps_code_stream *s, int64_t position, int64_t *count)
{
    float *x = s->pass != NULL ? s->pass->x : s->forward->y;

    for (;;) {
        *count = s->options.rows - position < s->batch ? s->options.rows - position : s->batch;
        HPS_TRY(hps_feed_batch(s->feed, position, *count, first_model(&s->options)->lde, x));
        const hps_status status = encode(s, *count);
        if (status != HPS_EARG || *count == 1) {
            return status;
        }
        s->batch = *count / 2;
    }
}
