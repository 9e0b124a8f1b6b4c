/*
 * Stored numbers (words) of two, four or eight bytes, and their conversion to and from float32 by our own code, since
 * HDF5 1.10 has no bf16 and narrows wrongly.
 */
#ifndef HPSAE_BASE_WORDS_H
#define HPSAE_BASE_WORDS_H

#include <stddef.h>
#include <stdint.h>

typedef enum { HPS_F16, HPS_BF16, HPS_F32, HPS_F64 } hps_dtype;

/* Local.  Bytes of one word: 2, 2, 4, 8. */
size_t hps_dtype_size(hps_dtype dtype);

/* Local.  "float16", "bfloat16", "float32", "float64". */
const char *hps_dtype_name(hps_dtype dtype);

/* Local.  Widens (f64: rounds to nearest even) count words to float32.  The arrays may not overlap. */
void hps_words_to_float(hps_dtype dtype, int64_t count, const void *words, float *values);

/* Local.  Rounds count float32 values to words, to nearest even; beyond the largest f16 value: infinity. */
void hps_words_from_float(hps_dtype dtype, int64_t count, const float *values, void *words);

/* Local.  Index of the first NaN or infinity among count words, or -1. */
int64_t hps_words_first_nonfinite(hps_dtype dtype, int64_t count, const void *words);

#endif
