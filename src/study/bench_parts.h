/*
 * The parts of `hpsae bench`: a case that can be stepped, the machine's limits, the step's phases, and what alternates.
 */
#ifndef HPSAE_STUDY_BENCH_PARTS_H
#define HPSAE_STUDY_BENCH_PARTS_H

#include "hpsae/config/config.h"
#include "hpsae/model/cost.h"
#include "hpsae/model/dataset.h"
#include "hpsae/model/feed.h"
#include "hpsae/model/step.h"
#include "hpsae/study/bench.h"

#include <jansson.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- a case: a trainer at its first step, and its batches ---------------------------------------------------------- */

/* What to train.  All but the sizes is as the configuration says. */
typedef struct {
    MPI_Comm comm;            /* of all ranks that train together; borrowed */
    const hps_config *config; /* borrowed; `auto` where it is resolved for each case */
    const hps_kernels *kernels;
    int64_t n, d, k, B;
    int64_t groups;  /* data groups R, which share the batch */
    bool from_store; /* rows of data.store, whose d is the case's; else random ones */
} hps_bench_size;

/* Seconds of a step on this rank. */
typedef struct {
    double phase[HPS_PHASES], step;
} hps_bench_seconds;

typedef struct {
    hps_bench_size size;
    hps_config config; /* a copy of size.config with the case's numbers; its strings are borrowed */
    hps_grid grid;
    hps_model *model;
    hps_trainer *trainer;
    hps_dataset dataset;
    hps_feed *feed;          /* NULL with random rows */
    float *rows, *gradients; /* [batches * B, d] random ones; NULL if not needed */
    int64_t batches;         /* that `rows` holds */
    hps_step_report report;  /* of the latest step */
    hps_step_options options;
} hps_bench_case;

/* Collective over size->comm.  A model with initial values that depend on the sizes and train.seed alone.  Errors, the same
 * on every rank: of the data, HPS_ENOMEM, HPS_ECONFIG.  Release with hps_bench_case_close (collective), also after an error. */
hps_status hps_bench_case_open(const hps_bench_size *size, hps_bench_case *c);
void hps_bench_case_close(hps_bench_case *c);

/* Collective over the case's ranks.  One training step on the next batch. */
hps_status hps_bench_case_step(hps_bench_case *c, hps_bench_seconds *seconds);

/* Local.  The case as the cost model counts it. */
hps_cost_case hps_bench_case_cost(const hps_bench_case *c);

/*
 * Local.  Random activations: row t (of `first`, ...) is a mixture of a few planted directions with heavy-tailed
 * magnitudes and noise, |x| about sqrt(d); a function of (purpose, t) alone.  x [count, ld].  HPS_ENOMEM.
 */
hps_status hps_bench_rows(uint64_t seed, int64_t first, int64_t count, int64_t d, int64_t ld, int threads, float *x);

/* Local.  Initial values: decoder rows random of norm 1, encoder rows the same times `scale`, biases 0.  HPS_ENOMEM. */
hps_status hps_bench_initialise(hps_model *model, double scale, int threads);

/* ---- timing -------------------------------------------------------------------------------------------------------- */

/* Local.  The median, of values that it sorts; 0 of none. */
double hps_bench_median(int64_t count, double *values);

/* Local.  Medians over steps of each phase and of the whole. */
hps_status hps_bench_medians(int64_t steps, const hps_bench_seconds *each, hps_bench_seconds *median);

/*
 * Collective over world.  `warm` steps that do not count, then as many as fill the seconds, at least `least`; all ranks of
 * world start a step together.  The medians on this rank, and how many steps they are of.
 */
typedef struct {
    int warm, least, most;
    double seconds;
} hps_bench_plan;
hps_status hps_bench_run(MPI_Comm world, hps_bench_case *c, const hps_bench_plan *plan, hps_bench_seconds *median,
                         int64_t *steps);

/* ---- limits -------------------------------------------------------------------------------------------------------- */

/* What limits a machine has, in the order of the table. */
typedef enum {
    HPS_LIMIT_SCREEN,    /* flop/s of the screening product, all threads of a rank */
    HPS_LIMIT_FLOAT,     /* flop/s of float32 multiply-adds, all threads of a rank */
    HPS_LIMIT_MEMORY,    /* bytes/s of a triad */
    HPS_LIMIT_LATENCY,   /* seconds of an allreduce of one number, all ranks */
    HPS_LIMIT_ALLREDUCE, /* bytes/s of an allreduce of 64-bit integers: its length over its time */
    HPS_LIMIT_MERGE,     /* candidates/s that a rank merges */
    HPS_LIMIT_READ,      /* bytes/s of the store */
    HPS_LIMITS
} hps_bench_limit;

/* A figure of each rank. */
typedef struct {
    double mine, least, mean, sum; /* NaN where not measured */
    int slowest;                   /* rank of the least; of a latency: of the largest, which is then `least` */
} hps_bench_figure;

typedef struct {
    hps_bench_figure of[HPS_LIMITS];
    int64_t libraries; /* resident in a rank before it allocated, the most of all ranks; 0: not known */
} hps_bench_limits;

/*
 * Collective over world.  Measures the limits with all ranks at once, the best of repetitions in about `seconds`; those of
 * an earlier call are kept where they are better.  c: the case whose kernels, threads, lists and store are meant.
 */
hps_status hps_bench_limits_measure(MPI_Comm world, const hps_bench_case *c, double seconds, bool again,
                                    hps_bench_limits *limits);

/* Local.  As the cost model takes them; what was not measured stays as it is in *cost. */
void hps_bench_limits_cost(const hps_bench_limits *limits, int threads, hps_cost_limits *cost);

void hps_bench_limits_log(const hps_bench_limits *limits, int ranks);
json_t *hps_bench_limits_json(const hps_bench_limits *limits);

/* ---- phases -------------------------------------------------------------------------------------------------------- */

/* Medians on this rank, and how many steps they are of. */
typedef struct {
    hps_bench_seconds median;
    int64_t steps;
} hps_bench_run_result;

/* Collective over world.  Steps of a case, for about so many seconds. */
hps_status hps_bench_steps(MPI_Comm world, hps_bench_case *c, double seconds, hps_bench_run_result *run);

/* Collective over world.  Those steps against the limits: a table in the log, and the keys phases and step of `out`; mean:
 * seconds of each phase, of the ranks' medians. */
void hps_bench_phases(MPI_Comm world, const hps_bench_case *c, const hps_bench_limits *limits,
                      const hps_bench_run_result *run, double mean[HPS_PHASES], json_t *out);

/* Local.  What the cost model expects of the case on so many nodes, beside those means: a table in the log, and the key
 * plan of `out`. */
void hps_bench_expected(const hps_bench_case *c, const hps_calibration *machine, int nodes,
                        const double measured[HPS_PHASES], json_t *out);

/* ---- what alternates ----------------------------------------------------------------------------------------------- */

/* Collective over world.  Every backend in turn; adds the key compare.  HPS_EINTERNAL when the parameters differ. */
hps_status hps_bench_compare(MPI_Comm world, const hps_bench_size *size, double seconds, json_t *out);

/* Collective over world.  One job and independent copies in turn; adds the key copies.  HPS_EINTERNAL as above. */
hps_status hps_bench_copies(MPI_Comm world, const hps_bench_size *size, double seconds, json_t *out);

/* Collective over world.  Measures the cases, fits the cost model, writes it to `path`; adds the key calibration. */
hps_status hps_bench_calibrate(MPI_Comm world, const hps_bench_size *size, const hps_bench_limits *limits,
                               double seconds, const char *path, json_t *out);

#endif
