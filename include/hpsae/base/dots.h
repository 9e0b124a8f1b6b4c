/*
 * Many canonical dot products at once.
 */
#ifndef HPSAE_BASE_DOTS_H
#define HPSAE_BASE_DOTS_H

#include <stdint.h>

/* Local.  out[t] = hps_dot(m, a, rows + t * ld), t < count, by the fused multiply-add of this CPU, where it has one. */
void hps_dots(int64_t count, int64_t m, int64_t ld, const float *a, const float *rows, float *out);

#endif
