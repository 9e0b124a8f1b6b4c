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

typedef struct {
    MPI_Comm world;
    const hps_train_start *start; /* borrowed */
    hps_config *config;           /* borrowed; resolved */
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
    int64_t state, buffers, starting; /* bytes stated: parameters and moments, all else, and what only the start took */
    hps_evaluation evaluation;        /* the latest */
    hps_interval all;                 /* of the steps since the start */
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

/* Local.  A progress line; the input's figures are this rank's. */
void hps_training_progress(const hps_training *t, const hps_step_report *report, const hps_interval *interval);

/* Collective.  A line of metrics.jsonl with the checksum; evaluated: t->evaluation is of this step. */
hps_status hps_training_record(hps_training *t, const hps_step_report *report, const hps_interval *interval,
                               bool evaluated);

/* Why a run should end; the largest over all ranks counts. */
typedef enum { HPS_GO_ON, HPS_SAVE, HPS_STOP_TIME, HPS_STOP_FILE, HPS_STOP_SIGNAL } hps_wish;

/* Local.  Catches SIGTERM and SIGUSR1 from now on; _restore gives them back. */
void hps_wish_listen(void);
void hps_wish_restore(void);

/* Local.  What this rank wishes for; rank 0 alone looks at the clock and at the file DIRECTORY/stop. */
hps_wish hps_wish_now(int rank, const char *directory, double max_minutes, double save_seconds, double last_save);

/* Local.  In words: "train.max_minutes has passed", ... */
const char *hps_wish_words(hps_wish wish);

#endif
