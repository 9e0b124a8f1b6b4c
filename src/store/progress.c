#include "progress.h"

#include "hpsae/base/log.h"

static const double every_seconds = 5;

void hps_progress_begin(const char *module, const char *verb, int64_t bytes, int ranks, hps_progress *progress)
{
    const double now = hps_elapsed();

    *progress = (hps_progress){
        .module = module, .verb = verb, .bytes = bytes > 0 ? bytes : 1, .ranks = ranks, .began = now, .said = now};
}

void hps_progress_add(hps_progress *progress, int64_t bytes)
{
    const double now = hps_elapsed();
    char left[32];

    progress->done += bytes;
    if (now - progress->said < every_seconds) {
        return;
    }
    progress->said = now;
    const double share = (double)progress->done / (double)progress->bytes;
    const double rate = (double)progress->done * progress->ranks / (now - progress->began);
    hps_log(progress->module, "%s: %.0f %%, %.0f MB/s, %s left", progress->verb, 100 * share, rate / 1e6,
            hps_duration((now - progress->began) * (1 - share) / share, left));
}
