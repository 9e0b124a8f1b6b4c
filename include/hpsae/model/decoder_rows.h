/*
 * The decoder by latent, each row scaled to norm 1: what cosines are taken of.
 */
#ifndef HPSAE_MODEL_DECODER_ROWS_H
#define HPSAE_MODEL_DECODER_ROWS_H

#include "hpsae/model/model.h"

typedef struct {
    hps_shard shard; /* by whose latents the rows are dealt: in blocks of HPS_BLOCK, in turn over the ranks */
    int64_t lde;     /* a multiple of 16 */
    float *rows;     /* [own, lde], padding 0; a row of zeros stays one */
} hps_decoder_rows;

/*
 * Collective over grid->model.  Takes them from a model's decoder, which lies by columns.  HPS_ENOMEM.  Release with
 * hps_decoder_rows_destroy (local).
 */
hps_status hps_decoder_rows_create(const hps_grid *grid, const hps_model *model, int threads, hps_decoder_rows *rows);
void hps_decoder_rows_destroy(hps_decoder_rows *rows);

/* Rows of all ranks, on every rank: the same range of own rows of each. */
typedef struct {
    int64_t step;          /* own rows of every rank that a batch takes */
    int64_t B;             /* rows here now */
    float *row;            /* [B, lde] */
    int32_t *latent;       /* [B] which they are */
    int *counts, *offsets; /* [P] floats of each rank, and where they begin */
} hps_row_batch;

/* Local.  For rows like these, about 1024 in a batch.  HPS_ENOMEM.  Release with hps_row_batch_destroy. */
hps_status hps_row_batch_create(const hps_decoder_rows *rows, hps_row_batch *batch);
void hps_row_batch_destroy(hps_row_batch *batch);

/* Local.  Bytes of a batch of rows of d columns over P ranks; of what hps_decoder_rows_create needs beside its rows. */
int64_t hps_row_batch_bytes(int64_t d, int P);
int64_t hps_decoder_rows_bytes(int64_t d, int P);

/* Collective over grid->model.  Own rows l0 ... l0 + step - 1 of every rank: batch->B, row, latent. */
void hps_row_batch_gather(const hps_grid *grid, const hps_decoder_rows *rows, int64_t l0, hps_row_batch *batch);

/* Local.  The share of rank q; the largest of any. */
hps_shard hps_shard_of(const hps_shard *any, int q);
int64_t hps_shard_most(const hps_shard *any);

#endif
