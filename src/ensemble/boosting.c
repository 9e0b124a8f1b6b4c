#include "residuals.h"
#include "stages.h"
#include "training.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/device.h"

#include <math.h>
#include <string.h>

/* The stage trains on the files of residuals as on any store. */
static hps_status set_store(hps_ensemble_training *t, int j)
{
    hps_list *store = &t->member[j]->data.store;
    char path[HPS_PATH_MAX];

    HPS_TRY(hps_residuals_directory(t, j, path));
    for (int64_t i = 0; i < store->count; i++) {
        HPS_FREE(&store->items[i]);
    }
    store->count = 0;
    HPS_FREE(&store->items);
    HPS_TRY(HPS_ALLOC(&store->items, 1, "configuration"));
    HPS_TRY(HPS_ALLOC(&store->items[0], (int64_t)strlen(path) + 1, "configuration"));
    strcpy(store->items[0], path);
    store->count = 1;
    return HPS_OK;
}

/* Collective. */
static hps_status train_on_files(hps_ensemble_training *t, int j, const hps_train_member *member,
                                 hps_train_result *result)
{
    HPS_TRY(hps_residuals_make(t, j));
    HPS_TRY(hps_agree(t->world, set_store(t, j)));
    return hps_train(t->world, 1, member, &t->job, result);
}

/* Collective. */
static hps_status train_live(hps_ensemble_training *t, int j, const hps_train_member *member, hps_train_result *result)
{
    const int64_t B = t->config->train.batch / t->config->train.groups, before = hps_memory_live();
    hps_train_member changed = *member;
    hps_stages stages;

    HPS_TRY(hps_stages_load(t, 0, j, B, &stages));
    hps_log("ensemble", "stage %d takes its rows through %d stage%s, which take %.1f MiB on this rank", j + 1, j,
            j == 1 ? "" : "s", (double)(hps_memory_live() - before) / 1048576);
    changed.change = &stages.change;
    const hps_status status = hps_train(t->world, 1, &changed, &t->job, result);
    hps_stages_destroy(&stages);
    return status;
}

/*
 * Held-out ev of the chain up to stage j: 1 - sum |r^(j+1)|^2 / sum |x - mu|^2, in the first stage's units, in which the
 * later ones' errors are.
 */
static void note_ev(hps_ensemble_training *t, int j, const hps_train_result *result)
{
    const hps_evaluation *e = &result->evaluation;
    hps_member *m = &t->file.member[j];

    m->ev = NAN;
    if (e->rows > 0 && j == 0) {
        t->file.variance = e->mse * result->scale * result->scale / e->fvu;
        m->ev = e->ev;
    } else if (e->rows > 0) {
        m->ev = 1 - e->mse / t->file.variance;
    }
    if (isfinite(m->ev)) {
        hps_log("ensemble", "held-out ev of the chain of %d stage%s: %.5f", j + 1, j == 0 ? "" : "s", m->ev);
    }
}

/* Collective. */
static hps_status train_stage(hps_ensemble_training *t, int j)
{
    hps_train_member member = {.config = t->member[j], .name = t->file.member[j].directory};
    hps_train_result result;

    HPS_TRY(j == 0 || t->options.dry_run                          ? hps_train(t->world, 1, &member, &t->job, &result)
            : t->config->ensemble.residuals == HPS_RESIDUALS_FILE ? train_on_files(t, j, &member, &result)
                                                                  : train_live(t, j, &member, &result));
    if (t->options.dry_run) {
        return HPS_OK;
    }
    hps_ensemble_note(t, j, &result);
    note_ev(t, j, &result);
    HPS_TRY(hps_ensemble_save(t));
    return hps_residuals_drop(t);
}

/* The stages that are to be trained: from the first that is not complete to the last that is asked for, both from 0. */
static void find_range(const hps_ensemble_training *t, int *first, int *last)
{
    *first = 0;
    *last = t->options.stage > 0 ? t->options.stage - 1 : t->file.members - 1;
    while (*first <= *last && t->file.member[*first].complete) {
        ++*first;
    }
}

hps_status hps_boosting_check(hps_ensemble_training *t)
{
    const hps_kernels *kernels;
    int first, last;

    find_range(t, &first, &last);
    if (first <= last && last > 0) { /* stages before the last are a chain, which runs on the host */
        HPS_TRY(hps_agree(t->world, hps_device_without(t->config->kernels.backend, &kernels)));
    }
    return first <= last && t->config->ensemble.residuals == HPS_RESIDUALS_FILE ? hps_residuals_check(t, first, last)
                                                                                : HPS_OK;
}

hps_status hps_boosting_train(hps_ensemble_training *t)
{
    int first, last;

    find_range(t, &first, &last);
    if (first > last) {
        hps_log("ensemble", "stage%s %d trained before: nothing to do", last > 0 ? "s up to" : "", last + 1);
        return HPS_OK;
    }
    for (int j = first; j <= (t->options.dry_run ? first : last); j++) {
        if (!t->file.member[j].complete) {
            HPS_TRY(train_stage(t, j));
        }
    }
    return HPS_OK;
}
