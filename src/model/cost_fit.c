/* Coefficients from measurements. */
#include "hpsae/base/memory.h"
#include "hpsae/model/cost.h"
#include "hpsae/model/nnls.h"

#include <string.h>

/*
 * How much a coefficient is drawn to its assumed value, in the square of a relative error: a factor of two off weighs as
 * much as 1 % of one measured case.
 */
static const double DRAW = 1e-4;

/*
 * In units of the assumed coefficients (what is fitted is how many times those), each case by its relative error:
 * minimises sum over cases of (prediction / seconds - 1)^2 + DRAW sum (z - 1)^2.
 */
static void equations(const hps_calibration *c, hps_phase phase, double *G, double *right)
{
    const double *assumed = c->coefficient[phase];
    double x[HPS_COST_FEATURES];

    memset(G, 0, HPS_COST_FEATURES * HPS_COST_FEATURES * sizeof(*G));
    for (int i = 0; i < HPS_COST_FEATURES; i++) {
        right[i] = G[i * HPS_COST_FEATURES + i] = DRAW;
    }
    for (int64_t m = 0; m < c->count; m++) {
        const double seconds = c->measured[m].seconds[phase];
        if (!(seconds > 0)) {
            continue;
        }
        hps_cost_features(&c->measured[m].size, phase, x);
        for (int i = 0; i < HPS_COST_FEATURES; i++) {
            x[i] *= assumed[i] / seconds;
        }
        for (int i = 0; i < HPS_COST_FEATURES; i++) {
            right[i] += x[i];
            for (int j = 0; j < HPS_COST_FEATURES; j++) {
                G[i * HPS_COST_FEATURES + j] += x[i] * x[j];
            }
        }
    }
}

hps_status hps_cost_fit(hps_calibration *c)
{
    double G[HPS_COST_FEATURES * HPS_COST_FEATURES], right[HPS_COST_FEATURES], z[HPS_COST_FEATURES];
    hps_nnls work = {0};

    if (c->count < 1) {
        return hps_fail(HPS_EARG, "no measured case to fit the cost of a step to");
    }
    hps_cost_assume(c);
    hps_status status = hps_nnls_create(HPS_COST_FEATURES, &work);
    for (int p = 0; status == HPS_OK && p < HPS_PHASES; p++) {
        equations(c, (hps_phase)p, G, right);
        for (int i = 0; i < HPS_COST_FEATURES; i++) {
            z[i] = 1;
        }
        if (!hps_nnls_solve(&work, HPS_COST_FEATURES, G, right, z)) {
            status = hps_fail(HPS_ENUMERIC, "%s: the measured seconds fit no costs", hps_phase_name((hps_phase)p));
        }
        for (int i = 0; i < HPS_COST_FEATURES; i++) {
            c->coefficient[p][i] *= z[i];
        }
    }
    hps_nnls_destroy(&work);
    return status;
}
