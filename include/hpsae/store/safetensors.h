/*
 * Reading .safetensors files: 8 bytes of header length, a JSON header that gives each tensor's type, shape and bytes,
 * then the tensors' bytes, row-major and little-endian (format: github.com/huggingface/safetensors).  The reader trusts
 * nothing: length and syntax of the header, duplicate names, sizes against shapes and the address space, gaps, overlaps
 * and the file's length are checked before a tensor is handed out.
 */
#ifndef HPSAE_STORE_SAFETENSORS_H
#define HPSAE_STORE_SAFETENSORS_H

#include "hpsae/base/status.h"
#include "hpsae/base/words.h"

#include <stdbool.h>
#include <stdint.h>

enum { HPS_TENSOR_DIMENSIONS = 8 };

typedef struct {
    const char *name; /* borrowed from the file */
    const char *type; /* "F32", "BF16", "I64", ...; borrowed */
    bool is_float;    /* one of F16 BF16 F32 F64; dtype says which */
    hps_dtype dtype;
    int dimensions; /* 0 (a scalar) to HPS_TENSOR_DIMENSIONS */
    int64_t shape[HPS_TENSOR_DIMENSIONS];
    int64_t begin, end; /* the tensor's bytes in the file: [begin, end) */
} hps_safetensor;

typedef struct hps_safetensors hps_safetensors;

/*
 * Local.  Opens a file and checks its whole header.  Errors: HPS_EIO (not there, not readable), HPS_EFORMAT (path and
 * what is wrong, with the tensor's name), HPS_ENOMEM.  Release with hps_safetensors_close.
 */
hps_status hps_safetensors_open(const char *path, hps_safetensors **file);
void hps_safetensors_close(hps_safetensors **file);

/* Local.  The tensors in the order of their bytes; *count of them.  Borrowed, valid until the file is closed. */
const hps_safetensor *hps_safetensors_list(const hps_safetensors *file, int64_t *count);

/* Local.  The tensor of that name, or NULL.  Borrowed. */
const hps_safetensor *hps_safetensors_find(const hps_safetensors *file, const char *name);

/* Local.  The text of a key under __metadata__, or NULL.  Borrowed. */
const char *hps_safetensors_metadata(const hps_safetensors *file, const char *key);

/*
 * Local.  The tensor of that name, which must be of float words and of this shape; a negative extent stands for any.
 * Errors: HPS_EFORMAT: "PATH: no tensor NAME; it has: ...", "... has shape [3, 4], [4, 3] is needed".
 */
hps_status hps_safetensors_want(const hps_safetensors *file, const char *name, int dimensions, const int64_t *shape,
                                const hps_safetensor **tensor);

/*
 * Local.  Reads `count` elements of a tensor of float words from element `first` on (row-major), as stored, into words.
 * Errors: HPS_EIO, HPS_EARG (not within the tensor).
 */
hps_status hps_safetensors_read(const hps_safetensors *file, const hps_safetensor *tensor, int64_t first, int64_t count,
                                void *words);

#endif
