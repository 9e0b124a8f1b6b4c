/* The thresholds of a BatchTopK dictionary in a file of SAELens: the same number for every latent, or for runs of them. */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange_format.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 18 }; /* numbers at a time */

float hps_export_round_threshold(double threshold)
{
    const float nearest = (float)threshold;

    return (double)nearest > threshold ? nextafterf(nearest, -INFINITY) : nearest;
}

float hps_export_threshold(const hps_model *model)
{
    return hps_export_round_threshold(model->threshold / (model->norm == HPS_NORM_SCALE ? model->scale : 1));
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The thresholds of latents first ... first + count - 1; *at, the run that holds the first, moves on. */
static void fill(const hps_threshold_run *run, int *at, int64_t first, int64_t count, float *values)
{
    for (int64_t i = 0; i < count; i++) {
        while (run[*at].end <= first + i) {
            ++*at;
        }
        values[i] = run[*at].value;
    }
}

hps_status hps_export_write_thresholds(int file, const char *path, int64_t offset, int runs,
                                       const hps_threshold_run *run)
{
    const int64_t n = run[runs - 1].end;
    hps_status status = HPS_OK;
    float *values;
    int at = 0;

    HPS_TRY(HPS_ALLOC(&values, PIECE, "thresholds to export"));
    for (int64_t done = 0; done < n && status == HPS_OK; done += PIECE) {
        const int64_t count = least(n - done, PIECE), bytes = count * (int64_t)sizeof(float);
        fill(run, &at, done, count, values);
        if (pwrite(file, values, (size_t)bytes, offset + done * (int64_t)sizeof(float)) != bytes) {
            status = hps_fail(HPS_EIO, "%s: cannot be written: %s", path, strerror(errno));
        }
    }
    HPS_FREE(&values);
    return status;
}

/* wanted and found [PIECE]. */
static hps_status compare(const char *path, const hps_safetensors *file, const hps_threshold_run *run, int64_t n,
                          float *wanted, float *found)
{
    const hps_safetensor *entry;
    int at = 0;

    HPS_TRY(hps_safetensors_want(file, hps_exchange_threshold, 1, &n, &entry));
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t count = least(n - done, PIECE);
        fill(run, &at, done, count, wanted);
        HPS_TRY(hps_safetensors_read(file, entry, done, count, found));
        if (memcmp(wanted, found, (size_t)count * sizeof(float)) != 0) {
            return hps_fail(HPS_EFORMAT, "%s: %s reads back otherwise than it was written; check the disk", path,
                            hps_exchange_threshold);
        }
    }
    return HPS_OK;
}

hps_status hps_export_verify_thresholds(const char *path, int runs, const hps_threshold_run *run)
{
    hps_safetensors *file = NULL;
    float *values = NULL;
    hps_status status = hps_safetensors_open(path, &file);

    if (status == HPS_OK) {
        status = HPS_ALLOC(&values, 2 * PIECE, "thresholds to verify");
    }
    if (status == HPS_OK) {
        status = compare(path, file, run, run[runs - 1].end, values, values + PIECE);
    }
    HPS_FREE(&values);
    hps_safetensors_close(&file);
    return status;
}
