/*
 * What turns rows into codes for `hpsae encode`: a dictionary or an ensemble, behind one call.
 */
#ifndef HPSAE_STUDY_ENCODE_SOURCE_H
#define HPSAE_STUDY_ENCODE_SOURCE_H

#include "codes_file.h"

#include "hpsae/ensemble/ensemble_forward.h"

typedef struct {
    const char *path;
    const hps_model *model; /* how rows are scaled, and d: the dictionary, or the first member; borrowed from below */
    float *x;               /* [B, model->lde] the caller puts rows here; borrowed */
    const hps_slots
        *slots;     /* after a run: first and slot, each token's by value, descending, ties by latent; borrowed */
    hps_model *own; /* of a dictionary, else NULL */
    hps_forward *forward;
    hps_ensemble *ensemble; /* of an ensemble, else NULL */
    hps_ensemble_forward *pass;
    hps_slots joined;  /* of all members, by their numbers in the ensemble */
    double *threshold; /* [members] in the units of the values; NULL unless all have one */
} hps_encode_source;

/*
 * Collective over the grid.  Loads what is at `path`.  Errors, agreed: those of hps_model_load and hps_ensemble_load;
 * HPS_ECONFIG when a BatchTopK dictionary has no threshold yet.  Release with hps_encode_source_close, whatever came.
 */
hps_status hps_encode_source_open(const hps_grid *grid, const char *path, hps_encode_source *source);

/* Collective over the grid.  Buffers for up to B rows a run.  Errors, agreed: HPS_ENOMEM, HPS_ECONFIG. */
hps_status hps_encode_source_prepare(hps_encode_source *source, const hps_grid *grid, const hps_kernels *kernels,
                                     int64_t B, int threads);
void hps_encode_source_close(hps_encode_source *source);

/*
 * Collective over the grid.  The codes of B rows in source->x, which is used up.  Errors, on every rank: HPS_EARG when
 * thresholds let more through than there is room for (try fewer rows); HPS_ENUMERIC.
 */
hps_status hps_encode_source_run(hps_encode_source *source, int64_t B);

/* Collective over the grid.  What the file is to say about the codes, but for rows and hook. */
hps_codes_about hps_encode_source_about(const hps_encode_source *source, const hps_grid *grid);

#endif
