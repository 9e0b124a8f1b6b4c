#include "schema.h"

#define AT(field)        offsetof(hps_config, field)
#define RANGE(low, high) .lowest = (low), .highest = (high)
#define ANY              INFINITY

enum { LATENTS_MAX = 2147483646, BATCH_MAX = 16777216 };

#define WORDS(name, ...) static const hps_word name[] = {__VA_ARGS__, {NULL, 0}}
WORDS(scales, {"none", HPS_SCALE_NONE}, {"dataset", HPS_SCALE_DATASET}, {"token", HPS_SCALE_TOKEN});
WORDS(selects, {"topk", HPS_SELECT_TOPK});
WORDS(objectives, {"plain", HPS_OBJECTIVE_PLAIN});
WORDS(backends, {"auto", HPS_BACKEND_AUTO}, {"ref", HPS_BACKEND_REF}, {"blas", HPS_BACKEND_BLAS});
WORDS(rows, {"holdout", HPS_ROWS_HOLDOUT}, {"train", HPS_ROWS_TRAIN}, {"all", HPS_ROWS_ALL});
WORDS(formats_in, {"auto", HPS_FORMAT_AUTO}, {"saelens", HPS_FORMAT_SAELENS}, {"sparsify", HPS_FORMAT_SPARSIFY});
WORDS(formats_out, {"saelens", HPS_FORMAT_SAELENS}, {"sparsify", HPS_FORMAT_SPARSIFY});
WORDS(dtypes_kept, {"keep", HPS_STORE_KEEP}, {"float16", HPS_STORE_FLOAT16}, {"bfloat16", HPS_STORE_BFLOAT16},
      {"float32", HPS_STORE_FLOAT32});
WORDS(dtypes, {"float16", HPS_STORE_FLOAT16}, {"bfloat16", HPS_STORE_BFLOAT16}, {"float32", HPS_STORE_FLOAT32});

const hps_key hps_schema[] = {
    {"output", HPS_KEY_STRING, AT(output), .needed = HPS_FOR_TRAIN,
     .used = HPS_FOR_TRAIN | HPS_FOR_EVAL | HPS_FOR_EXPORT, .help = "the one directory that a run writes to"},

    {"data.store", HPS_KEY_LIST, AT(data.store), .needed = HPS_FOR_TRAIN, .used = HPS_FOR_TRAIN | HPS_FOR_EVAL,
     .help = "the activation store: HDF5 files, or directories of them, one store in the order given"},
    {"data.hook", HPS_KEY_STRING, AT(data.hook), "", .hashed = true, .used = HPS_FOR_TRAIN | HPS_FOR_EVAL,
     .help = "dataset under /activations, or an absolute path in the file; \"\": the only one there is"},
    {"data.holdout", HPS_KEY_REAL, AT(data.holdout), "0.02", RANGE(0, ANY), .hashed = true,
     .used = HPS_FOR_TRAIN | HPS_FOR_EVAL, .unit = "rows, or below 1 a share of the store",
     .help = "what is never trained on and held back for evaluation"},
    {"data.scale", HPS_KEY_WORD, AT(data.scale), "dataset", .words = scales, .hashed = true, .used = HPS_FOR_TRAIN,
     .help = "dataset: one factor, so that the mean squared norm is d; token: mean removed and norm sqrt(d), each"},
    {"data.skip_bad_rows", HPS_KEY_BOOL, AT(data.skip_bad_rows), "false", .used = HPS_FOR_SHUFFLE,
     .help = "leave out rows with NaN or infinity instead of stopping"},

    {"model.latents", HPS_KEY_INT, AT(model.latents), RANGE(1, LATENTS_MAX), .hashed = true, .needed = HPS_FOR_TRAIN,
     .used = HPS_FOR_TRAIN, .help = "size n of the dictionary"},
    {"model.k", HPS_KEY_INT, AT(model.k), RANGE(1, LATENTS_MAX), .hashed = true, .needed = HPS_FOR_TRAIN,
     .used = HPS_FOR_TRAIN, .help = "latents that a token may use, at most model.latents"},
    {"model.select", HPS_KEY_WORD, AT(model.select), "topk", .words = selects, .hashed = true, .used = HPS_FOR_TRAIN,
     .help = "which latents a token uses: the k largest pre-activations (Gao et al. 2024)"},

    {"train.objective", HPS_KEY_WORD, AT(train.objective), "plain", .words = objectives, .hashed = true,
     .used = HPS_FOR_TRAIN, .help = "squared error of the whole reconstruction"},
    {"train.tokens", HPS_KEY_INT, AT(train.tokens), RANGE(1, ANY), .hashed = true, .needed = HPS_FOR_TRAIN,
     .used = HPS_FOR_TRAIN, .unit = "tokens", .help = "length of the training; the last step is a whole batch"},
    {"train.batch", HPS_KEY_INT, AT(train.batch), "4096", RANGE(1, BATCH_MAX), .hashed = true, .used = HPS_FOR_TRAIN,
     .unit = "tokens", .help = "tokens a step over the whole job"},
    {"train.lr", HPS_KEY_REAL, AT(train.lr), "auto", RANGE(0, 1), .above = true, .automatic = true, .hashed = true,
     .used = HPS_FOR_TRAIN, .help = "learning rate; auto: 2e-4 / sqrt(latents / 16384)"},
    {"train.warmup_steps", HPS_KEY_INT, AT(train.warmup_steps), "1000", RANGE(0, ANY), .hashed = true,
     .used = HPS_FOR_TRAIN, .unit = "steps", .help = "lr rises linearly from 0 over these"},
    {"train.decay", HPS_KEY_REAL, AT(train.decay), "0.2", RANGE(0, 1), .hashed = true, .used = HPS_FOR_TRAIN,
     .unit = "share of the steps", .help = "at the end lr falls linearly to 0 over these"},
    {"train.beta1", HPS_KEY_REAL, AT(train.beta1), "0.9", RANGE(0, 1), .below = true, .hashed = true,
     .used = HPS_FOR_TRAIN, .help = "Adam: decay of the first moment"},
    {"train.beta2", HPS_KEY_REAL, AT(train.beta2), "0.999", RANGE(0, 1), .below = true, .hashed = true,
     .used = HPS_FOR_TRAIN, .help = "Adam: decay of the second moment"},
    {"train.epsilon", HPS_KEY_REAL, AT(train.epsilon), "6.25e-10", RANGE(0, 1), .above = true, .hashed = true,
     .used = HPS_FOR_TRAIN, .help = "Adam: added to the root of the second moment"},
    {"train.clip", HPS_KEY_REAL, AT(train.clip), "0", RANGE(0, ANY), .hashed = true, .used = HPS_FOR_TRAIN,
     .help = "largest norm of the whole gradient; 0: no clip"},
    {"train.ema", HPS_KEY_REAL, AT(train.ema), "0", RANGE(0, 1), .below = true, .hashed = true, .used = HPS_FOR_TRAIN,
     .help = "decay of the running average of the weights; 0: no average"},
    {"train.seed", HPS_KEY_INT, AT(train.seed), "1", RANGE(0, ANY), .hashed = true, .used = HPS_FOR_TRAIN,
     .help = "every random number of the run follows from it"},
    {"train.sample", HPS_KEY_INT, AT(train.sample), "32768", RANGE(1, BATCH_MAX), .hashed = true, .used = HPS_FOR_TRAIN,
     .unit = "tokens", .help = "sample for the initial bias, the initial scale and V"},
    {"train.aux.k", HPS_KEY_INT, AT(train.aux.k), "auto", RANGE(0, LATENTS_MAX), .automatic = true, .hashed = true,
     .used = HPS_FOR_TRAIN,
     .help = "dead latents that rebuild a token's error; auto: power of two nearest d/2; 0: none"},
    {"train.aux.coefficient", HPS_KEY_REAL, AT(train.aux.coefficient), "0.03125", RANGE(0, ANY), .hashed = true,
     .used = HPS_FOR_TRAIN, .help = "weight of that loss (AuxK, Gao et al. 2024, A.2)"},
    {"train.aux.dead_tokens", HPS_KEY_INT, AT(train.aux.dead_tokens), "10e6", RANGE(1, ANY), .hashed = true,
     .used = HPS_FOR_TRAIN | HPS_FOR_EVAL, .unit = "tokens",
     .help = "a latent silent for so long over the whole job is dead"},
    {"train.checkpoint.every_minutes", HPS_KEY_REAL, AT(train.checkpoint.every_minutes), "10", RANGE(0, ANY),
     .used = HPS_FOR_TRAIN, .unit = "minutes", .help = "between checkpoints; 0: only at the end and at a stop"},
    {"train.checkpoint.every_steps", HPS_KEY_INT, AT(train.checkpoint.every_steps), "0", RANGE(0, ANY),
     .used = HPS_FOR_TRAIN, .unit = "steps", .help = "between checkpoints; 0: by minutes alone"},
    {"train.checkpoint.keep", HPS_KEY_INT, AT(train.checkpoint.keep), "2", RANGE(1, 1000), .used = HPS_FOR_TRAIN,
     .unit = "files", .help = "newest checkpoints that are kept"},
    {"train.log_steps", HPS_KEY_INT, AT(train.log_steps), "10", RANGE(1, ANY), .used = HPS_FOR_TRAIN, .unit = "steps",
     .help = "between lines of metrics.jsonl, each with the checksum of the parameters"},
    {"train.eval_steps", HPS_KEY_INT, AT(train.eval_steps), "200", RANGE(0, ANY), .used = HPS_FOR_TRAIN,
     .unit = "steps", .help = "between evaluations on the held-out rows; 0: only at the end"},
    {"train.max_minutes", HPS_KEY_REAL, AT(train.max_minutes), "0", RANGE(0, ANY), .used = HPS_FOR_TRAIN,
     .unit = "minutes", .help = "then stop with a checkpoint, exit status 75; 0: no limit"},
    {"train.resume", HPS_KEY_STRING, AT(train.resume), "auto", .used = HPS_FOR_TRAIN,
     .help = "auto: from the newest checkpoint in output, if any; never; or the path of a checkpoint"},

    {"grid.groups", HPS_KEY_INT, AT(grid.groups), "1", RANGE(1, 1048576), .used = HPS_FOR_TRAIN | HPS_FOR_EVAL,
     .help = "data groups R; the ranks of one group share one dictionary"},
    {"grid.threads", HPS_KEY_INT, AT(grid.threads), "auto", RANGE(1, 4096), .automatic = true, .used = HPS_FOR_ALL,
     .help = "OpenMP threads a rank; auto: what OMP_NUM_THREADS or the binding allows"},

    {"kernels.backend", HPS_KEY_WORD, AT(kernels.backend), "auto", .words = backends,
     .used = HPS_FOR_TRAIN | HPS_FOR_EVAL,
     .help = "how the encoder's product is computed; the result is the same bits"},

    {"shuffle.input", HPS_KEY_LIST, AT(shuffle.input), .needed = HPS_FOR_SHUFFLE, .used = HPS_FOR_SHUFFLE,
     .help = "files, or directories of them: .h5 .hdf5 .npy .safetensors"},
    {"shuffle.dataset", HPS_KEY_STRING, AT(shuffle.dataset), "", .used = HPS_FOR_SHUFFLE,
     .help = "dataset path in HDF5, tensor in safetensors; \"\": the only one there is"},
    {"shuffle.output", HPS_KEY_STRING, AT(shuffle.output), .needed = HPS_FOR_SHUFFLE, .used = HPS_FOR_SHUFFLE,
     .help = "the store to write"},
    {"shuffle.hook", HPS_KEY_STRING, AT(shuffle.hook), "", .used = HPS_FOR_SHUFFLE,
     .help = "name under /activations; \"\": the input's"},
    {"shuffle.seed", HPS_KEY_INT, AT(shuffle.seed), "1", RANGE(0, ANY), .used = HPS_FOR_SHUFFLE,
     .help = "the permutation depends on it alone"},
    {"shuffle.memory", HPS_KEY_REAL, AT(shuffle.memory), "1024", RANGE(1, ANY), .used = HPS_FOR_SHUFFLE,
     .unit = "MiB a rank", .help = "for all buffers together"},
    {"shuffle.dtype", HPS_KEY_WORD, AT(shuffle.dtype), "keep", .words = dtypes_kept, .used = HPS_FOR_SHUFFLE,
     .help = "stored numbers; keep: as in the input"},

    {"synth.output", HPS_KEY_STRING, AT(synth.output), .needed = HPS_FOR_SYNTH, .used = HPS_FOR_SYNTH,
     .help = "the store to write, with the truth in it"},
    {"synth.rows", HPS_KEY_INT, AT(synth.rows), RANGE(1, ANY), .needed = HPS_FOR_SYNTH, .used = HPS_FOR_SYNTH,
     .unit = "tokens", .help = "rows of the store"},
    {"synth.dim", HPS_KEY_INT, AT(synth.dim), RANGE(1, 1048576), .needed = HPS_FOR_SYNTH, .used = HPS_FOR_SYNTH,
     .help = "columns d"},
    {"synth.latents", HPS_KEY_INT, AT(synth.latents), RANGE(1, LATENTS_MAX), .needed = HPS_FOR_SYNTH,
     .used = HPS_FOR_SYNTH, .help = "planted features"},
    {"synth.active", HPS_KEY_REAL, AT(synth.active), "16", RANGE(0, ANY), .above = true, .used = HPS_FOR_SYNTH,
     .unit = "features a token", .help = "mean number that are active, at most synth.latents"},
    {"synth.zipf", HPS_KEY_REAL, AT(synth.zipf), "1", RANGE(0, 10), .used = HPS_FOR_SYNTH,
     .help = "exponent of the frequencies; 0: all alike"},
    {"synth.correlated", HPS_KEY_REAL, AT(synth.correlated), "0", RANGE(0, 1), .used = HPS_FOR_SYNTH,
     .unit = "share of the features", .help = "fire in pairs"},
    {"synth.hierarchy", HPS_KEY_REAL, AT(synth.hierarchy), "0", RANGE(0, 1), .used = HPS_FOR_SYNTH,
     .unit = "share of the features", .help = "fire only when their parent does"},
    {"synth.noise", HPS_KEY_REAL, AT(synth.noise), "0.01", RANGE(0, ANY), .used = HPS_FOR_SYNTH,
     .unit = "standard deviation a dimension", .help = "Gaussian noise on every activation"},
    {"synth.dtype", HPS_KEY_WORD, AT(synth.dtype), "float32", .words = dtypes, .used = HPS_FOR_SYNTH,
     .help = "stored numbers"},
    {"synth.seed", HPS_KEY_INT, AT(synth.seed), "1", RANGE(0, ANY), .used = HPS_FOR_SYNTH,
     .help = "everything planted and drawn follows from it"},

    {"eval.model", HPS_KEY_STRING, AT(eval.model), "", .used = HPS_FOR_EVAL,
     .help = "run directory, checkpoint or imported model; \"\": output"},
    {"eval.store", HPS_KEY_LIST, AT(eval.store), "", .used = HPS_FOR_EVAL,
     .help = "another store to evaluate on; \"\": data.store"},
    {"eval.rows", HPS_KEY_WORD, AT(eval.rows), "holdout", .words = rows, .used = HPS_FOR_EVAL,
     .help = "which rows of the store"},
    {"eval.batch", HPS_KEY_INT, AT(eval.batch), "4096", RANGE(1, BATCH_MAX), .used = HPS_FOR_EVAL, .unit = "tokens",
     .help = "taken at a time; does not change the result"},

    {"export.model", HPS_KEY_STRING, AT(export.model), "", .used = HPS_FOR_EXPORT,
     .help = "run directory or checkpoint; \"\": output"},
    {"export.format", HPS_KEY_WORD, AT(export.format), "saelens", .words = formats_out, .used = HPS_FOR_EXPORT,
     .help = "which program reads the folder"},
    {"export.output", HPS_KEY_STRING, AT(export.output), "", .used = HPS_FOR_EXPORT,
     .help = "folder to write; \"\": export-FORMAT in output"},

    {"import.input", HPS_KEY_STRING, AT(import.input), .needed = HPS_FOR_IMPORT, .used = HPS_FOR_IMPORT,
     .help = "folder of a SAELens or sparsify dictionary"},
    {"import.format", HPS_KEY_WORD, AT(import.format), "auto", .words = formats_in, .used = HPS_FOR_IMPORT,
     .help = "who wrote it; auto: found out"},
    {"import.output", HPS_KEY_STRING, AT(import.output), .needed = HPS_FOR_IMPORT, .used = HPS_FOR_IMPORT,
     .help = "model file to write (.h5)"},
};

const int hps_schema_keys = sizeof(hps_schema) / sizeof(hps_schema[0]);
