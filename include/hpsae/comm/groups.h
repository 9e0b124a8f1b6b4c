/*
 * Sums over the data groups: elementwise, in the order of the groups, so that the result depends on their number alone.
 */
#ifndef HPSAE_COMM_GROUPS_H
#define HPSAE_COMM_GROUPS_H

#include "hpsae/base/status.h"

#include <mpi.h>
#include <stdint.h>

enum { HPS_GROUP_STAGES = 3 }; /* chunks under way: one is made, one is exchanged, one comes back summed */

typedef struct {
    float *values;      /* [capacity] */
    float *pieces;      /* [R, piece]: this rank's piece of every group's values */
    int *count, *begin; /* [R] how the values are cut into pieces */
    int *length, *at;   /* [R] and where this rank's own piece of each goes */
    MPI_Request request;
} hps_group_chunk;

/* Buffers for the sums over one communicator, of which rank r belongs to data group r. */
typedef struct {
    MPI_Comm comm; /* borrowed */
    int R, r;
    int64_t capacity; /* numbers of a chunk */
    int64_t piece;    /* room for a piece of one */
    hps_group_chunk chunk[HPS_GROUP_STAGES];
    double seconds; /* spent waiting and adding since it was last set to 0 */
} hps_group_sums;

/* Local.  For R groups, this rank's being r, and chunks of up to `capacity` numbers.  HPS_ENOMEM.  Release with hps_group_sums_destroy. */
hps_status hps_group_sums_create(MPI_Comm comm, int R, int r, int64_t capacity, hps_group_sums **sums);
void hps_group_sums_destroy(hps_group_sums **sums);

/*
 * Rows of a matrix that are made, summed over the groups and used chunk by chunk: while a chunk is made, the one before it
 * is exchanged and the one before that is sent back.
 */
typedef struct {
    int64_t rows, ld;
    int64_t step; /* rows of a chunk; step * ld within the capacity */
    int pieces;   /* that a chunk is made in, with a look at the messages between them */
    void *context;
    void (*make)(void *context, int64_t first, int64_t count, float *values); /* values [count, ld] of this group */
    void (*use)(void *context, int64_t first, int64_t count, const float *values); /* their sum */
} hps_group_rows;

/* Collective over the communicator, as are the others. */
void hps_group_sums_rows(hps_group_sums *sums, const hps_group_rows *rows);

/* values [count] become their sums over the groups. */
void hps_group_sums_floats(hps_group_sums *sums, int64_t count, float *values);
void hps_group_sums_doubles(hps_group_sums *sums, int64_t count, double *values);

/*
 * Local.  The rows of a chunk, a multiple of `unit`: an eighth of all, but no more than `most` numbers unless unit rows are;
 * and the numbers that a chunk has at most, for rows of ld numbers and for shorter ones.
 */
int64_t hps_group_rows_step(int64_t rows, int64_t ld, int64_t unit, int64_t most);
int64_t hps_group_rows_room(int64_t rows, int64_t ld, int64_t unit, int64_t most);

#endif
