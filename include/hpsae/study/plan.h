/*
 * A training run before it is submitted: memory, disk, bytes on the wire, time to finish, the grid to use; without MPI, on
 * any machine.
 */
#ifndef HPSAE_STUDY_PLAN_H
#define HPSAE_STUDY_PLAN_H

#include "hpsae/model/groups_choice.h"
#include "hpsae/model/rehearse.h"

#include <jansson.h>
#include <stdio.h>

/* What is asked; 0 or NULL leaves open. */
typedef struct {
    hps_config *config; /* read for train; borrowed; `auto` is filled in */
    int nodes, ranks_per_node;
    int threads;              /* of a rank; 0: as the bench file measured, or grid.threads */
    double node_bytes;        /* memory of a node; 0: not known */
    int64_t d, rows;          /* of the activations; d 0: the store says; rows 0: as many as the tokens to train on */
    hps_dtype dtype;          /* of the activations, where d is given */
    double dead;              /* share of the latents that AuxK finds dead, 0 .. 1 */
    const char *bench;        /* calibration file; NULL: train.calibration */
    hps_cost_network network; /* bytes > 0: in place of the file's */
} hps_plan_request;

/* How an ensemble is trained; one member, one group, all else 0 without one. */
typedef struct {
    hps_ensemble_method method;
    int members, groups;     /* groups of ranks side by side; the layout and memory are those of one */
    int in_turn, at_once;    /* members of a group, and how many of them it holds at once */
    int64_t residual_bytes;  /* of the residuals of all rows before one stage; 0: none are written */
    int residual_sets;       /* that stand at once */
    double residual_seconds; /* of all passes, or live of all forward passes through earlier stages */
} hps_plan_ensemble;

typedef struct {
    hps_calibration machine;
    const hps_kernels *kernels; /* whose buffers are counted */
    char wanted[HPS_COST_TEXT]; /* the kernels that the run is to use, where this CPU cannot run them; else "" */
    hps_store_info data;        /* strings are not set */
    bool gradients;
    hps_plan_ensemble ensemble;
    const char *bench; /* the calibration file that was read; borrowed; NULL: none */
    bool groups_auto;  /* train.groups was auto: `groups` says how it was chosen */
    hps_groups_choice groups;
    hps_grid_point grid;  /* as asked for */
    hps_memory_plan rank; /* of the rank that holds most */
    int64_t libraries;    /* of a rank */
    int64_t rank_bytes;   /* all of it, libraries included */
    double node_limit;    /* 0: not known */
    bool fits;
    double seconds[HPS_PHASES], step; /* s */
    double communication;             /* s, of one member's steps */
    double evaluations, total;        /* s, of the whole run with all members */
    int64_t steps;
    int64_t checkpoint, keep, metrics; /* bytes of one, how many stay, bytes of metrics.jsonl */
    double input;                      /* bytes a second that the job reads */
    bool has_best, has_best_groups;
    hps_grid_point best, best_groups; /* at train's number of groups, and at any */
    char reason[HPS_REASON], reason_groups[HPS_REASON];
    int64_t nodes_needed, batch_possible,
        latents_possible; /* when it does not fit: each alone would do; 0: nothing would */
} hps_plan;

/*
 * Local, without MPI.  Errors: HPS_EARG (an option), HPS_ECONFIG, HPS_EIO, HPS_EFORMAT (store, bench file), HPS_ENOMEM.
 * Release with hps_plan_release.
 */
hps_status hps_plan_make(const hps_plan_request *request, hps_plan *plan);
void hps_plan_release(hps_plan *plan);

/* Local.  The plan for people; its first line says what the figures rest on. */
void hps_plan_print(FILE *file, const hps_plan_request *request, const hps_plan *plan);

/* What the job is to run; borrowed. */
typedef struct {
    const char *config;
    int count;
    const char *const *overrides; /* [count] */
} hps_plan_command;

/*
 * Local.  A job script for Slurm that trains as planned, from the current directory: nodes, ranks, threads, memory and time
 * of the plan, signals and requeueing by jobs/launch.sh, which is looked for beside the program.  Errors: HPS_EARG (it
 * does not fit into the memory of a node), HPS_EIO (no launch.sh); then nothing is written.
 */
hps_status hps_plan_sbatch(FILE *file, const hps_plan_request *request, const hps_plan *plan,
                           const hps_plan_command *command);

/* Local.  The same for programs, "format": "hpsae plan 1"; a new reference, NULL without memory. */
json_t *hps_plan_json(const hps_plan *plan);

#endif
