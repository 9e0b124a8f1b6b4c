/*
 * Laying out .safetensors files of float32 tensors: with the header all offsets are known, so that ranks can write
 * their parts in any order.
 */
#ifndef HPSAE_STORE_SAFETENSORS_WRITE_H
#define HPSAE_STORE_SAFETENSORS_WRITE_H

#include "hpsae/base/status.h"

#include <stdint.h>

typedef struct {
    const char *name; /* letters, digits, '_' and '.' */
    int dimensions;   /* 1 or 2 */
    int64_t shape[2];
    int64_t offset; /* where its bytes begin in the file; set by hps_safetensors_lay_out */
} hps_float_tensor;

typedef struct {
    char *header; /* what the file begins with; by hps_alloc, free with HPS_FREE */
    int64_t header_bytes, file_bytes;
} hps_safetensors_plan;

/*
 * Local.  Puts `count` tensors one after the other, in the order given, behind a header whose length is a multiple of
 * 8.  Error: HPS_ENOMEM.
 */
hps_status hps_safetensors_lay_out(int count, hps_float_tensor *tensors, hps_safetensors_plan *plan);

#endif
