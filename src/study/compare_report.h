/*
 * What `hpsae compare` found, for people and for programs.
 */
#ifndef HPSAE_STUDY_COMPARE_REPORT_H
#define HPSAE_STUDY_COMPARE_REPORT_H

#include "connectivity.h"

#include "hpsae/study/dictionaries.h"

#include <jansson.h>

/* Of one dictionary.  NaN: not measured, or there is no other row. */
typedef struct {
    uint64_t checksum;
    double max_cos;    /* mean over its rows of the largest signed cosine with another */
    int64_t diversity; /* rows whose cosine with every other is below HPS_DIVERSE */
    double stability;  /* its rows' part of the mean */
    hps_connections connections;
} hps_likeness;

static const double HPS_DIVERSE = 0.7;

typedef struct {
    int64_t a, b;
    double mean;
} hps_match;

typedef struct {
    const hps_dictionaries *list;
    hps_likeness *of;        /* [list->count]; owned */
    int64_t rows;            /* of all together */
    double stability, floor; /* NaN for a single dictionary */
    hps_match *match;        /* [matches] every pair; owned */
    int64_t matches;
    char skipped[128]; /* why there are none; "": there are */
    int64_t tokens;    /* of the connectivity; 0: not measured */
    const char *hook;  /* of its store; NULL without */
} hps_comparison;

/* Local.  Fills in max_cos, diversity, stability and its floor from the rows' nearest (hps_nearest). */
void hps_comparison_sum_up(hps_comparison *c, const float *within, const float *across);

/* Local.  1 - |C' C|_0 / m^2; NaN where not measured or m is 0. */
double hps_connectivity_of(const hps_comparison *c, const hps_likeness *one, int64_t m);

/* Local.  The object of compare.json; owned by the caller. */
json_t *hps_comparison_json(const hps_comparison *c);

/* Local.  The same in lines of the log. */
void hps_comparison_log(const hps_comparison *c);

#endif
