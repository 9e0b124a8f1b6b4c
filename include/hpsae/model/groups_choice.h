/*
 * train.groups: auto.  The number R of data groups for the ranks that a job has: of all divisors of the ranks and of the
 * batch the one whose step the cost model predicts to be the shortest, among those whose memory fits.
 */
#ifndef HPSAE_MODEL_GROUPS_CHOICE_H
#define HPSAE_MODEL_GROUPS_CHOICE_H

#include "hpsae/base/file.h"
#include "hpsae/model/cost_grid.h"
#include "hpsae/model/rehearse.h"

#include <jansson.h>
#include <mpi.h>

enum { HPS_CHOICES = 8, HPS_CHOICE_WORDS = 512, HPS_CHOICE_FIGURES = HPS_PATH_MAX + 320 };

typedef struct {
    hps_grid_point point[HPS_CHOICES]; /* [count] the fastest, and the chosen one, by R */
    bool fits[HPS_CHOICES];            /* false only where it would have been chosen and memory forbids it */
    int count, all;                    /* of those shown, of all that there are */
    int chosen;                        /* the place in point */
    bool none_fits;                    /* then the one with fewest groups was taken, which needs least memory */
    char figures[HPS_CHOICE_FIGURES];  /* what the choice rests on, in words */
} hps_groups_choice;

/*
 * Local.  `space` says nodes, cores, ranks_per_node (not 0), memory; its groups are left open.  Errors: HPS_ECONFIG when no
 * number of groups leaves a rank of each group a latent; HPS_ENOMEM.
 */
hps_status hps_groups_choose(const hps_calibration *c, const hps_cost_case *size, const hps_grid_space *space,
                             hps_groups_choice *choice);

/* Local.  "1 group of 8 ranks 0.41 s a step, 2 of 4 0.38 s" into text: what the model expects, without the choice. */
char *hps_groups_words(const hps_groups_choice *choice, char text[HPS_CHOICE_WORDS]);

/* Local.  The same as a list: groups, ranks, step_seconds, fits of each.  A new reference; NULL without memory. */
json_t *hps_groups_json(const hps_groups_choice *choice);

/*
 * Local.  What a configuration lets a choice rest on: the file that train.calibration names, or the built-in figures where
 * it names none.  Errors: those of the file; HPS_ECONFIG when it was measured with other kernels than kernels.backend names
 * or, where that is auto and the run is to be `here`, with kernels that this machine cannot run.  Release with
 * hps_calibration_release.
 */
hps_status hps_calibration_for(const hps_config *config, bool here, hps_calibration *c);

/*
 * Collective over world.  The choice for the ranks of world, with their threads and within their nodes' memory; the same on
 * every rank.  run: its configuration is resolved (grid.threads too); train.groups is left as it is.  Errors as above.
 */
hps_status hps_groups_ask(MPI_Comm world, const hps_rank_question *run, hps_groups_choice *choice);

#endif
