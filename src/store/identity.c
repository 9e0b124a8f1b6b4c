#include "hpsae/store/store.h"

#include "hpsae/base/memory.h"

#include <string.h>

enum { ROWS = 64 }; /* that are looked at */

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t add_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t add_size(uint64_t hash, int64_t size)
{
    return (hash ^ (uint64_t)size) * UINT64_C(0x100000001b3);
}

static uint64_t add_statistics(uint64_t hash, const hps_store_info *info)
{
    if (!info->has_statistics) {
        return hash;
    }
    hash = add_bytes(hash, info->mean, (size_t)info->d * sizeof(*info->mean));
    return add_bytes(hash, &info->mean_sq_norm, sizeof(info->mean_sq_norm));
}

hps_status hps_store_identity(hps_store *store, uint64_t *identity)
{
    const hps_store_info *info = hps_store_about(store);
    const size_t row_bytes = (size_t)info->d * hps_dtype_size(info->dtype);
    const int64_t looks = info->rows < ROWS ? info->rows : ROWS;
    hps_status status = HPS_OK;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char *row;

    HPS_TRY(HPS_ALLOC(&row, (int64_t)row_bytes, "a row of the store"));
    hash = add_size(add_size(add_size(hash, info->rows), info->d), (int64_t)info->dtype);
    hash = add_bytes(hash, info->hook, strlen(info->hook));
    hash = add_statistics(hash, info);
    for (int64_t i = 0; i < looks && status == HPS_OK; i++) {
        status = hps_store_read(store, i * (info->rows - 1) / (looks > 1 ? looks - 1 : 1), 1, row);
        hash = status == HPS_OK ? add_bytes(hash, row, row_bytes) : hash;
    }
    HPS_FREE(&row);
    *identity = hash;
    return status;
}
