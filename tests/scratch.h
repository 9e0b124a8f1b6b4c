/*
 * A fresh directory for the files of one test, the same on every rank, removed at the end.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <ftw.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCRATCH_PATH = 512 };

/* Collective over MPI_COMM_WORLD. */
static inline void scratch_make(char path[SCRATCH_PATH])
{
    const char *base = getenv("TMPDIR");
    int rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, SCRATCH_PATH, "%s/hpsae-test-XXXXXX", base != NULL ? base : "/tmp");
    if (rank == 0 && mkdtemp(path) == NULL) {
        perror(path);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Bcast(path, SCRATCH_PATH, MPI_CHAR, 0, MPI_COMM_WORLD);
}

static inline int scratch_remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
    (void)about;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* Collective over MPI_COMM_WORLD. */
static inline void scratch_remove(const char *path)
{
    int rank;

    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        nftw(path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Joins a directory and a name into one of a few static buffers. */
static inline const char *scratch_path(const char *directory, const char *name)
{
    static char paths[4][SCRATCH_PATH + 64];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

#endif
