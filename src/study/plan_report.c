/* A plan in words and as JSON. */
#include "hpsae/base/log.h"
#include "hpsae/base/report.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/study/plan.h"

#include <string.h>

enum { AMOUNT = 32 };

/* Bytes as "1.50 GiB". */
static char *amount(double bytes, char text[AMOUNT])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int u = 0;

    while (bytes >= 1024 && u < 5) {
        bytes /= 1024;
        u++;
    }
    snprintf(text, AMOUNT, "%.*f %s", u == 0 ? 0 : bytes < 10 ? 2 : bytes < 100 ? 1 : 0, bytes, units[u]);
    return text;
}

/* Beyond what hps_duration says well: days. */
static char *duration(double seconds, char text[32])
{
    if (seconds < 2 * 86400) {
        return hps_duration(seconds, text);
    }
    snprintf(text, 32, "%.1f days", seconds / 86400);
    return text;
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_basis(FILE *file, const hps_plan_request *r, const hps_plan *p)
{
    const hps_calibration *m = &p->machine;

    if (m->assumed) {
        fprintf(file,
                "figures   assumed, not measured (no --bench FILE): a node of %s, %.3g and %.3g GFLOP/s a core for the "
                "screen and float32, %.3g GB/s a rank, %.3g GB/s read\n",
                m->cpu, 1e-9 * m->limits.screen_flops, 1e-9 * m->limits.float32_flops, 1e-9 * m->limits.memory_bytes,
                1e-9 * m->limits.read_bytes);
    } else {
        fprintf(file, "figures   %s: measured on %s (%s), kernels %s, %d rank%s of %d thread%s, %lld cases\n", p->bench,
                m->host, m->cpu, m->backend, m->ranks, plural(m->ranks), m->threads, plural(m->threads),
                (long long)m->count);
    }
    if (r->nodes > 1) {
        fprintf(file, "network   %s: %.3g us a message, %.4g GB/s out of a node\n",
                m->network_assumed ? "assumed, not measured" : "as given", 1e6 * m->network.latency,
                1e-9 * m->network.bytes);
    }
}

static void print_run(FILE *file, const hps_plan_request *r, const hps_plan *p)
{
    const hps_cost_case *c = &p->grid.size;

    fprintf(file, "run       n %lld, d %lld, k %lld, %s; %lld steps of %lld tokens; ", (long long)c->n, (long long)c->d,
            (long long)c->k, hps_select_name(c->select), (long long)p->steps, (long long)c->B);
    if (c->aux_k == 0) {
        fprintf(file, "no AuxK\n");
    } else {
        fprintf(file, "AuxK with %lld latents, of %lld taken to be dead (--dead %g)\n", (long long)c->aux_k,
                (long long)c->dead, r->dead);
    }
    fprintf(file, "layout    %d node%s x %d rank%s of %d thread%s: %d data group%s of %d rank%s\n", c->nodes,
            plural(c->nodes), p->grid.ranks_per_node, plural(p->grid.ranks_per_node), c->threads, plural(c->threads),
            c->R, plural(c->R), c->P, plural(c->P));
}

static void print_ensemble(FILE *file, const hps_plan_request *r, const hps_plan *p)
{
    const hps_plan_ensemble *e = &p->ensemble;
    char bytes[AMOUNT], time[32];

    if (e->method == HPS_ENSEMBLE_BAGGING) {
        fprintf(
            file,
            "ensemble  bagging: %d members by %d group%s of ranks, %d in each%s; layout and memory are of one group\n",
            e->members, e->groups, plural(e->groups), e->in_turn,
            e->at_once > 1   ? " at once"
            : e->in_turn > 1 ? " one after another"
                             : "");
    } else if (e->residual_bytes > 0) {
        fprintf(file,
                "ensemble  boosting: %d stages one after another; residuals %s a stage, %d at a time: %s; their "
                "passes %s, if the disk keeps up\n",
                e->members, amount((double)e->residual_bytes, bytes), e->residual_sets,
                amount((double)e->residual_bytes * e->residual_sets, (char[AMOUNT]){0}),
                duration(e->residual_seconds, time));
    } else if (e->method == HPS_ENSEMBLE_BOOSTING) {
        fprintf(file, "ensemble  boosting: %d stages one after another; %s residuals take %s\n", e->members,
                r->config->ensemble.residuals == HPS_RESIDUALS_LIVE ? "live" : "no",
                duration(e->residual_seconds, time));
    }
}

/* Of all members: those that are kept, and one more of each that is written at the time. */
static double checkpoint_bytes(const hps_plan *p)
{
    const hps_plan_ensemble *e = &p->ensemble;

    return (double)p->checkpoint * ((double)p->keep * e->members + (double)e->groups);
}

static void print_memory(FILE *file, const hps_plan *p)
{
    char a[AMOUNT], b[AMOUNT], c[AMOUNT], d[AMOUNT], e[AMOUNT];
    const double node = (double)p->rank_bytes * p->grid.ranks_per_node;

    fprintf(file, "memory    %s a rank: parameters and moments %s, buffers %s, at the start %s more, libraries %s%s\n",
            amount((double)p->rank_bytes, a), amount((double)p->rank.state, b), amount((double)p->rank.buffers, c),
            amount((double)p->rank.starting, d), amount((double)p->libraries, e),
            p->machine.assumed ? " (assumed)" : "");
    if (p->rank.device > 0) {
        fprintf(file, "          of it at most %s on the rank's GPU, where the driver's own comes on top\n",
                amount((double)p->rank.device, a));
    }
    if (p->wanted[0] != '\0') {
        fprintf(file, "          with the buffers of the kernels %s: those wanted, %s, do not run on this machine\n",
                p->kernels->name, p->wanted);
    }
    if (p->node_limit <= 0) {
        fprintf(file, "          %s a node (--memory-per-node GiB says whether that fits)\n", amount(node, a));
    } else {
        fprintf(file, "          %s a node of %s: %s\n", amount(node, a), amount(p->node_limit, b),
                p->fits ? "fits" : "DOES NOT FIT");
    }
}

static void print_remedies(FILE *file, const hps_plan *p)
{
    const hps_cost_case *c = &p->grid.size;
    const char *what = "cannot fit; any of these alone would do:";

    if (p->fits) {
        return;
    }
    if (p->ensemble.groups > 1) {
        fprintf(file, "          with fewer ensemble.groups a member is spread over more ranks%s\n",
                p->ensemble.at_once > 1 ? ", with ensemble.together: false a rank holds one at a time" : "");
        return;
    }
    if (p->nodes_needed + p->batch_possible + p->latents_possible == 0 && !p->has_best) {
        fprintf(file, "          cannot fit, neither with more nodes nor with a smaller batch or dictionary: use fewer "
                      "ranks a node, or nodes with more memory\n");
        return;
    }
    fprintf(file, "          %s", what);
    if (p->has_best) {
        fprintf(file, " %d ranks a node of %d threads;", p->best.ranks_per_node, p->best.size.threads);
    }
    if (p->nodes_needed > 0) {
        fprintf(file, " --nodes %lld (%d now);", (long long)p->nodes_needed, c->nodes);
    }
    if (p->batch_possible > 0) {
        fprintf(file, " train.batch %lld (%lld now);", (long long)p->batch_possible, (long long)c->B);
    }
    if (p->latents_possible > 0) {
        fprintf(file, " model.latents %lld (%lld now);", (long long)p->latents_possible, (long long)c->n);
    }
    fprintf(file, "\n");
}

static void print_disk(FILE *file, const hps_plan *p)
{
    char a[AMOUNT], b[AMOUNT], c[AMOUNT];
    const bool several = p->ensemble.members > 1;

    fprintf(file,
            "disk      %s a checkpoint, %lld kept%s and one more while it is written: %s; metrics.jsonl about %s%s\n",
            amount((double)p->checkpoint, a), (long long)p->keep, several ? " of each member" : "",
            amount(checkpoint_bytes(p), b), amount((double)p->metrics, c), several ? " each" : "");
    fprintf(file, "input     %.4g MB/s from the store, %.4g MB/s each rank\n", 1e-6 * p->input,
            1e-6 * p->input / ((double)p->grid.size.R * p->grid.size.P));
}

static void print_step(FILE *file, const hps_plan *p)
{
    const double tokens = (double)p->grid.size.B / p->grid.size.R;
    double bytes = 0;

    fprintf(file, "step      phase           seconds  share   a rank sends: a token     a step  messages in turn\n");
    for (int i = 0; i < HPS_PHASES; i++) {
        char text[AMOUNT];
        const hps_cost_wire w = hps_cost_sends(&p->grid.size, (hps_phase)i);
        const double sent = w.bytes + w.group_bytes;
        bytes += sent;
        fprintf(file, "          %-13s %9.4g  %4.1f %%  %17.5g bytes %10s  %8.0f\n", hps_phase_name((hps_phase)i),
                p->seconds[i], 100 * p->seconds[i] / p->step, sent / tokens, amount(sent, text),
                w.messages + w.group_messages);
    }
    char text[AMOUNT];
    fprintf(file, "          %-13s %9.4g          %17.5g bytes %10s\n", "all", p->step, bytes / tokens,
            amount(bytes, text));
}

static void print_time(FILE *file, const hps_plan *p)
{
    char a[32], b[32];

    fprintf(file, "time      %s: %.4g tokens/s, communication %.1f %%; of it evaluations %s; checkpoints come on top\n",
            duration(p->total, a), (double)p->grid.size.B / p->step,
            100 * p->communication / (p->step * (double)p->steps), duration(p->evaluations, b));
}

static void print_key(FILE *file, int groups)
{
    fprintf(file, "          to fix it, write into the configuration: train: {groups: %d}\n", groups);
}

static void print_choice(FILE *file, const hps_plan *p)
{
    char words[HPS_CHOICE_WORDS];

    if (p->groups_auto) {
        fprintf(file, "groups    auto: %s; chosen: %d%s\n", hps_groups_words(&p->groups, words), p->grid.size.R,
                p->groups.none_fits ? ", though none fits into memory" : "");
        print_key(file, p->grid.size.R);
    }
}

static void print_grid(FILE *file, const char *name, const char *when, const hps_grid_point *g, const char *reason)
{
    fprintf(file, "%-9s %s: %d data group%s x %d rank%s of %d thread%s, %d rank%s a node; %s\n", name, when, g->size.R,
            plural(g->size.R), g->size.P, plural(g->size.P), g->size.threads, plural(g->size.threads),
            g->ranks_per_node, plural(g->ranks_per_node), reason);
}

static void print_grids(FILE *file, const hps_plan *p)
{
    char when[64];

    if (p->ensemble.groups > 1) {
        fprintf(file, "grid      is not searched for with several groups; ensemble.groups: 1 has it searched\n");
    } else if (!p->has_best) {
        fprintf(file, "grid      none fits with train.groups %d\n", p->grid.size.R);
    } else {
        snprintf(when, sizeof(when), "best with train.groups %d", p->best.size.R);
        print_grid(file, "grid", when, &p->best, p->reason);
    }
    if (p->has_best_groups && (!p->has_best || p->best_groups.size.R != p->best.size.R)) {
        snprintf(when, sizeof(when), "best of all, train.groups %d", p->best_groups.size.R);
        print_grid(file, "", when, &p->best_groups, p->reason_groups);
        print_key(file, p->best_groups.size.R);
    }
}

void hps_plan_print(FILE *file, const hps_plan_request *r, const hps_plan *p)
{
    print_basis(file, r, p);
    print_run(file, r, p);
    print_ensemble(file, r, p);
    print_memory(file, p);
    print_remedies(file, p);
    print_disk(file, p);
    print_step(file, p);
    print_time(file, p);
    print_choice(file, p);
    print_grids(file, p);
}
