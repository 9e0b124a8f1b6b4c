/*
 * The normal equations of a decoder: A = Z'Z, B = Z'Y for sparse codes Z [T, n] and rows Y [T, d], dealt in blocks.
 *
 * Each number is one rank's and is summed there in the order of the rows, so it has the same bits on any grid; a rank has
 * the codes of all latents, and takes from them what falls into its blocks.
 */
#ifndef HPSAE_STUDY_NORMAL_EQUATIONS_H
#define HPSAE_STUDY_NORMAL_EQUATIONS_H

#include "hpsae/kernels/kernels.h"
#include "hpsae/linalg/cyclic.h"

typedef struct {
    hps_cyclic A, B;  /* n x n, its lower triangle; n x d */
    double *a, *b;    /* this rank's parts; owned */
    double *sum;      /* [local rows, local columns] of B, by rows, while it is summed; owned */
    double *diagonal; /* [n] of Z'Z, on every rank, after hps_normal_ridge; owned */
    int32_t *column;  /* [local columns of B] their global numbers; owned */
    int64_t silent;   /* latents without any value */
} hps_normal;

/* Local.  All zero.  HPS_ENOMEM, HPS_ECONFIG.  Release with hps_normal_destroy. */
hps_status hps_normal_create(const hps_process_grid *over, int64_t n, int64_t d, int64_t nb, hps_normal *e);
void hps_normal_destroy(hps_normal *e);

/* Local.  Bytes of it. */
int64_t hps_normal_bytes(const hps_process_grid *over, int64_t n, int64_t d, int64_t nb);

/* Local.  Adds rows y [T, ldy] with their codes. */
void hps_normal_add(hps_normal *e, int64_t T, const hps_slots *slots, int64_t ldy, const float *y, int threads);

/*
 * Collective over the grid, after the last row.  Adds ridge times the mean diagonal to the diagonal, over the latents that
 * have values, and puts 1 there for the others, whose solution is then 0.  Returns what was added.
 */
double hps_normal_ridge(hps_normal *e, double ridge);

/* Collective over the grid.  b becomes the solution.  Error: HPS_ENUMERIC when A is not positive definite. */
hps_status hps_normal_solve(hps_normal *e);

#endif
