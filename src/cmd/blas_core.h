/*
 * OpenBLAS takes CPUs that are newer than itself for very old ones, several times slower.
 */
#ifndef HPSAE_CMD_BLAS_CORE_H
#define HPSAE_CMD_BLAS_CORE_H

/*
 * Local, before MPI_Init.  Where OpenBLAS chose a core that is below what the CPU can do, and the user did not choose one
 * (OPENBLAS_CORETYPE), starts this program over with a better one.  One BLAS thread a rank, unless the user chose
 * (OPENBLAS_NUM_THREADS).  Returns when there is nothing to do, or when it cannot be done: a slow core is still right.
 */
void hps_blas_core_choose(char **argv);

/* Local.  The core to ask for in the place of `core` on a CPU with AVX-512 or AVX2; NULL: leave it. */
const char *hps_blas_core_better(const char *core, int avx512, int avx2);

/* Local.  So many BLAS threads a rank from now on, for a command whose work is BLAS's, unless the user chose. */
void hps_blas_threads(int threads);

#endif
