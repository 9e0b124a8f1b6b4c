/*
 * What this program was built from and runs on.
 */
#ifndef HPSAE_BASE_BUILD_H
#define HPSAE_BASE_BUILD_H

#include <stdbool.h>

/* A name that a script can use as a key, and its text. */
typedef struct {
    const char *name; /* static */
    char text[512];
} hps_fact;

/*
 * Local.  Fills facts: version (git describe), compiler, flags, mpi, hdf5 (as loaded, and as built against), yaml,
 * jansson, blas (how it was built), blas_core (what it takes the CPU for), cpu (model), cpu_features (those that kernels
 * may use).  May be called before MPI_Init.
 */
enum { HPS_BUILD_FACTS = 11 };
void hps_build_facts(hps_fact facts[HPS_BUILD_FACTS]);

/* Local.  git describe at build time; "unknown" without git. */
const char *hps_build_describe(void);

/* Local.  Whether this is a debug or sanitizer build, which may afford checks that a release does not. */
bool hps_build_checks(void);

#endif
