/* The threshold of a BatchTopK dictionary in a file of SAELens: the same number for every latent. */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange_format.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 18 }; /* numbers at a time */

float hps_export_threshold(const hps_model *model)
{
    const double threshold = model->threshold / (model->norm == HPS_NORM_SCALE ? model->scale : 1);
    const float nearest = (float)threshold;

    return (double)nearest > threshold ? nextafterf(nearest, -INFINITY) : nearest;
}

hps_status hps_export_write_threshold(int file, const char *path, int64_t offset, int64_t n, float threshold)
{
    hps_status status = HPS_OK;
    float *values;

    HPS_TRY(HPS_ALLOC(&values, PIECE, "thresholds to export"));
    for (int64_t i = 0; i < PIECE; i++) {
        values[i] = threshold;
    }
    for (int64_t done = 0; done < n && status == HPS_OK; done += PIECE) {
        const int64_t bytes = (n - done < PIECE ? n - done : PIECE) * (int64_t)sizeof(float);
        if (pwrite(file, values, (size_t)bytes, offset + done * (int64_t)sizeof(float)) != bytes) {
            status = hps_fail(HPS_EIO, "%s: cannot be written: %s", path, strerror(errno));
        }
    }
    HPS_FREE(&values);
    return status;
}

hps_status hps_export_verify_threshold(const char *path, int64_t n, float threshold)
{
    hps_safetensors *file = NULL;
    double found = -1;
    hps_status status = hps_safetensors_open(path, &file);

    if (status == HPS_OK) {
        status = hps_import_threshold(path, file, n, &found);
    }
    hps_safetensors_close(&file);
    HPS_TRY(status);
    return found == (double)threshold ? HPS_OK
                                      : hps_fail(HPS_EFORMAT,
                                                 "%s: %s reads back otherwise than it was written; check "
                                                 "the disk",
                                                 path, hps_exchange_threshold);
}
