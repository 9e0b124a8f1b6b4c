/*
 * The configuration of every command: one struct, described by one table (src/config/schema.c: path, type, default,
 * range, unit, a line of help), read from one YAML file and `-s section.key=value` overrides.
 */
#ifndef HPSAE_CONFIG_CONFIG_H
#define HPSAE_CONFIG_CONFIG_H

#include "hpsae/base/status.h"
#include "hpsae/base/words.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum { HPS_SCALE_NONE, HPS_SCALE_DATASET, HPS_SCALE_TOKEN } hps_scale;
typedef enum { HPS_SELECT_TOPK, HPS_SELECT_BATCH_TOPK, HPS_SELECT_GRADIENT } hps_select;
typedef enum {
    HPS_OBJECTIVE_PLAIN,
    HPS_OBJECTIVE_MULTI_TOPK,
    HPS_OBJECTIVE_HIERARCHICAL,
    HPS_OBJECTIVE_MATRYOSHKA
} hps_objective;
typedef enum {
    HPS_BACKEND_AUTO,
    HPS_BACKEND_REF,
    HPS_BACKEND_PORTABLE,
    HPS_BACKEND_AVX2,
    HPS_BACKEND_AVX512,
    HPS_BACKEND_AVX512VNNI,
    HPS_BACKEND_AVX512BF16,
    HPS_BACKEND_AMX,
    HPS_BACKEND_CUDA
} hps_backend;
typedef enum { HPS_ENSEMBLE_NONE, HPS_ENSEMBLE_BAGGING, HPS_ENSEMBLE_BOOSTING } hps_ensemble_method;
typedef enum { HPS_RESIDUALS_FILE, HPS_RESIDUALS_LIVE } hps_residuals;
typedef enum { HPS_KEEP_LAST, HPS_KEEP_ALL } hps_keep;
typedef enum { HPS_ROWS_HOLDOUT, HPS_ROWS_TRAIN, HPS_ROWS_ALL } hps_rows;
typedef enum { HPS_FORMAT_AUTO, HPS_FORMAT_SAELENS, HPS_FORMAT_SPARSIFY } hps_format;
typedef enum { HPS_STORE_KEEP, HPS_STORE_FLOAT16, HPS_STORE_BFLOAT16, HPS_STORE_FLOAT32 } hps_store_dtype;

/* A list of strings. */
typedef struct {
    char **items;
    int64_t count;
} hps_list;

enum { HPS_PREFIXES_MAX = 32 }; /* most sizes of a Matryoshka dictionary */
enum { HPS_MEMBERS_MAX = 1024, HPS_SWEEP_TOGETHER_MAX = 1024 };

/* A list of whole numbers. */
typedef struct {
    int64_t *items;
    int64_t count;
} hps_ints;

/* A key written `auto` holds this value until the command resolves it. */
#define HPS_AUTO_INT  INT64_MIN
#define HPS_AUTO_REAL (-HUGE_VAL)

typedef struct {
    char *output; /* the one directory that a run writes to */

    struct {
        hps_list store; /* files or directories of the activation store */
        char *hook;     /* dataset under /activations, "" when the store has only one */
        double holdout; /* rows never trained on: a count when >= 1, a share of the store when below 1 */
        hps_scale scale;
        bool skip_bad_rows; /* shuffle leaves out rows with NaN or Inf instead of stopping */
    } data;

    struct {
        int64_t latents, k;
        hps_select select;
        double alpha, beta; /* of the score z (alpha + beta |<w, g>|) of select gradient */
    } model;

    struct {
        hps_objective objective;
        int64_t k_start; /* auto: model.k */
        int64_t k_steps; /* k goes linearly from k_start to model.k over these */
        struct {
            int64_t factor; /* slots factor * k */
            double weight;  /* of L(factor k) beside L(k) */
        } multi;
        struct {
            hps_ints levels; /* empty: 1 .. k */
        } hierarchical;
        struct {
            hps_ints prefixes; /* empty: n/32, then n/16, n/8, n/4 more, and n */
            int64_t random;    /* lengths redrawn each step, n among them; 0: fixed prefixes */
            int64_t smallest;  /* of the random lengths */
        } matryoshka;
        struct {
            int64_t start_step;
            double decay;
        } threshold;       /* BatchTopK's, for use after training */
        int64_t tokens;    /* tokens to train on; the last step is a whole batch */
        int64_t batch;     /* tokens a step over the whole job */
        int64_t groups;    /* data groups R, each of which takes batch / R of them; auto: train and plan choose */
        char *calibration; /* what that choice rests on; "": assumed figures */
        double lr;         /* auto: 2e-4 / sqrt(latents / 16384) */
        int64_t warmup_steps;
        double decay; /* share of the steps at the end over which lr falls linearly to 0 */
        double beta1, beta2, epsilon;
        double clip; /* global gradient norm; 0: no clip */
        double ema;  /* decay of the weight average; 0: none */
        int64_t seed;
        int64_t weight_seed;  /* of the initial parameters alone; auto: seed */
        double encoder_scale; /* initial norm of the encoder's rows; auto: reconstructions have the inputs' mean norm */
        int64_t sample;       /* tokens of the sample for the geometric median, the initial scale and V */
        struct {
            int64_t k; /* auto: the power of two nearest d / 2; 0: no AuxK */
            double coefficient;
            int64_t dead_tokens;
        } aux;
        struct {
            double every_minutes; /* 0: only at the end and at a stop */
            int64_t every_steps;  /* 0: by minutes alone */
            int64_t keep;
        } checkpoint;
        int64_t log_steps;  /* a line in metrics.jsonl, with the checksum, every so many steps */
        int64_t eval_steps; /* held-out ev every so many steps; 0: only at the end */
        double max_minutes; /* 0: no limit */
        bool read_ahead;    /* the next batch is read while a step computes */
        char *resume;       /* auto | never | PATH */
    } train;

    struct {
        hps_ensemble_method method;
        int64_t members;
        hps_ints latents, k; /* of each stage; empty: model.latents, model.k */
        int64_t groups;      /* bagging: groups of ranks that train members side by side; auto: gcd(members, ranks) */
        bool together;       /* bagging: a group's members take each batch in turn, else one is trained after another */
        hps_residuals residuals;
        hps_keep keep; /* of residuals in files */
    } ensemble;

    struct {
        int64_t ranks;    /* of a group that trains one point; auto: by the cost model */
        int64_t together; /* points of the same batches that a group trains at once */
    } sweep;              /* and its points: hpsae/config/sweep.h */

    struct {
        int64_t threads;       /* auto: what OMP_NUM_THREADS or the binding allows */
        int64_t rows, columns; /* P x Q ranks over which matrices are dealt; auto: most nearly square */
        int64_t block;         /* rows and columns of a block */
        double memory;         /* MiB that a rank may hold in arrays */
    } grid;

    struct {
        hps_backend backend;
    } kernels;

    struct {
        int64_t dim; /* columns of the random activations, without a store */
    } bench;

    struct {
        hps_list input; /* files, directories: .h5 .hdf5 .npy .safetensors */
        char *dataset;  /* dataset path in HDF5, tensor name in safetensors; "" when there is only one candidate */
        char *output;   /* the store to write */
        char *hook;     /* name under /activations; "" takes the input's hook name */
        int64_t seed;
        double memory; /* MiB that a rank may hold in its buffers */
        hps_store_dtype dtype;
    } shuffle;

    struct {
        char *output;
        int64_t rows, dim, latents; /* latents: planted features */
        double active;              /* mean number of active features a token */
        double zipf;                /* exponent of the feature frequencies */
        double correlated;          /* share of the features that fire in pairs */
        double hierarchy;           /* share of the features that fire only with their parent */
        double noise;               /* standard deviation a dimension, before storing */
        hps_store_dtype dtype;
        int64_t seed;
    } synth;

    struct {
        char *model;    /* run directory, checkpoint or imported model; "": output */
        hps_list store; /* "": data.store */
        hps_rows rows;
        int64_t batch;
        int64_t curve; /* ev_at_k goes up to so many latents; auto: 4 k */
        int64_t shrinkage_rows;
        bool max_cos;
    } eval;

    struct {
        char *model;    /* as eval.model */
        hps_list store; /* as eval.store */
        hps_rows rows;
        int64_t batch;
        char *output; /* file to write (.h5) */
        bool order;   /* each latent's place by value beside it */
    } encode;

    struct {
        char *model; /* as eval.model */
        hps_format format;
        char *output;    /* folder to write; "": output/export-FORMAT */
        int64_t k;       /* auto: the model's */
        int64_t prefix;  /* only the first so many latents; auto: all */
        char *whitening; /* store that holds the map; none; "": the one that the model was trained on */
    } export;

    struct {
        char *input; /* folder of a SAELens or sparsify dictionary */
        hps_format format;
        char *output; /* model file to write (.h5) */
    } import;

    struct {
        hps_list dictionaries; /* as eval.model */
        hps_list store;        /* as eval.store */
        hps_rows rows;
        int64_t tokens; /* for connectivity; auto: all rows, at most 65536; 0: none */
        int64_t batch;
        int64_t hungarian; /* largest n that is matched */
    } compare;

    struct {
        hps_rows fit, rows;
        int64_t batch;
        char *output;  /* file to write (.h5); "": output/pca.h5 */
        char *whiten;  /* whitened copy of the store to write (.h5); "": none */
        double shrink; /* eps of it, in mean variances */
    } pca;

    struct {
        char *model;    /* as eval.model */
        hps_list store; /* as eval.store */
        hps_rows rows;
        int64_t tokens; /* auto: 16 a latent */
        int64_t batch;
        double ridge;
        char *output; /* model file to write (.h5) */
    } refit;

    struct hps_config_source *source; /* which line of the file or which override said what; private */
} hps_config;

/*
 * Collective over comm (MPI_COMM_NULL: a process without MPI).  Rank 0 reads the file (bench may have none, NULL, and
 * then takes a case of its own); then the `count` overrides ("section.key=value") are applied in order;
 * all ranks get the same configuration, defaults filled in.  The command's name selects which keys are required and
 * which contradictions matter.  Errors: HPS_EIO, HPS_ECONFIG with "FILE:LINE:COLUMN: section.key: what is wrong; what is
 * allowed", or "-s section.key=value: ...".  Strings in the configuration are owned by it (hps_alloc).  Release with
 * hps_config_destroy.
 */
hps_status hps_config_read(MPI_Comm comm, const char *command, const char *path, int count,
                           const char *const *overrides, hps_config **config);

/*
 * Local.  The same from a text (used.yaml's, as a checkpoint carries it); no key is required, no contradiction looked
 * for.  `name` stands for the file in messages.  Errors and release as above.
 */
hps_status hps_config_read_text(const char *name, const char *text, hps_config **config);

/*
 * Local.  A configuration of the same values, with strings and lists of its own; messages speak of the places where `from`
 * was given, which must outlive it.  HPS_ENOMEM.  Release with hps_config_destroy.
 */
hps_status hps_config_copy(const hps_config *from, hps_config **copy);

/* Local.  Frees *config, if not NULL, with its strings, and sets it to NULL. */
void hps_config_destroy(hps_config **config);

/*
 * Local.  Words the failure of a command over a key's value: "FILE:LINE:COLUMN: section.key: WORDS" with the place where
 * the key was given (or would have been), and returns HPS_ECONFIG.  Say what is wrong and what to do.
 */
hps_status hps_config_fail(const hps_config *config, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Local.  Puts numbers in the place of `auto`, once the store is open: train.lr = 2e-4 / sqrt(latents / 16384),
 * train.aux.k = the power of two nearest d / 2 (the lower of two), at most latents; train.k_start = model.k; an empty
 * data.hook becomes `hook`.
 * grid.threads and train.groups are not touched.  Errors: HPS_ENOMEM.
 */
hps_status hps_config_resolve(hps_config *config, int64_t d, const char *hook);

/*
 * Local.  Writes the full configuration as YAML (used.yaml), `auto` only where it has not been resolved.  Keys without
 * a default that were not given are left out; what is written reads back as the same configuration.
 */
hps_status hps_config_write(const hps_config *config, FILE *file);

/* Local.  The same as a string, for the checkpoint; owned by the caller, HPS_FREE. */
hps_status hps_config_text(const hps_config *config, char **text);

/* Collective over comm.  Rank 0 writes DIRECTORY/used.yaml beside the old one and renames it.  Error: HPS_EIO. */
hps_status hps_config_save(MPI_Comm comm, const hps_config *config, const char *directory);

/*
 * Local.  Prints the schema for people, as commented YAML: each key with default, what is allowed, unit and help; only
 * the keys that `command` uses, or all for NULL.
 */
void hps_config_help(FILE *file, const char *command);

/* Local.  How a configuration spells a value of a key that takes words ("model.select"). */
const char *hps_config_word(const char *path, unsigned value);

/*
 * Local.  A hash (64 bits, FNV-1a) of the keys on which the bits of a training run depend (not of paths, limits,
 * checkpoint cadence, grid, backend): what a checkpoint must share with the run that resumes from it.  Of a resolved
 * configuration: `auto` and the number that it stands for hash differently.
 */
uint64_t hps_config_hash(const hps_config *config);

/*
 * Local.  The first such key, "section.key: A here, B there", in which two configurations differ, into text; false if
 * none does.
 */
bool hps_config_difference(const hps_config *here, const hps_config *there, char *text, size_t size);

#endif
