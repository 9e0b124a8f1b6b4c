#include "codes_about.h"

#include "hpsae/ensemble/ensemble_export.h"
#include "hpsae/model/checkpoint.h"

/* What rows were multiplied by. */
static double scale_of(const hps_model *m)
{
    return m->norm == HPS_NORM_SCALE ? m->scale : 1;
}

hps_codes_about hps_codes_about_model(MPI_Comm comm, const hps_model *m)
{
    const double scale = scale_of(m);

    return (hps_codes_about){.latents = m->shard.n,
                             .k = m->k,
                             .model_name = m->model_name != NULL ? m->model_name : "",
                             .select = hps_select_name(m->select),
                             .threshold = m->select == HPS_SELECT_BATCH_TOPK ? m->threshold / scale : -1,
                             .checksum = hps_model_checksum(comm, m).values,
                             .scale = scale};
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

hps_codes_about hps_codes_about_ensemble(const hps_ensemble *e, double *thresholds)
{
    const hps_model *first = e->model[0];
    const double scale = scale_of(first) / hps_ensemble_coefficient(e);

    for (int j = 0; j < e->file.members; j++) {
        thresholds[j] = e->model[j]->threshold / scale;
    }
    return (hps_codes_about){.latents = e->offset[e->file.members],
                             .k = hps_ensemble_k(e),
                             .model_name = first->model_name != NULL ? first->model_name : "",
                             .select = selection(e),
                             .threshold = -1,
                             .checksum = e->checksum,
                             .scale = scale,
                             .ensemble = hps_ensemble_name(e),
                             .members = e->file.members,
                             .offset = e->offset,
                             .thresholds = hps_ensemble_is_threshold(e) ? thresholds : NULL};
}
