/* Seconds from counts; the coefficients that limits alone suggest. */
#include "hpsae/model/cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * Assumed, not measured: a core with AVX-512 BF16 of a node with two sockets, all its cores busy, eight ranks a node, one
 * to a NUMA domain; a file system shared by many; 100 Gbit/s between nodes.
 */
static const hps_calibration builtin = {
    .assumed = true,
    .network_assumed = true,
    .host = "assumed",
    .cpu = "64 cores with AVX-512 BF16",
    .backend = "auto",
    .ranks = 8,
    .ranks_per_node = 8,
    .threads = 8,
    .libraries = 23 << 20,
    .limits = {.screen_flops = 2.5e11,
               .float32_flops = 1e11,
               .memory_bytes = 4e10,
               .latency = 2e-5,
               .allreduce_bytes = 1.5e9,
               .merge_pairs = 3e8,
               .read_bytes = 1e9},
    .network = {.latency = 3e-6, .bytes = 1.25e10},
};

static double known(double limit, double otherwise)
{
    return limit > 0 && isfinite(limit) ? limit : otherwise;
}

/* Seconds of one: a float32 and a screening multiply-add of a thread, a byte streamed by a thread, a message, ... */
typedef struct {
    double fma, screen, byte, message, sent, pair, read;
} unit;

static unit units(const hps_calibration *c)
{
    const hps_cost_limits *l = &c->limits, *b = &builtin.limits;
    const bool alone = c->ranks < 2;
    const int ranks = alone ? builtin.ranks : c->ranks;
    const double latency = known(alone ? 0 : l->latency, b->latency);
    const double allreduce = known(alone ? 0 : l->allreduce_bytes, b->allreduce_bytes);

    return (unit){.fma = 2 / known(l->float32_flops, b->float32_flops),
                  .screen = 2 / known(l->screen_flops, b->screen_flops),
                  .byte = c->threads / known(l->memory_bytes, b->memory_bytes),
                  .message = latency / hps_cost_rounds(ranks),
                  .sent = ranks / (2.0 * (ranks - 1) * allreduce),
                  .pair = 1 / known(l->merge_pairs, b->merge_pairs),
                  .read = 1 / known(l->read_bytes, b->read_bytes)};
}

/* In the order of hps_cost_feature_name.  A row that is fetched is four bytes a column, half of them from cache. */
void hps_cost_assume(hps_calibration *c)
{
    const unit u = units(c);
    const double step = 2e-5, fetched = 2 * u.byte + 2 * u.fma, ns = 1e-9;
    const double assumed[HPS_PHASES][HPS_COST_FEATURES] = {
        [HPS_PHASE_IO] = {step, u.read, 8 * u.byte, u.message, u.sent},
        [HPS_PHASE_ENCODE] = {step, u.screen / 0.8, 0.1 * ns, 4 * u.fma, 20 * ns, 4 * u.byte},
        [HPS_PHASE_SELECT] = {step, 8 * u.byte, u.pair, u.message, u.sent, 1.5 * ns, 4 * ns, 4 * u.fma},
        [HPS_PHASE_DECODE] = {step, fetched + 2 * u.fma, 10 * ns, 12 * u.byte, 2 * fetched, 20 * ns, 20 * ns,
                              0.2 * fetched, 0.3 * fetched},
        [HPS_PHASE_AUX] = {ns, u.screen / 0.6, 4 * u.fma, fetched + 2 * u.fma, u.pair, u.message, u.sent, 10 * ns},
        [HPS_PHASE_UPDATE] = {step, 28 * u.byte, fetched, 10 * ns, 4 * ns, 2 * fetched, 8 * u.byte, 12 * u.byte,
                              12 * u.byte, 0.2 * fetched, 0.3 * fetched, 8 * u.byte},
        [HPS_PHASE_COMM] = {step, u.message, u.sent, 2 * ns, u.message, u.sent},
    };

    memcpy(c->coefficient, assumed, sizeof(assumed));
}

void hps_calibration_builtin(hps_calibration *c)
{
    *c = builtin;
    hps_cost_assume(c);
}

/* What crosses between nodes, on top: a collective waits for the network in each round that leaves the node, and the
 * ranks of a node share its way out. */
static double between_nodes(const hps_calibration *c, const hps_cost_case *size, hps_phase phase)
{
    if (size->nodes <= 1) {
        return 0;
    }
    const hps_cost_wire wire = hps_cost_sends(size, phase);
    const double ranks = (double)size->R * size->P / size->nodes;
    const double inside = hps_cost_rounds((int)ranks), model = hps_cost_rounds(size->P),
                 all = hps_cost_rounds(size->R * size->P);
    double rounds = 0, bytes = 0;

    if (size->P > ranks && model > 0) {
        rounds += wire.messages * (model - inside) / model;
        bytes += wire.bytes;
    }
    if (size->R > 1) {
        const double group = hps_cost_rounds(size->R), outside = size->P > ranks ? group : fmin(group, all - inside);
        rounds += wire.group_messages * outside / group;
        bytes += wire.group_bytes;
    }
    return rounds * c->network.latency + bytes * fmax(ranks, 1) / c->network.bytes;
}

double hps_cost_predict(const hps_calibration *c, const hps_cost_case *size, double seconds[HPS_PHASES])
{
    double x[HPS_COST_FEATURES], sum = 0;

    for (int p = 0; p < HPS_PHASES; p++) {
        hps_cost_features(size, (hps_phase)p, x);
        seconds[p] = between_nodes(c, size, (hps_phase)p);
        for (int i = 0; i < HPS_COST_FEATURES; i++) {
            seconds[p] += c->coefficient[p][i] * x[i];
        }
        sum += seconds[p];
    }
    return sum;
}

static bool is_communication(const char *name)
{
    static const char *const names[] = {"messages", "bytes", "pairs", "group_messages", "group_bytes"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

double hps_cost_communication(const hps_calibration *c, const hps_cost_case *size)
{
    double x[HPS_COST_FEATURES], sum = 0;

    for (int p = 0; p < HPS_PHASES; p++) {
        hps_cost_features(size, (hps_phase)p, x);
        sum += between_nodes(c, size, (hps_phase)p);
        for (int i = 0; hps_cost_feature_name((hps_phase)p, i) != NULL; i++) {
            sum += is_communication(hps_cost_feature_name((hps_phase)p, i)) ? c->coefficient[p][i] * x[i] : 0;
        }
    }
    return sum;
}
