/*
 * The points of a sweep: one training each, with values of its own for some keys.  In the file:
 *
 *     sweep:
 *       axes: {model.latents: [512, 1024], model.k: [8, 32]}     # every combination
 *       zip: {train.seed: [1, 2], train.lr: [1e-3, 2e-3]}        # go together, as one more axis; or a list of such
 *       list:                                                    # points of their own, beside the grid
 *         - {model.latents: 4096, model.k: 64}
 *
 * A key may also be written in its section (axes: {model: {k: [8, 32]}}).  A value is checked as if it stood in its key's
 * place; what is wrong with it is said with its own place in the file.
 */
#ifndef HPSAE_CONFIG_SWEEP_H
#define HPSAE_CONFIG_SWEEP_H

#include "hpsae/config/config.h"

enum { HPS_SWEEP_NAME = 128, HPS_SWEEP_POINTS_MAX = 100000 };

/* A key that a point sets, and its value as used.yaml writes it. */
typedef struct {
    const char *path; /* static */
    char *text;       /* owned (hps_alloc) */
} hps_sweep_set;

typedef struct {
    char name[HPS_SWEEP_NAME]; /* "latents512_k8": fit for a directory, and the same whatever other points there are */
    hps_config *config;        /* owned: the file's with the point's values; output is OUTPUT/points/NAME */
    hps_sweep_set *set;        /* [count]; owned */
    int64_t count;
} hps_sweep_point;

/* Local.  How many points a configuration has; 0 without a sweep. */
int64_t hps_sweep_points(const hps_config *config);

/*
 * Local.  Point i, from 0: the grid's first, the last axis fastest, then those of the list.  Its configuration speaks of
 * places in `config`, which must outlive it.  HPS_ENOMEM; HPS_EARG when the paths get too long.  Release with
 * hps_sweep_point_release.
 */
hps_status hps_sweep_point_make(const hps_config *config, int64_t i, hps_sweep_point *point);
void hps_sweep_point_release(hps_sweep_point *point);

/* Local.  Puts the name of the point behind the words of a failure; returns its status. */
hps_status hps_sweep_point_blame(const hps_sweep_point *point, hps_status status);

#endif
