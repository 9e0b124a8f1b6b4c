#include "hpsae/model/groups_choice.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"

#include <stdio.h>
#include <string.h>

static void by_groups(hps_groups_choice *choice)
{
    for (int i = 1; i < choice->count; i++) {
        for (int j = i; j > 0 && choice->point[j].size.R < choice->point[j - 1].size.R; j--) {
            const hps_grid_point point = choice->point[j];
            const bool fits = choice->fits[j];
            choice->point[j] = choice->point[j - 1];
            choice->fits[j] = choice->fits[j - 1];
            choice->point[j - 1] = point;
            choice->fits[j - 1] = fits;
            choice->chosen += choice->chosen == j ? -1 : choice->chosen == j - 1 ? 1 : 0;
        }
    }
}

static int fewest_groups(const hps_grid_point *points, int count)
{
    int least = 0;

    for (int i = 1; i < count; i++) {
        least = points[i].size.R < points[least].size.R ? i : least;
    }
    return least;
}

/* From all grids, the fastest first; the chosen one comes last of those shown if it is not among them. */
static void pick(const hps_grid_space *space, const hps_grid_point *points, hps_groups_choice *choice)
{
    int chosen = 0;

    while (chosen < choice->all && !hps_grid_fits(space, &points[chosen])) {
        chosen++;
    }
    const int unfit = chosen;
    choice->none_fits = chosen == choice->all;
    chosen = choice->none_fits ? fewest_groups(points, choice->all) : chosen;
    choice->count = choice->all < HPS_CHOICES ? choice->all : HPS_CHOICES;
    for (int i = 0; i < choice->count; i++) {
        const int from = i == choice->count - 1 && chosen > i ? chosen : i;
        choice->point[i] = points[from];
        choice->fits[i] = from >= unfit;
        choice->chosen = from == chosen ? i : choice->chosen;
    }
    by_groups(choice);
}

hps_status hps_groups_choose(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space,
                             hps_groups_choice *choice)
{
    hps_grid_space open = *space;
    hps_grid_point *points;

    *choice = (hps_groups_choice){.count = 0};
    open.groups = 0;
    HPS_TRY(HPS_ALLOC(&points, HPS_GRIDS, "grids to choose from"));
    choice->all = hps_grid_list(c, size, &open, points);
    if (choice->all > 0) {
        pick(&open, points, choice);
    }
    HPS_FREE(&points);
    if (choice->all < 1) {
        return hps_fail(
            HPS_ECONFIG,
            "train.groups: auto: %lld ranks for %lld latents and batches of %lld tokens: no number of groups "
            "gives every rank of a group a latent; use fewer ranks",
            (long long)space->nodes * space->ranks_per_node, (long long)size->n, (long long)size->B);
    }
    return HPS_OK;
}

/* The first in full, "1 group of 8 ranks 0.41 s a step"; those after it "2 of 4 0.38 s". */
static void word(const hps_grid_point *p, bool first, bool fits, char *text, size_t size)
{
    const char *of = !first ? "" : p->size.R == 1 ? " group" : " groups";
    const char *ranks = !first ? "" : p->size.P == 1 ? " rank" : " ranks";

    snprintf(text, size, "%s%d%s of %d%s %.3g s%s%s", first ? "" : ", ", p->size.R, of, p->size.P, ranks, p->seconds,
             first ? " a step" : "", fits ? "" : " (does not fit into memory)");
}

char *hps_groups_words(const hps_groups_choice *choice, char text[HPS_CHOICE_WORDS])
{
    size_t used = 0;

    for (int i = 0; i < choice->count; i++) {
        word(&choice->point[i], i == 0, choice->fits[i], text + used, HPS_CHOICE_WORDS - used);
        used += strlen(text + used);
    }
    if (choice->all > choice->count) {
        snprintf(text + used, HPS_CHOICE_WORDS - used, ", and %d others", choice->all - choice->count);
    }
    return text;
}

json_t *hps_groups_json(const hps_groups_choice *choice)
{
    json_t *list = json_array();

    for (int i = 0; i < choice->count; i++) {
        const hps_grid_point *p = &choice->point[i];
        json_array_append_new(list, json_pack("{s:i,s:i,s:o,s:b}", "groups", p->size.R, "ranks", p->size.P,
                                              "step_seconds", hps_json_real(p->seconds), "fits", choice->fits[i]));
    }
    return list;
}

static bool runs_here(const char *name)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    const int count = hps_kernels_all(all);

    for (int i = 0; i < count; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static hps_status check_kernels(const hps_config *config, const char *measured, bool here)
{
    const char *path = config->train.calibration, *wanted = hps_config_word("kernels.backend", config->kernels.backend);

    if (config->kernels.backend != HPS_BACKEND_AUTO && strcmp(measured, wanted) != 0) {
        return hps_config_fail(config, "train.calibration",
                               "%s was measured with the kernels %s, and kernels.backend is %s; calibrate with these",
                               path, measured, wanted);
    }
    if (config->kernels.backend == HPS_BACKEND_AUTO && here && !runs_here(measured)) {
        return hps_config_fail(config, "train.calibration",
                               "%s was measured with the kernels %s, which this machine cannot run; calibrate here",
                               path, measured);
    }
    return HPS_OK;
}

hps_status hps_calibration_for(const hps_config *config, bool here, hps_calibration *c)
{
    hps_calibration_builtin(c);
    if (config->train.calibration[0] == '\0') {
        return HPS_OK;
    }
    HPS_TRY(hps_calibration_read(config->train.calibration, c));
    const hps_status status = check_kernels(config, c->backend, here);
    if (status != HPS_OK) {
        hps_calibration_release(c);
    }
    return status;
}
