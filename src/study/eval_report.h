/*
 * What `hpsae eval` found, for people and for programs; the parts of it that dictionary and ensemble share.
 */
#ifndef HPSAE_STUDY_EVAL_REPORT_H
#define HPSAE_STUDY_EVAL_REPORT_H

#include "hpsae/model/evaluate.h"
#include "hpsae/model/shrinkage.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct {
    const char *path, *hook; /* of the model, of the store */
    bool whitened;           /* the store's activations */
    const hps_model *model;
    int64_t dead_tokens;  /* a latent silent for so long in training is dead */
    const int64_t *fired; /* [n] tokens on which each fired */
    hps_pick pick;        /* of the main figures */
    hps_evaluation result;
    bool has_gradient_select;
    hps_evaluation gradient_select; /* the same rows by HPS_PICK_GRADIENT */
    hps_shrinkage shrinkage;        /* rows 0: not measured */
    double max_cos;                 /* NaN: not measured */
    uint64_t checksum;              /* of the model's values */
} hps_findings;

/* Local.  The object of eval.json; owned by the caller. */
json_t *hps_findings_json(const hps_findings *f);

/* Local.  The same in lines of the log. */
void hps_findings_log(const hps_findings *f);

/*
 * Local.  Histogram of log10 of the firing frequency, of fired [latents] out of so many rows: bins of a tenth of a decade
 * from 1e-8 to 1; latents that never fired are counted apart.  Owned by the caller.
 */
json_t *hps_density_json(int64_t latents, const int64_t *fired, int64_t rows);

/* Local.  Latents silent over the last dead_tokens tokens of training; -1 where the model does not know. */
int64_t hps_silent_latents(const hps_model *m, int64_t dead_tokens);

/* Local.  "topk" "batch_topk" "threshold" "gradient". */
const char *hps_pick_name(hps_pick_rule rule);

#endif
