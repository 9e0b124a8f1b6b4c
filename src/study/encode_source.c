#include "encode_source.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/lists.h"
#include "hpsae/model/checkpoint.h"

#include <string.h>

static hps_status check_threshold(const hps_model *m, const char *path, const char *member)
{
    if (m->select == HPS_SELECT_BATCH_TOPK && m->threshold < 0) {
        return hps_fail(HPS_ECONFIG,
                        "%s%s%s has no threshold yet: it is averaged from step train.threshold.start_step on, and this "
                        "one has done %lld; train further, or lower that key",
                        path, member[0] != '\0' ? "/" : "", member, (long long)m->step);
    }
    return HPS_OK;
}

/* In the units of the values; none unless all members have one. */
static hps_status take_thresholds(hps_encode_source *s)
{
    const hps_ensemble *e = s->ensemble;
    const double units = hps_ensemble_coefficient(e) / e->model[0]->scale;

    HPS_TRY(HPS_ALLOC(&s->threshold, e->file.members, "thresholds"));
    for (int j = 0; j < e->file.members; j++) {
        HPS_TRY(check_threshold(e->model[j], s->path, e->file.member[j].directory));
        s->threshold[j] = e->model[j]->threshold * units;
    }
    for (int j = 0; j < e->file.members && s->threshold != NULL; j++) {
        if (e->model[j]->select != HPS_SELECT_BATCH_TOPK) {
            HPS_FREE(&s->threshold);
        }
    }
    return HPS_OK;
}

hps_status hps_encode_source_open(const hps_grid *grid, const char *path, hps_encode_source *s)
{
    bool ensemble;

    *s = (hps_encode_source){.path = path};
    HPS_TRY(hps_ensemble_is(grid->model, path, &ensemble));
    if (ensemble) {
        HPS_TRY(hps_ensemble_load(grid, path, &s->ensemble));
        s->model = s->ensemble->model[0];
        return hps_agree(grid->model, take_thresholds(s));
    }
    HPS_TRY(hps_model_load(grid, path, &s->own));
    s->model = s->own;
    return check_threshold(s->own, path, "");
}

static hps_status allocate_joined(hps_encode_source *s, int64_t B)
{
    int64_t capacity = 0;

    for (int j = 0; j < s->ensemble->file.members; j++) {
        capacity += s->pass->forward[j]->capacity;
    }
    HPS_TRY(HPS_ALLOC(&s->joined.first, B + 1, "codes of all members"));
    HPS_TRY(HPS_ALLOC(&s->joined.slot, capacity, "codes of all members"));
    return capacity <= INT32_MAX ? HPS_OK
                                 : hps_fail(HPS_ECONFIG,
                                            "a batch of %lld rows may have %lld values over all members, more than are "
                                            "counted; use a smaller encode.batch",
                                            (long long)B, (long long)capacity);
}

hps_status hps_encode_source_prepare(hps_encode_source *s, const hps_grid *grid, const hps_kernels *kernels, int64_t B,
                                     int threads)
{
    if (s->ensemble != NULL) {
        HPS_TRY(hps_ensemble_forward_create(s->ensemble, kernels, B, threads, &s->pass));
        s->x = s->pass->x;
        s->slots = &s->joined;
        return hps_agree(grid->model, allocate_joined(s, B));
    }
    const hps_forward_options options = {
        .B = B, .k_max = s->own->k, .k = s->own->k, .rules = 1u << hps_pick_in_use(s->own).rule, .threads = threads};
    HPS_TRY(hps_forward_create(grid, kernels, s->own, &options, &s->forward));
    s->x = s->forward->y;
    s->slots = &s->forward->slots;
    return HPS_OK;
}

void hps_encode_source_close(hps_encode_source *s)
{
    hps_forward_destroy(&s->forward);
    hps_model_destroy(&s->own);
    HPS_FREE(&s->joined.first);
    HPS_FREE(&s->joined.slot);
    HPS_FREE(&s->threshold);
    hps_ensemble_forward_destroy(&s->pass);
    hps_ensemble_destroy(&s->ensemble);
}

/* Each token's slots of all members, numbered in the ensemble, in the order of their values. */
static void join(hps_encode_source *s, int64_t B)
{
    const hps_ensemble *e = s->ensemble;
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

hps_status hps_encode_source_run(hps_encode_source *s, int64_t B)
{
    if (s->ensemble == NULL) {
        const hps_pick pick = hps_pick_in_use(s->own);
        return hps_forward_select(s->forward, B, &pick);
    }
    HPS_TRY(hps_ensemble_forward_run(s->pass, B));
    join(s, B);
    return HPS_OK;
}

/* The members' selection, or "mixed". */
static const char *selection(const hps_ensemble *e)
{
    for (int j = 1; j < e->file.members; j++) {
        if (e->model[j]->select != e->model[0]->select) {
            return "mixed";
        }
    }
    return hps_select_name(e->model[0]->select);
}

hps_codes_about hps_encode_source_about(const hps_encode_source *s, const hps_grid *grid)
{
    const hps_model *m = s->model;
    const double scale = m->norm == HPS_NORM_SCALE ? m->scale : 1;
    hps_codes_about about = {.latents = m->shard.n,
                             .k = m->k,
                             .model_name = m->model_name != NULL ? m->model_name : "",
                             .select = hps_select_name(m->select),
                             .threshold = m->select == HPS_SELECT_BATCH_TOPK ? m->threshold / scale : -1,
                             .scale = scale};

    if (s->ensemble == NULL) {
        about.checksum = hps_model_checksum(grid->model, m).values;
        return about;
    }
    about.latents = s->ensemble->offset[s->ensemble->file.members];
    about.k = hps_ensemble_k(s->ensemble);
    about.select = selection(s->ensemble);
    about.threshold = -1;
    about.scale = scale / hps_ensemble_coefficient(s->ensemble);
    about.checksum = s->ensemble->checksum;
    about.ensemble = hps_ensemble_name(s->ensemble);
    about.members = s->ensemble->file.members;
    about.offset = s->ensemble->offset;
    about.thresholds = s->threshold;
    return about;
}
