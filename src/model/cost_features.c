/* What a step counts. */
#include "hpsae/model/cost.h"

#include "hpsae/base/canonical.h"
#include "hpsae/model/topk.h"

#include <math.h>

static const char *const phase_names[HPS_PHASES] = {"io", "encode", "select", "decode", "aux", "gradient_adam", "comm"};

static const char *const feature_names[HPS_PHASES][HPS_COST_FEATURES] = {
    [HPS_PHASE_IO] = {"step", "read_bytes", "widened", "messages", "bytes"},
    [HPS_PHASE_ENCODE] = {"step", "products", "scanned", "rescued", "candidates", "streamed"},
    [HPS_PHASE_SELECT] = {"step", "centred", "pairs", "messages", "bytes", "slots", "sorted", "scored"},
    [HPS_PHASE_DECODE] = {"step", "slot_columns", "slots", "columns", "nested_columns", "nested_slots", "tokens",
                          "far_columns", "nested_far"},
    [HPS_PHASE_AUX] = {"latents", "products", "rescued", "slot_columns", "pairs", "messages", "bytes", "slots"},
    [HPS_PHASE_UPDATE] = {"step", "parameters", "slot_columns", "slots", "latents", "nested_columns", "clipped",
                          "averaged", "summed", "far_columns", "nested_far", "suffixes"},
    [HPS_PHASE_COMM] = {"step", "messages", "bytes", "slots", "group_messages", "group_bytes"},
};

const char *hps_phase_name(hps_phase phase)
{
    return phase_names[phase];
}

const char *hps_cost_feature_name(hps_phase phase, int feature)
{
    return feature < HPS_COST_FEATURES ? feature_names[phase][feature] : NULL;
}

/* The share of the rank that has most. */
typedef struct {
    double B, T;         /* tokens of the group, threads */
    double n, d, own, w; /* latents and columns, and those of the rank */
    double k, aux, dead; /* slots a token, those of AuxK that are filled, dead latents of the rank */
    double brought;      /* candidates a token that the rank brings to a selection of the k largest */
    double aux_brought;  /* and to AuxK's */
    double task;         /* tokens that meet a panel of the encoder together */
    double parameters;   /* that the rank's Adam touches, biases left out */
    double words;        /* bytes of a token in the store, gradients included */
} share;

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* Of count things dealt to P ranks in blocks: the most that a rank has. */
static double most_dealt(int64_t count, int P)
{
    const int64_t blocks = (count + HPS_BLOCK - 1) / HPS_BLOCK, mine = (blocks + P - 1) / P * HPS_BLOCK;

    return (double)(mine < count ? mine : count);
}

/* How the kernels cut a batch: 512 tokens, or fewer where threads would idle. */
static double task_tokens(double B, double threads)
{
    double tokens = 512;

    while (tokens >= 64 && B < 2 * tokens * threads) {
        tokens /= 2;
    }
    return tokens;
}

/*
 * Rows fetched in no order from a table of so many float32 cost the more the less of it a cache holds: by what was seen with
 * 1 to 19 MB, about as much more with each doubling beyond a core's own cache, taken to be 1 MiB.
 */
static double far_share(double numbers)
{
    return fmax(0, log2(numbers * sizeof(float) / 1048576));
}

static share share_of(const hps_cost_case *c)
{
    share s = {.B = (double)c->B / c->R, .T = c->threads, .n = (double)c->n, .d = (double)c->d, .k = (double)c->k};

    s.own = most_dealt(c->n, c->P);
    s.w = most_dealt(c->d, c->P);
    s.aux = least((double)c->aux_k, (double)c->dead / 2); /* of the dead latents about half have a value above 0 */
    s.task = task_tokens(s.B, s.T);
    s.dead = (double)c->dead / c->P;
    s.brought = (double)hps_topk_share(c->k, c->P);
    s.aux_brought = (double)(c->aux_k > 0 ? hps_topk_share(c->aux_k, c->P) : 0);
    s.parameters = s.n * s.w + s.own * s.d;
    s.words = s.d * c->word_bytes * (c->select == HPS_SELECT_GRADIENT ? 2 : 1);
    return s;
}

/* The candidates of so many tokens travel together: to the ranks that merge them, and back. */
static double pieces(const hps_cost_case *c)
{
    return fmax(1, floor((double)c->B / c->R / 1024));
}

/* Collectives of a phase among the model ranks. */
static double collectives(const hps_cost_case *c, hps_phase phase)
{
    const bool aux = c->aux_k > 0 && c->dead > 0;

    switch (phase) {
    case HPS_PHASE_IO:
        return c->select == HPS_SELECT_GRADIENT ? 4 : 2;
    case HPS_PHASE_SELECT:
        return c->select == HPS_SELECT_TOPK ? 1 + 2 * pieces(c) : c->select == HPS_SELECT_BATCH_TOPK ? 8 : 6;
    case HPS_PHASE_AUX:
        return aux ? 2 * pieces(c) : 0;
    case HPS_PHASE_COMM:
        return 4 + (aux ? 1 : 0) + (c->clip ? 1 : 0);
    default:
        return 0;
    }
}

/* Bytes that a rank sends: of an allgather all but its own share once, of an allreduce twice. */
static double model_bytes(const hps_cost_case *c, const share *s, hps_phase phase)
{
    const double others = (double)(c->P - 1) / c->P, pair = 8, number = 8, norm = 4;

    switch (phase) {
    case HPS_PHASE_IO:
        return others * s->B * s->words;
    case HPS_PHASE_SELECT:
        return others * s->B * ((s->k + (c->select == HPS_SELECT_TOPK ? s->brought : 0)) * pair + norm);
    case HPS_PHASE_AUX:
        return s->aux > 0 ? others * s->B * (s->aux_brought + (double)c->aux_k) * pair : 0;
    case HPS_PHASE_COMM:
        return 2 * others * number * (s->B * (s->k + s->aux) + s->n + s->d + 1 + (c->clip ? s->d + 1 : 0));
    default:
        return 0;
    }
}

hps_cost_wire hps_cost_sends(const hps_cost_case *c, hps_phase phase)
{
    const share s = share_of(c);
    hps_cost_wire wire = {.messages = hps_cost_rounds(c->P) * collectives(c, phase),
                          .bytes = model_bytes(c, &s, phase)};

    if (phase == HPS_PHASE_COMM && c->R > 1) {
        wire.group_messages = 4 * hps_cost_rounds(c->R);
        wire.group_bytes = 2 * (double)(c->R - 1) / c->R * sizeof(float) * s.parameters;
    }
    return wire;
}

static void input(const hps_cost_case *c, const share *s, const hps_cost_wire *wire, double x[HPS_COST_FEATURES])
{
    x[0] = 1;
    x[1] = s->B * s->words / c->P;
    x[2] = s->B * s->words / c->word_bytes / s->T;
    x[3] = wire->messages;
    x[4] = wire->bytes;
}

/* Every rank rescues what it brings; where a floor is known beforehand, only what is above it. */
static void encode(const hps_cost_case *c, const share *s, double x[HPS_COST_FEATURES])
{
    const double k = least(c->select == HPS_SELECT_TOPK ? s->brought : s->k, s->own), above = s->k / c->P;

    x[0] = 1;
    x[1] = s->own * s->d * s->B / s->T;
    x[2] = s->own * s->B / s->T;
    x[3] = s->B * s->d *
           (c->select == HPS_SELECT_TOPK         ? k
            : c->select == HPS_SELECT_BATCH_TOPK ? 1.5 * above
                                                 : 8 * above) /
           s->T;
    x[4] = s->B * (c->select == HPS_SELECT_BATCH_TOPK ? 1.5 * above : k * (1 + log(s->own / k))) / s->T;
    x[5] = s->own * s->d * ceil(s->B / s->task / s->T);
}

/* A topk batch: each rank merges all ranks' lists of its part of the tokens, which moves about k for each list. */
static void choose(const hps_cost_case *c, const share *s, const hps_cost_wire *wire, double x[HPS_COST_FEATURES])
{
    x[0] = 1;
    x[1] = s->B * s->d / s->T;
    x[2] = c->select == HPS_SELECT_TOPK ? s->B * s->k * (c->P - 1) / c->P / s->T : 0;
    x[3] = wire->messages;
    x[4] = wire->bytes;
    x[5] = s->B * s->k;
    x[6] = c->select == HPS_SELECT_BATCH_TOPK ? s->B * s->k * log2(s->k + 1) / s->T : 0;
    x[7] = c->select == HPS_SELECT_GRADIENT ? 8 * s->B * s->k * s->w / s->T : 0;
}

static void decode(const hps_cost_case *c, const share *s, double x[HPS_COST_FEATURES])
{
    x[0] = 1;
    x[1] = s->B * s->k * s->w / s->T;
    x[2] = s->B * s->k / s->T;
    x[3] = s->B * s->w / s->T;
    x[4] = c->nested > 0 ? x[1] : 0;
    x[5] = c->nested > 0 ? s->B * s->k : 0;
    x[6] = s->B;
    x[7] = x[1] * far_share(s->n * s->w);
    x[8] = c->nested > 0 ? x[7] : 0;
}

static void revive(const hps_cost_case *c, const share *s, const hps_cost_wire *wire, double x[HPS_COST_FEATURES])
{
    if (c->aux_k == 0) {
        return;
    }
    x[0] = s->n;
    if (s->aux > 0) {
        x[1] = s->dead * s->d * s->B / s->T;
        x[2] = least(s->aux_brought, s->dead) * s->d * s->B / s->T;
        x[3] = s->B * s->aux * s->w / s->T;
        x[4] = s->B * (double)c->aux_k * (c->P - 1) / c->P / s->T;
        x[5] = wire->messages;
        x[6] = wire->bytes;
        x[7] = s->B * s->aux;
    }
}

static void update(const hps_cost_case *c, const share *s, double x[HPS_COST_FEATURES])
{
    const double passes = c->clip ? 2 : 1, slots = s->B * (s->k + s->aux);

    x[0] = 1;
    x[1] = s->parameters / s->T;
    x[2] = passes * slots * (s->w + s->d / c->P) / s->T;
    x[3] = slots;
    x[4] = s->n;
    x[5] = c->nested > 0 ? passes * s->B * s->k * s->w / s->T : 0;
    x[6] = c->clip ? s->parameters / s->T : 0;
    x[7] = c->average ? s->parameters / s->T : 0;
    x[8] = c->R > 1 ? s->parameters / s->T : 0;
    x[9] = passes * slots * (s->w * far_share(s->B * s->w) + s->d / c->P * far_share(s->B * s->d)) / s->T;
    x[10] = x[5] * far_share(s->n * s->w); /* suffix vectors are made from the dictionary's rows again */
    x[11] = passes * least((double)c->nested, s->k) * s->B * s->w / s->T;
}

void hps_cost_features(const hps_cost_case *c, hps_phase phase, double x[HPS_COST_FEATURES])
{
    const share s = share_of(c);
    const hps_cost_wire wire = hps_cost_sends(c, phase);

    for (int i = 0; i < HPS_COST_FEATURES; i++) {
        x[i] = 0;
    }
    switch (phase) {
    case HPS_PHASE_IO:
        input(c, &s, &wire, x);
        break;
    case HPS_PHASE_ENCODE:
        encode(c, &s, x);
        break;
    case HPS_PHASE_SELECT:
        choose(c, &s, &wire, x);
        break;
    case HPS_PHASE_DECODE:
        decode(c, &s, x);
        break;
    case HPS_PHASE_AUX:
        revive(c, &s, &wire, x);
        break;
    case HPS_PHASE_UPDATE:
        update(c, &s, x);
        break;
    default:
        x[0] = 1;
        x[1] = wire.messages;
        x[2] = wire.bytes;
        x[3] = s.B * (s.k + s.aux);
        x[4] = wire.group_messages;
        x[5] = wire.group_bytes;
    }
}
