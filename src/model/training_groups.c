/* train.groups: auto, for a run that begins or goes on. */
#include "training.h"

#include "hpsae/base/log.h"
#include "hpsae/model/checkpoint.h"

#include <stdio.h>

/* The number of data groups of the checkpoint's run. */
static hps_status groups_of(const hps_training *t, const char *path, int *groups)
{
    hps_checkpoint_head head;
    hps_config *there = NULL;
    int ranks;

    HPS_MPI(MPI_Comm_size(t->world, &ranks));
    HPS_TRY(hps_checkpoint_read_head(t->world, path, &head));
    const hps_status status = hps_agree(t->world, hps_config_read_text(path, head.config, &there));
    hps_checkpoint_head_free(&head);
    HPS_TRY(status);
    *groups = (int)there->train.groups;
    hps_config_destroy(&there);
    if (*groups < 1 || ranks % *groups != 0) {
        return hps_fail(
            HPS_ECONFIG,
            "%s: trained on %d data groups, which do not divide the %d ranks; start a multiple of %d as ranks, "
            "or choose another output",
            path, *groups, ranks, *groups);
    }
    return HPS_OK;
}

static const char *plural(int count)
{
    return count == 1 ? "" : "s";
}

static void tell(const hps_training *t)
{
    const hps_training_groups *g = &t->groups;
    const int best = g->choice.count > 0 ? g->choice.point[g->choice.chosen].size.R : g->groups;
    char words[HPS_CHOICE_WORDS], outcome[96];

    if (g->choice.count == 0) {
        return;
    }
    if (!g->resumed) {
        snprintf(outcome, sizeof(outcome), "chosen: %d", g->groups);
    } else if (best == g->groups) {
        snprintf(outcome, sizeof(outcome), "the checkpoint's %d is best here too", g->groups);
    } else {
        snprintf(outcome, sizeof(outcome), "best here: %d, but the checkpoint's %d stays", best, g->groups);
    }
    hps_log(t->name, "train.groups auto, by %s: %s; %s; %lld thread%s a rank, by %s", g->choice.figures,
            hps_groups_words(&g->choice, words), outcome, (long long)t->config->grid.threads,
            plural((int)t->config->grid.threads), t->job->threads_from);
    if (g->choice.none_fits && !g->resumed) {
        hps_warn(t->name,
                 "no number of data groups seems to fit into this node's memory; `hpsae plan` says what would");
    }
}

hps_status hps_training_choose_groups(hps_training *t, const char *path)
{
    const hps_rank_question run = {t->config, t->kernels, t->dataset.info, t->dataset.gradients != NULL,
                                   t->resident_at_start};
    hps_training_groups *g = &t->groups;

    if (path != NULL) {
        HPS_TRY(groups_of(t, path, &g->groups));
    }
    const hps_status status = hps_groups_ask(t->world, &run, &g->choice);
    if (status != HPS_OK && path == NULL) {
        return status;
    }
    if (status != HPS_OK) { /* nothing is left to choose */
        hps_warn(t->name, "what is best for these ranks is not known: %s", hps_status_message());
        g->choice.count = 0;
    }
    g->made = true;
    g->resumed = path != NULL;
    g->groups = g->resumed ? g->groups : g->choice.point[g->choice.chosen].size.R;
    t->config->train.groups = g->groups;
    tell(t);
    return HPS_OK;
}

void hps_training_note_groups(hps_training *t)
{
    const hps_training_groups *g = &t->groups;

    if (g->made) {
        hps_run_note(t->run, "groups_auto",
                     json_pack("{s:i,s:b,s:s,s:o,s:i,s:s}", "groups", g->groups, "resumed", g->resumed, "figures",
                               g->choice.figures, "expected", hps_groups_json(&g->choice), "threads",
                               (int)t->config->grid.threads, "threads_from", t->job->threads_from));
    }
}
