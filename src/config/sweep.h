/*
 * The axes of a sweep as the file gives them (hpsae/config/sweep.h), inside the configuration.
 */
#ifndef HPSAE_CONFIG_SWEEP_PARTS_H
#define HPSAE_CONFIG_SWEEP_PARTS_H

#include "value.h"

#include "hpsae/config/sweep.h"

/* A value for a key. */
typedef struct {
    int key;
    hps_place place;
    hps_scalar *items; /* [count]; owned, as are their texts */
    int64_t count;
    bool list;
} hps_setting;

/* Values that go together. */
typedef struct {
    hps_setting *set; /* [count]; owned */
    int64_t count;
} hps_choice;

/* One choice of an axis is taken, in combination with those of all others. */
typedef struct {
    hps_choice *choice; /* [count]; owned */
    int64_t count;
} hps_axis;

struct hps_sweep {
    hps_axis *axis; /* [axes]; owned */
    int64_t axes;
    hps_axis list;
    bool *swept; /* [hps_schema_keys] */
    hps_place place;
};

enum { HPS_SWEEP_AXES_MAX = 64 };

/* Local.  Makes room for a sweep, if there is none yet.  HPS_ENOMEM. */
hps_status hps_sweep_create(struct hps_sweep **sweep);
void hps_sweep_destroy(struct hps_sweep **sweep);

/* Local.  The next axis, empty.  HPS_ECONFIG when there are too many. */
hps_status hps_sweep_add_axis(struct hps_sweep *sweep, const hps_place *place, hps_axis **axis);

/* Local.  Looks for overrides of swept keys, points that are given twice, and contradictions of any point. */
hps_status hps_sweep_check(const hps_config *config);

#endif
