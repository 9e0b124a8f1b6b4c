#include "side.h"
#include "training.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <stdio.h>
#include <string.h>

/* Members that are to be trained, and what came of them. */
typedef struct {
    hps_ensemble_training *t;
    int count;
    int *number;              /* [count] of each, from 0; the first `count` of members */
    hps_train_member *member; /* [count] */
    char (*name)[32];
    hps_train_result *result; /* [count] */
    uint64_t *found;          /* [3 count] done, checksum, hash of the configuration */
} bag;

static hps_status collect(hps_ensemble_training *t, bag *b)
{
    const int members = t->file.members;

    HPS_TRY(HPS_ALLOC(&b->number, members, "members"));
    HPS_TRY(HPS_ALLOC(&b->member, members, "members"));
    HPS_TRY(HPS_ALLOC(&b->name, members, "members"));
    HPS_TRY(HPS_ALLOC(&b->result, members, "members"));
    HPS_TRY(HPS_ALLOC(&b->found, 3 * (int64_t)members, "members"));
    for (int j = 0; j < members; j++) {
        if (!t->file.member[j].complete) {
            snprintf(b->name[b->count], sizeof(b->name[0]), "%s", t->file.member[j].directory);
            b->member[b->count] = (hps_train_member){.config = t->member[j], .name = b->name[b->count]};
            b->number[b->count++] = j;
        }
    }
    return HPS_OK;
}

static void release(bag *b)
{
    HPS_FREE(&b->number);
    HPS_FREE(&b->member);
    HPS_FREE(&b->name);
    HPS_FREE(&b->result);
    HPS_FREE(&b->found);
}

hps_status hps_bagging_check(const hps_ensemble_training *t)
{
    const int64_t groups = t->config->ensemble.groups;

    return groups == HPS_AUTO_INT || groups <= t->size
               ? HPS_OK
               : hps_config_fail(t->config, "ensemble.groups", "%lld, but there are %d ranks; allowed: at most that",
                                 (long long)groups, t->size);
}

/* As many groups as asked for; auto: as give each as many members and ranks as every other. */
static int choose_groups(const bag *b)
{
    const hps_config *c = b->t->config;
    const int64_t asked = c->ensemble.groups, R = c->train.groups;
    const int ranks = b->t->size;

    if (asked != HPS_AUTO_INT) {
        return (int)(asked < b->count ? asked : b->count);
    }
    int groups = b->count < ranks ? b->count : ranks;
    while (groups > 1 && (b->count % groups != 0 || ranks % groups != 0 || ranks / groups % R != 0)) {
        groups--;
    }
    return groups;
}

/* Collective over the group.  Its members [from, to): at once, or one after another. */
static hps_status train_group(bag *b, const hps_side *side, const hps_train_job *job, int from, int to)
{
    const int at_once = b->t->config->ensemble.together ? to - from : 1;

    for (int i = from; i < to; i += at_once) {
        HPS_TRY(hps_train(side->group, at_once, &b->member[i], job, &b->result[i]));
        for (int j = i; j < i + at_once; j++) {
            b->found[3 * j] = 1;
            b->found[3 * j + 1] = b->result[j].checksum;
            b->found[3 * j + 2] = b->result[j].config_hash;
        }
    }
    return HPS_OK;
}

/* Collective over world.  What the groups found, each told by its rank 0 alone. */
static hps_status join(bag *b, bool tells)
{
    hps_ensemble_training *t = b->t;

    if (!tells) {
        memset(b->found, 0, 3 * (size_t)b->count * sizeof(*b->found));
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, b->found, 3 * b->count, MPI_UINT64_T, MPI_SUM, t->world));
    for (int i = 0; i < b->count; i++) {
        hps_member *m = &t->file.member[b->number[i]];
        m->complete = b->found[3 * i] != 0;
        m->checksum = b->found[3 * i + 1];
    }
    return hps_ensemble_save(t);
}

static hps_status train_side_by_side(bag *b, int groups)
{
    hps_ensemble_training *t = b->t;
    hps_train_job job = t->job;
    hps_side side;

    hps_status status = hps_side_create(t->world, groups, &side);
    if (status == HPS_OK) {
        job.ends.asked = hps_side_asked;
        job.ends.context = &side;
        const int from = (int)((int64_t)b->count * side.g / groups),
                  to = (int)((int64_t)b->count * (side.g + 1) / groups);
        status = train_group(b, &side, &job, from, to);
        hps_side_finish(&side, status);
        status = hps_agree(t->world, status);
    }
    const bool tells = side.roots != MPI_COMM_NULL;
    hps_side_destroy(&side);
    if (!t->options.dry_run && (status == HPS_OK || status == HPS_STOPPED)) {
        char words[HPS_MESSAGE_MAX];
        snprintf(words, sizeof(words), "%s", hps_status_message());
        HPS_TRY(join(b, tells));
        return status == HPS_OK ? HPS_OK : hps_fail(status, "%s", words);
    }
    return status;
}

static hps_status train(bag *b)
{
    if (b->count == 0) {
        hps_log("ensemble", "all %d members were trained before: nothing to do", b->t->file.members);
        return HPS_OK;
    }
    const int groups = choose_groups(b);
    hps_log("ensemble", "bagging: %d of %d members to train, by %d group%s of ranks, %s in each", b->count,
            b->t->file.members, groups, groups == 1 ? "" : "s",
            b->t->config->ensemble.together ? "all at once" : "one after another");
    return train_side_by_side(b, groups);
}

hps_status hps_bagging_train(hps_ensemble_training *t)
{
    bag b = {.t = t};

    hps_status status = hps_agree(t->world, collect(t, &b));
    if (status == HPS_OK) {
        status = train(&b);
    }
    release(&b);
    return status;
}
