/*
 * The cost of a step before it runs: for each phase a few counts (features: multiply-adds, slots, bytes, messages) that
 * follow from the sizes, times coefficients (seconds of one) that a bench file gives, or assumed limits of a machine.
 */
#ifndef HPSAE_MODEL_COST_H
#define HPSAE_MODEL_COST_H

#include "hpsae/base/status.h"
#include "hpsae/config/config.h"
#include "hpsae/model/step.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What decides the time of a step. */
typedef struct {
    int64_t n, d, B;     /* latents, columns, tokens a step of the whole job */
    int64_t k;           /* slots a token that the selection delivers (multi_topk: factor * k) */
    int64_t aux_k, dead; /* latents that AuxK reconstructs with, dead latents (0: AuxK does not run) */
    hps_select select;   /* HPS_SELECT_GRADIENT reads gradients beside the activations */
    int64_t nested;      /* partial reconstructions of a token that the loss counts; 0: the whole alone */
    bool clip, average;  /* train.clip > 0, train.ema > 0 */
    int word_bytes;      /* of a stored activation */
    int R, P, threads;   /* data groups, model ranks of each, threads of a rank */
    int nodes;           /* that the R P ranks fill evenly, in order */
} hps_cost_case;

/* The share of the latents that AuxK is taken to find dead where nothing says otherwise. */
#define HPS_DEAD_ASSUMED 0.05

/*
 * Local.  Of a resolved configuration on activations of d columns of so many bytes each; `dead`: share of the latents, as
 * above.  On one rank of one thread: R, P, threads, nodes are for the caller.
 */
hps_cost_case hps_cost_case_of(const hps_config *config, int64_t d, int word_bytes, double dead);

/* Limits of a machine, with all its threads busy. */
typedef struct {
    double screen_flops;    /* of the screening product, a thread and second */
    double float32_flops;   /* of float32 multiply-adds, a thread and second */
    double memory_bytes;    /* streamed, a rank and second */
    double latency;         /* seconds of a small allreduce of all ranks */
    double allreduce_bytes; /* a second, of a large allreduce: its length over its time */
    double merge_pairs;     /* candidates that one rank merges a second */
    double read_bytes;      /* of the store, a rank and second */
} hps_cost_limits;

/* Between nodes. */
typedef struct {
    double latency; /* seconds of a message */
    double bytes;   /* a second, out of a node */
} hps_cost_network;

/* A measured case: seconds a step of each phase, the mean over the ranks of the medians over steps. */
typedef struct {
    hps_cost_case size;
    double seconds[HPS_PHASES];
} hps_cost_measurement;

enum { HPS_COST_FEATURES = 12, HPS_COST_TEXT = 128 };

/* What is known of a machine: made by `hpsae bench`, read by `hpsae plan`. */
typedef struct {
    bool assumed;         /* the built-in table: nothing was measured */
    bool network_assumed; /* the network's figures were not measured */
    char host[HPS_COST_TEXT], cpu[HPS_COST_TEXT], backend[HPS_COST_TEXT];
    int ranks, ranks_per_node, threads; /* of the measurement */
    int64_t libraries;                  /* resident in a rank before it allocates; 0: not known */
    hps_cost_limits limits;
    hps_cost_network network;
    double coefficient[HPS_PHASES][HPS_COST_FEATURES]; /* seconds of one, >= 0 */
    hps_cost_measurement *measured;                    /* [count]; owned (hps_alloc), NULL without any */
    int64_t count;
} hps_calibration;

/* Local.  ceil(log2 ranks): the messages that wait for one another in a collective of so many. */
static inline double hps_cost_rounds(int ranks)
{
    double rounds = 0;

    for (int64_t reached = 1; reached < ranks; reached *= 2) {
        rounds++;
    }
    return rounds;
}

/* Local.  A phase as metrics.jsonl names it: "io" "encode" "select" "decode" "aux" "gradient_adam" "comm". */
const char *hps_phase_name(hps_phase phase);

/* Local.  The features of a phase on the slowest rank; those that the phase does not have are 0. */
void hps_cost_features(const hps_cost_case *c, hps_phase phase, double x[HPS_COST_FEATURES]);

/* Local.  The name of a feature ("products", "slots", ...), NULL beyond the phase's last. */
const char *hps_cost_feature_name(hps_phase phase, int feature);

/*
 * Local.  What a step sends: messages that wait for one another (a collective of P ranks counts ceil(log2 P)) and bytes that
 * a rank sends, in all and a phase.  Model messages are those among the P ranks of a group, group messages those among
 * the R groups.
 */
typedef struct {
    double messages, bytes;             /* among the model ranks */
    double group_messages, group_bytes; /* among the groups */
} hps_cost_wire;
hps_cost_wire hps_cost_sends(const hps_cost_case *c, hps_phase phase);

/*
 * Local.  Coefficients from c->limits alone: what each count costs where the phase runs at a stated share of the limit.
 * A limit that is not above 0 (an allreduce on one rank) is taken from the built-in figures.
 */
void hps_cost_assume(hps_calibration *c);

/* Local.  The built-in figures: an AVX-512 server core of a shared host, a 100 Gbit/s network; assumed is true. */
void hps_calibration_builtin(hps_calibration *c);

/*
 * Local.  c->coefficient from c->measured: of each phase the non-negative least squares of the relative errors, weakly
 * drawn to what hps_cost_assume gives for c->limits, so that a count that the measurements do not tell apart keeps it.
 * HPS_ENOMEM; HPS_EARG without measurements.
 */
hps_status hps_cost_fit(hps_calibration *c);

/*
 * Local.  Seconds a step of each phase; returns their sum.  With nodes > 1 messages between nodes cost c->network's
 * figures on top.
 */
double hps_cost_predict(const hps_calibration *c, const hps_cost_case *size, double seconds[HPS_PHASES]);

/* Local.  The part of those seconds that is messages: latency and bytes of every phase. */
double hps_cost_communication(const hps_calibration *c, const hps_cost_case *size);

/*
 * Local.  A calibration as JSON, "format": "hpsae bench 1"; keys that are not known are left alone by the reader.  A new
 * reference; NULL without memory.
 */
json_t *hps_calibration_json(const hps_calibration *c);

/* Local.  From a file.  HPS_EIO, HPS_EFORMAT with the file and key, HPS_ENOMEM.  Release with hps_calibration_release. */
hps_status hps_calibration_read(const char *path, hps_calibration *c);
void hps_calibration_release(hps_calibration *c);

#endif
