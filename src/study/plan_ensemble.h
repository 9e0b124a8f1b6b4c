/*
 * What an ensemble adds to a plan: members at once or one after another, residuals, the stages that rows go through.
 */
#ifndef HPSAE_STUDY_PLAN_ENSEMBLE_H
#define HPSAE_STUDY_PLAN_ENSEMBLE_H

#include "hpsae/study/plan.h"

/*
 * Local.  How the ensemble is trained on this allocation: groups of ranks, members at once in each; of stages that differ
 * the configuration takes the largest, whose memory counts.  One member, one group without an ensemble.
 */
void hps_plan_ensemble_begin(const hps_plan_request *r, hps_plan *plan);

/* Local.  Adds to one member's memory that of the others beside it, and of the stages before the last where rows go through. */
hps_status hps_plan_ensemble_memory(const hps_config *config, const hps_plan *plan, const hps_cost_case *size,
                                    hps_memory_plan *memory);

/* Local.  From the figures of one member to those of all: seconds, room for residuals. */
void hps_plan_ensemble_total(const hps_plan_request *r, hps_plan *plan);

#endif
