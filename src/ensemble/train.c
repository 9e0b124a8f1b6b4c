#include "hpsae/ensemble/train.h"

#include "training.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const methods[] = {
    [HPS_ENSEMBLE_NONE] = "none", [HPS_ENSEMBLE_BAGGING] = "bagging", [HPS_ENSEMBLE_BOOSTING] = "boosting"};

void hps_ensemble_note(hps_ensemble_training *t, int j, const hps_train_result *result)
{
    hps_member *m = &t->file.member[j];

    m->complete = true;
    m->checksum = result->checksum;
    m->config_hash = result->config_hash;
    m->n = result->n;
    m->k = result->k;
}

hps_status hps_ensemble_save(const hps_ensemble_training *t)
{
    return hps_share_status(t->world, t->rank == 0 ? hps_ensemble_write(t->config->output, &t->file) : HPS_OK);
}

/* The hash of what all members share, resolved for the store. */
static hps_status ensemble_hash(const hps_config *config, const hps_store_info *info, uint64_t *hash)
{
    hps_config *copy;

    HPS_TRY(hps_config_copy(config, &copy));
    const hps_status status = hps_config_resolve(copy, info->d, info->hook);
    *hash = hps_config_hash(copy);
    hps_config_destroy(&copy);
    return status;
}

static hps_status copy_store(const hps_config *config, hps_ensemble_file *file)
{
    const hps_list *store = &config->data.store;

    HPS_TRY(HPS_ALLOC(&file->store.items, store->count, "names of an ensemble"));
    for (int64_t i = 0; i < store->count; i++) {
        const size_t size = strlen(store->items[i]) + 1;
        HPS_TRY(HPS_ALLOC(&file->store.items[i], (int64_t)size, "names of an ensemble"));
        memcpy(file->store.items[i], store->items[i], size);
        file->store.count++;
    }
    return HPS_OK;
}

/* What this run's configuration makes of an ensemble, before anything is trained. */
static hps_status imagine(const hps_ensemble_training *t, hps_ensemble_file *file)
{
    const hps_config *c = t->config;
    const hps_store_info *info = t->dataset.info;

    HPS_TRY(hps_ensemble_create(c->ensemble.method, (int)c->ensemble.members, file));
    file->d = info->d;
    HPS_TRY(ensemble_hash(c, info, &file->config_hash));
    HPS_TRY(hps_store_identity(t->dataset.store, &file->store_identity));
    HPS_TRY(copy_store(c, file));
    HPS_TRY(HPS_ALLOC(&file->hook, (int64_t)strlen(info->hook) + 1, "names of an ensemble"));
    strcpy(file->hook, info->hook);
    for (int j = 0; j < file->members; j++) {
        file->member[j].n = t->member[j]->model.latents;
        file->member[j].k = t->member[j]->model.k;
        file->member[j].config_hash = hps_config_hash(t->member[j]);
    }
    return HPS_OK;
}

/* Names the first key that differs from those with which the ensemble was begun. */
static hps_status refuse_configuration(const hps_config *c)
{
    char path[HPS_PATH_MAX], text[512];
    hps_config *there = NULL;

    HPS_TRY(hps_path_join(c->output, "used.yaml", path));
    const bool known = hps_config_read(MPI_COMM_NULL, "", path, 0, NULL, &there) == HPS_OK &&
                       hps_config_difference(c, there, text, sizeof(text));
    hps_config_destroy(&there);
    return hps_fail(HPS_ECONFIG,
                    "%s: an ensemble of another configuration (%s); give it back its values, or choose another output",
                    c->output, known ? text : "its used.yaml does not say in what");
}

/* Rank 0.  Whether the ensemble that stands in the output is the one that is to be trained, or its beginning. */
static hps_status check_old(const hps_ensemble_training *t, const hps_ensemble_file *old)
{
    const hps_config *c = t->config;
    const hps_ensemble_file *new = &t->file;
    const char *output = c->output;

    if (strcmp(c->train.resume, "never") == 0) {
        return hps_config_fail(c, "train.resume",
                               "never, but %s holds an ensemble; set it to auto, or choose another output", output);
    }
    if (old->method != new->method) {
        return hps_config_fail(c, "ensemble.method", "%s, but %s holds an ensemble by %s; choose another output",
                               methods[new->method], output, methods[old->method]);
    }
    if (old->members > new->members) {
        return hps_config_fail(c, "ensemble.members",
                               "%d, but %s holds an ensemble of %d; allowed: at least as many, or another output",
                               new->members, output, old->members);
    }
    if (old->store_identity != new->store_identity) {
        return hps_config_fail(c, "data.store",
                               "is not what %s was trained on, or has changed since; give it back, or choose another "
                               "output",
                               output);
    }
    if (old->config_hash != new->config_hash) {
        return refuse_configuration(c);
    }
    for (int j = 0; j < old->members; j++) {
        if (old->member[j].config_hash != new->member[j].config_hash) {
            return hps_fail(HPS_ECONFIG,
                            "%s: its %s was begun with %lld latents, k %lld, and is now to have %lld, k %lld; give it "
                            "back its values, or choose another output",
                            output, new->member[j].directory, (long long)old->member[j].n, (long long)old->member[j].k,
                            (long long)new->member[j].n, (long long)new->member[j].k);
        }
    }
    return HPS_OK;
}

/* Rank 0.  A complete member whose directory was removed is to be trained again, with the same outcome. */
static hps_status notice_removed(const hps_ensemble_training *t, hps_ensemble_file *old)
{
    char path[HPS_PATH_MAX];

    for (int j = 0; j < old->members; j++) {
        HPS_TRY(hps_path_join(t->config->output, old->member[j].directory, path));
        if (old->member[j].complete && access(path, F_OK) != 0) {
            hps_warn("ensemble", "%s: was complete, and is no longer there: it is trained again", path);
            old->member[j].complete = false;
        }
    }
    return HPS_OK;
}

/* Takes over what was trained before. */
static hps_status take_old(hps_ensemble_training *t)
{
    hps_ensemble_file old;

    HPS_TRY(hps_ensemble_read(t->world, t->config->output, &old));
    hps_status status =
        hps_share_status(t->world, t->rank == 0 && old.method != HPS_ENSEMBLE_NONE ? check_old(t, &old) : HPS_OK);
    if (status == HPS_OK) {
        status = hps_share_status(t->world, t->rank == 0 ? notice_removed(t, &old) : HPS_OK);
    }
    if (status == HPS_OK && old.method != HPS_ENSEMBLE_NONE) {
        HPS_MPI(MPI_Bcast(old.member, hps_count(old.members * (int64_t)sizeof(*old.member)), MPI_BYTE, 0, t->world));
        memcpy(t->file.member, old.member, (size_t)old.members * sizeof(*old.member));
        t->file.variance = old.variance;
    }
    hps_ensemble_free(&old);
    return status;
}

static hps_status make_members(hps_ensemble_training *t)
{
    const int members = (int)t->config->ensemble.members;
    hps_ensemble_file names;

    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    HPS_TRY(HPS_ALLOC(&t->member, members, "members"));
    hps_status status = hps_ensemble_create(t->config->ensemble.method, members, &names);
    for (int j = 0; j < members && status == HPS_OK; j++) {
        status = hps_member_config(t->config, j, names.member[j].directory, t->dataset.info, &t->member[j]);
    }
    hps_ensemble_free(&names);
    return status == HPS_OK ? imagine(t, &t->file) : status;
}

static hps_status check_stage(const hps_ensemble_training *t)
{
    const int stage = t->options.stage;

    if (stage == 0) {
        return HPS_OK;
    }
    if (t->config->ensemble.method != HPS_ENSEMBLE_BOOSTING) {
        return hps_fail(HPS_EARG, "--stage %d: ensemble.method is %s; only an ensemble by boosting has stages", stage,
                        methods[t->config->ensemble.method]);
    }
    if (stage > t->file.members) {
        return hps_fail(HPS_EARG, "--stage %d: ensemble.members is %d; allowed: 1 to that", stage, t->file.members);
    }
    for (int j = 0; j < stage - 1; j++) {
        if (!t->file.member[j].complete) {
            return hps_fail(HPS_ECONFIG,
                            "--stage %d: stage %d is not complete in %s; train it first, with --stage %d or without",
                            stage, j + 1, t->config->output, j + 1);
        }
    }
    return HPS_OK;
}

static hps_status prepare(hps_ensemble_training *t)
{
    const bool gradients = t->config->model.select == HPS_SELECT_GRADIENT;

    HPS_TRY(hps_dataset_open(t->world, t->config, NULL, gradients, &t->dataset));
    HPS_TRY(hps_agree(t->world, make_members(t)));
    HPS_TRY(take_old(t));
    HPS_TRY(hps_agree(t->world, check_stage(t)));
    return t->config->ensemble.method == HPS_ENSEMBLE_BOOSTING ? hps_boosting_check(t)
                                                               : hps_agree(t->world, hps_bagging_check(t));
}

static hps_status begin_output(hps_ensemble_training *t)
{
    HPS_TRY(hps_run_begin(t->world, t->config->output, t->options.argc, t->options.argv, &t->run));
    HPS_TRY(hps_config_save(t->world, t->config, t->config->output));
    return hps_ensemble_save(t);
}

static void note_members(hps_ensemble_training *t)
{
    json_t *list = json_array();
    char hex[17];

    for (int j = 0; j < t->file.members; j++) {
        const hps_member *m = &t->file.member[j];
        snprintf(hex, sizeof(hex), "%016" PRIx64, m->checksum);
        json_array_append_new(list, json_pack("{s:s,s:b,s:s?,s:o}", "directory", m->directory, "complete", m->complete,
                                              "checksum", m->complete ? hex : NULL, "ev", hps_json_real(m->ev)));
        if (m->complete && isfinite(m->ev)) {
            hps_log("ensemble", "%s: checksum %s, held-out ev up to it %.5f", m->directory, hex, m->ev);
        } else if (m->complete) {
            hps_log("ensemble", "%s: checksum %s", m->directory, hex);
        }
    }
    hps_run_note(t->run, "members", list);
}

static hps_status train(hps_ensemble_training *t)
{
    if (!t->options.dry_run) {
        HPS_TRY(begin_output(t));
    }
    const hps_status status =
        t->config->ensemble.method == HPS_ENSEMBLE_BAGGING ? hps_bagging_train(t) : hps_boosting_train(t);
    if (t->run != NULL && (status == HPS_OK || status == HPS_STOPPED)) {
        note_members(t);
    }
    return status;
}

static void release(hps_ensemble_training *t)
{
    for (int64_t j = 0; t->member != NULL && j < t->config->ensemble.members; j++) {
        hps_config_destroy(&t->member[j]);
    }
    HPS_FREE(&t->member);
    hps_ensemble_free(&t->file);
    hps_dataset_close(&t->dataset);
}

hps_status hps_ensemble_train(MPI_Comm world, const hps_config *config, const hps_ensemble_options *options)
{
    hps_ensemble_training t = {.world = world, .config = config, .options = *options};

    HPS_MPI(MPI_Comm_rank(world, &t.rank));
    HPS_MPI(MPI_Comm_size(world, &t.size));
    t.job = (hps_train_job){.dry_run = options->dry_run,
                            .argc = options->argc,
                            .argv = options->argv,
                            .threads_from = options->threads_from,
                            .ends.directory = config->output};
    hps_status status = prepare(&t);
    if (status == HPS_OK) {
        hps_wish_listen();
        status = hps_run_end(&t.run, train(&t));
        hps_wish_restore();
    }
    release(&t);
    return status;
}
