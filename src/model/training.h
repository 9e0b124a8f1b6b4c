/*
 * The parts of a training run, between the files that set it up, drive it and report on it.
 */
#ifndef HPSAE_MODEL_TRAINING_H
#define HPSAE_MODEL_TRAINING_H

#include "hpsae/base/report.h"
#include "hpsae/config/config.h"
#include "hpsae/model/dataset.h"
#include "hpsae/model/evaluate.h"
#include "hpsae/model/feed.h"
#include "hpsae/model/groups_choice.h"
#include "hpsae/model/step.h"
#include "hpsae/model/train.h"

/* How steps went, since the last line of metrics.jsonl or since the start. */
typedef struct {
    int64_t steps;
    double seconds, phase[HPS_PHASES];
    double waiting; /* seconds for words of the input that were not there yet */
    int64_t bytes;  /* of input that this rank read */
    double reading; /* seconds that took, by a thread beside the steps or in between */
} hps_interval;

/* How the number of data groups came about, where train.groups is auto.  The same on every rank. */
typedef struct {
    bool made;
    hps_groups_choice choice; /* count 0: not known, since the calibration of a resumed run could not be read */
    int groups;               /* that the run has: chosen, or the checkpoint's */
    bool resumed;
} hps_training_groups;

typedef struct hps_training {
    MPI_Comm world;
    hps_config *config; /* borrowed; resolved */
    const char *name;   /* in the log; borrowed, as are job and change */
    const hps_train_job *job;
    const hps_feed_change *change;    /* of feed and heldout; NULL: none */
    bool shares;                      /* its feeds with other members */
    const struct hps_training *first; /* the member whose dataset and feeds this one uses; NULL: its own */
    hps_training_groups groups;
    hps_grid grid;
    hps_dataset dataset;
    const hps_kernels *kernels;
    hps_model *model;
    hps_trainer *trainer;
    hps_feed *feed, *heldout; /* heldout NULL without held-out rows */
    hps_feed *gradients;      /* of the training rows, in the same order; NULL without selection by gradient */
    hps_run *run;             /* run.json */
    hps_metrics *metrics;     /* rank 0 */
    hps_step_options options;
    char *text;                       /* of the configuration, for checkpoints; hps_alloc */
    uint64_t hash;                    /* of the configuration */
    int64_t resident_at_start;        /* bytes, before anything was allocated */
    int64_t live_at_start;            /* bytes that belong to others */
    int64_t device_left;              /* bytes that the fullest device had free at the start; 0: no device */
    int64_t state, buffers, starting; /* bytes stated: parameters and moments, all else, and what only the start took */
    hps_evaluation evaluation;        /* the latest */
    hps_step_report report;           /* of the latest step */
    hps_interval interval, shown;     /* since the last line of metrics.jsonl, since the last line of progress */
    hps_interval all;                 /* of the steps since the start */
    hps_train_result result;
    bool stepped; /* in this round of all members */
} hps_training;

/* Local.  Adds one to another. */
void hps_interval_add(const hps_interval *part, hps_interval *sum);

/* Collective over t->grid.  The feeds of the rows to train on, of their gradients, of the held-out rows. */
hps_status hps_training_feeds(hps_training *t);

/*
 * Collective over t->world.  train.groups: auto becomes a number: of a new run that which the cost model finds fastest for
 * these ranks, else that of the checkpoint at `path`; a line in the log says which and why.  The data are open, the kernels
 * chosen, all else in the configuration resolved.  Errors: of the calibration (of a resumed run it is only warned of);
 * HPS_ECONFIG when no number will do or the checkpoint's does not divide the ranks.
 */
hps_status hps_training_choose_groups(hps_training *t, const char *path);

/* Local.  Notes in run.json how train.groups: auto was decided. */
void hps_training_note_groups(hps_training *t);

/* Collective over t->world.  Opens the data, finds what to resume, makes the model and the trainer. */
hps_status hps_training_prepare(hps_training *t);
void hps_training_release(hps_training *t);

/* Collective over t->world.  Writes a checkpoint of the model as it stands, and prunes the older ones. */
hps_status hps_training_checkpoint(hps_training *t);

/* Collective.  Evaluates the held-out rows, with the averaged weights if there are any, into t->evaluation. */
hps_status hps_training_evaluate(hps_training *t);

/* Local.  What the run is and what memory it takes, before the first step. */
void hps_training_introduce(const hps_training *t);

/* Collective.  Notes in run.json, and in the log, how fast the input came and how much of the time was spent waiting for it. */
void hps_training_note_input(hps_training *t);

/* Collective.  Notes in run.json what memory was stated and what was resident at most, the largest of all ranks. */
void hps_training_note_memory(hps_training *t);

/* Local.  A progress line, of t->shown; the input's figures are this rank's. */
void hps_training_progress(const hps_training *t);

/* Collective.  A line of metrics.jsonl with the checksum, of t->interval; evaluated: t->evaluation is of this step. */
hps_status hps_training_record(hps_training *t, bool evaluated);

#endif
