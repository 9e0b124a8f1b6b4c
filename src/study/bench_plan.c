/* What the cost model expected, beside what was measured. */
#include "bench_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/report.h"

/* The phases whose time is between ranks, waiting included: as hps_bench_phases counts them. */
static double communication(const double seconds[HPS_PHASES], int ranks)
{
    return ranks > 1 ? seconds[HPS_PHASE_SELECT] + seconds[HPS_PHASE_COMM] : 0;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

void hps_bench_expected(const hps_bench_case *c, const hps_calibration *machine, int nodes,
                        const double measured[HPS_PHASES], json_t *out)
{
    hps_cost_case size = hps_bench_case_cost(c);
    const int ranks = size.R * size.P;
    double planned[HPS_PHASES], sum[2] = {0, 0};
    json_t *phases = json_object();

    size.nodes = nodes;
    hps_cost_predict(machine, &size, planned);
    hps_log("bench", "  %-14s %12s %12s  planned / measured", "phase", "measured", "planned");
    for (int p = c->feed != NULL ? 0 : 1; p < HPS_PHASES; p++) { /* random rows are not read: no input then */
        const char *name = hps_phase_name((hps_phase)p);
        sum[0] += measured[p];
        sum[1] += planned[p];
        hps_log("bench", "  %-14s %9.3f ms %9.3f ms  %.2f", name, 1e3 * measured[p], 1e3 * planned[p],
                ratio(planned[p], measured[p]));
        json_object_set_new(phases, name, hps_json_real(planned[p]));
    }
    const double shares[] = {ratio(communication(measured, ranks), sum[0]),
                             ratio(communication(planned, ranks), sum[1])};
    hps_log("bench", "  %-14s %9.3f ms %9.3f ms  %.2f; communication %.1f %%, planned %.1f %%, by %s", "step",
            1e3 * sum[0], 1e3 * sum[1], ratio(sum[1], sum[0]), 100 * shares[0], 100 * shares[1],
            machine->assumed ? "assumed figures" : c->size.config->train.calibration);
    json_object_set_new(out, "plan",
                        json_pack("{s:b,s:o,s:o,s:o,s:o}", "assumed", machine->assumed, "seconds",
                                  hps_json_real(sum[1]), "measured_seconds", hps_json_real(sum[0]),
                                  "communication_share", hps_json_real(shares[1]), "phases", phases));
}
