/* The thresholds of a jumprelu dictionary, which must be one. */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange_format.h"

#include <math.h>

/* Latents [first, first + count); *threshold is that of latent 0, once it is known. */
static hps_status compare(const char *path, int64_t first, int64_t count, const float *values, double *threshold)
{
    if (first == 0) {
        *threshold = (double)values[0];
    }
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return hps_fail(HPS_EFORMAT, "%s: %s[%lld] is not finite", path, hps_exchange_threshold,
                            (long long)(first + i));
        }
        if ((double)values[i] != *threshold) {
            return hps_fail(HPS_EFORMAT,
                            "%s: %s[0] is %.7g, but %s[%lld] is %.7g: only one threshold for all latents can be "
                            "imported, as BatchTopK has it",
                            path, hps_exchange_threshold, *threshold, hps_exchange_threshold, (long long)(first + i),
                            (double)values[i]);
        }
    }
    return HPS_OK;
}

static hps_status read_pieces(const char *path, const hps_safetensors *file, const hps_safetensor *entry, void *words,
                              float *values, double *threshold)
{
    for (int64_t first = 0; first < entry->shape[0]; first += hps_import_piece) {
        const int64_t left = entry->shape[0] - first, count = left < hps_import_piece ? left : hps_import_piece;
        HPS_TRY(hps_safetensors_read(file, entry, first, count, words));
        hps_words_to_float(entry->dtype, count, words, values);
        HPS_TRY(compare(path, first, count, values, threshold));
    }
    return HPS_OK;
}

hps_status hps_import_threshold(const char *path, const hps_safetensors *file, int64_t n, double *threshold)
{
    const hps_safetensor *entry;
    double *words = NULL;
    float *values = NULL;

    HPS_TRY(hps_safetensors_want(file, hps_exchange_threshold, 1, &n, &entry));
    hps_status status = HPS_ALLOC(&words, hps_import_piece, "thresholds to import");
    if (status == HPS_OK) {
        status = HPS_ALLOC(&values, hps_import_piece, "thresholds to import");
    }
    if (status == HPS_OK) {
        status = read_pieces(path, file, entry, words, values, threshold);
    }
    HPS_FREE(&values);
    HPS_FREE(&words);
    /* values are max(p, 0): below 0 there is nothing for a threshold to cut */
    *threshold = *threshold < 0 ? 0 : *threshold;
    return status;
}
