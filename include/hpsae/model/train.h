/*
 * A training run: from a configuration to a directory with checkpoints, metrics.jsonl, run.json and used.yaml, going on
 * where an earlier run of the same configuration stopped, on any number of ranks.
 */
#ifndef HPSAE_MODEL_TRAIN_H
#define HPSAE_MODEL_TRAIN_H

#include "hpsae/config/config.h"
#include "hpsae/model/evaluate.h"
#include "hpsae/model/feed.h"
#include "hpsae/model/step.h"
#include "hpsae/model/wish.h"

#include <mpi.h>
#include <stdbool.h>

/* One dictionary to train. */
typedef struct {
    hps_config *config;            /* its own; `auto` is filled in */
    const char *name;              /* in the log: "train", "member-2"; borrowed */
    const hps_feed_change *change; /* what the store's rows go through before they train; NULL: nothing; borrowed */
} hps_train_member;

/* How it is trained. */
typedef struct {
    bool dry_run; /* checks everything, allocates everything, and writes nothing */
    int argc;     /* the command line, for run.json */
    char *const *argv;
    const char *threads_from; /* where the number of threads comes from, in words */
    hps_wish_sources ends;    /* what may end the training early; a file `stop` is then removed */
} hps_train_job;

/* What came of it. */
typedef struct {
    uint64_t checksum;    /* of the values */
    uint64_t config_hash; /* of the configuration, resolved */
    hps_norm norm;        /* as in hps_model, as are scale, n, d, k */
    double scale;
    int64_t n, d, k;
    hps_evaluation evaluation; /* the latest on the held-out rows; rows 0: there was none */
} hps_train_result;

/*
 * Collective over world.  Trains as a configuration says; fills in what is `auto` there (grid.threads was filled in
 * before).  With several members, which
 * differ in output and weight seed alone, they take each batch in turn, and it is read once; those behind, after an end
 * at a moment that nobody chose, first catch up.  Each leaves the bits that it leaves alone.  result [members], or NULL.
 *
 * Returns HPS_OK when all tokens are trained on; HPS_STOPPED after a checkpoint when SIGTERM, SIGUSR1, a file `stop`,
 * job->ends or train.max_minutes (of the first member) asked for an end.  Errors: HPS_ECONFIG, HPS_EIO, HPS_EFORMAT,
 * HPS_ENOMEM; HPS_ENUMERIC when the training diverged.
 */
hps_status hps_train(MPI_Comm world, int members, const hps_train_member *member, const hps_train_job *job,
                     hps_train_result *result);

/*
 * Local.  Floating-point operations that the algorithm needs for a number of tokens: 2 n d for the encoder's product of each,
 * 8 k d for what is sparse (decoder, its gradient with respect to the codes, both weight gradients; 2 k d each).
 */
double hps_training_flops(int64_t n, int64_t d, int64_t k, double tokens);

/* Local.  What a configuration that is resolved says of the step (V as in hps_step_options; lists are borrowed), and which
 * roles its model has. */
hps_step_options hps_training_options(const hps_config *config, double V);
unsigned hps_training_roles(const hps_config *config);

#endif
