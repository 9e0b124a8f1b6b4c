/*
 * Which latents ever fire together.
 */
#ifndef HPSAE_STUDY_CONNECTIVITY_H
#define HPSAE_STUDY_CONNECTIVITY_H

#include "code_stream.h"

typedef struct {
    int64_t tokens;
    int64_t alive; /* latents that fired on any of them */
    int64_t
        pairs; /* |C' C|_0 of the 0/1 codes C [tokens, n]: ordered pairs that fired on one token, i with itself too */
} hps_connections;

/*
 * Collective over grid->model.  Counts over all rows of the stream, exactly.  The codes are kept on every rank, twice (by
 * token and by latent); each rank then takes a share of the latents, one at a time: marks whom it ever met.  So it takes
 * the square of the latents a token uses, not n^2.  Errors: those of hps_code_stream_next, HPS_ENOMEM.
 */
hps_status hps_connections_count(const hps_grid *grid, hps_code_stream *stream, hps_connections *found);

/* Local.  Bytes that it holds for so many latents a token. */
int64_t hps_connections_bytes(int64_t tokens, int64_t a_token, int64_t n, int threads);

#endif
