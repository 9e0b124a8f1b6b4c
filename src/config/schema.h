/*
 * The schema: one row a key.  Parsing, defaults, overrides, help, used.yaml, the hash and the difference of two
 * configurations all come from this table.
 */
#ifndef HPSAE_CONFIG_SCHEMA_H
#define HPSAE_CONFIG_SCHEMA_H

#include "hpsae/config/config.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    HPS_KEY_STRING,
    HPS_KEY_LIST,
    HPS_KEY_INT,
    HPS_KEY_INTS,
    HPS_KEY_REAL,
    HPS_KEY_BOOL,
    HPS_KEY_WORD
} hps_key_type;

/* Commands as bits. */
enum {
    HPS_FOR_SYNTH = 1,
    HPS_FOR_SHUFFLE = 2,
    HPS_FOR_TRAIN = 4,
    HPS_FOR_EVAL = 8,
    HPS_FOR_EXPORT = 16,
    HPS_FOR_IMPORT = 32,
    HPS_FOR_ENCODE = 64,
    HPS_FOR_BENCH = 256,
    HPS_FOR_COMPARE = 512,
    HPS_FOR_PCA = 1024,
    HPS_FOR_REFIT = 2048,
    HPS_FOR_MATRICES = HPS_FOR_COMPARE | HPS_FOR_PCA | HPS_FOR_REFIT, /* those of ScaLAPACK */
    HPS_FOR_SWEEP = 4096,
    HPS_FOR_ALL = 8191
};

/* One of the words that a key may be, and the enum's value for it. */
typedef struct {
    const char *text;
    unsigned value;
} hps_word;

typedef struct {
    const char *path; /* "train.aux.k" */
    hps_key_type type;
    size_t offset;          /* of the field in hps_config */
    const char *fallback;   /* the default as one would write it; NULL: none */
    double lowest, highest; /* of numbers; INFINITY: no limit but the type's */
    bool above;             /* the lowest itself is not allowed */
    bool below;             /* the highest itself is not allowed */
    bool automatic;         /* `auto` is allowed */
    bool hashed;            /* the bits of a training run depend on it */
    bool later;             /* and it is younger than checkpoints that may go on: its default is not part of the hash */
    unsigned needed;        /* commands that do not start without it */
    unsigned used;          /* commands that look at it */
    const hps_word *words;  /* of HPS_KEY_WORD, ended by a NULL text */
    const char *unit;
    const char *help;
} hps_key;

extern const hps_key hps_schema[];
extern const int hps_schema_keys;

/* Local.  Number of the row with this path, or -1. */
int hps_schema_find(const char *path);

/* Local.  Whether a key takes a list. */
static inline bool hps_schema_many(const hps_key *key)
{
    return key->type == HPS_KEY_LIST || key->type == HPS_KEY_INTS;
}

/* Local.  Whether path names a section ("train", "train.aux"). */
bool hps_schema_section(const char *path);

/* Local.  Length of the section's part of a path: 0 for "output", 5 for "train.batch". */
size_t hps_schema_section_length(const char *path);

/* Local.  The key or section most like `path`, or NULL when nothing is near.  The text is static or the caller's. */
const char *hps_schema_nearest(const char *path, char text[64]);

/* Local.  What may stand for a key ("integer, 1 to 64, or auto"), into text. */
enum { HPS_ALLOWED_MAX = 256 };
const char *hps_schema_allowed(const hps_key *key, char text[HPS_ALLOWED_MAX]);

/* Local.  The bit of a command's name; 0 for an unknown one. */
unsigned hps_schema_command(const char *name);

#endif
