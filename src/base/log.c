#include "hpsae/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static struct {
    double start;
    FILE *stream;
    bool speaks;
    FILE *diverted; /* NULL: to stream */
} self;

static double clock_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void hps_log_start(bool speaks, bool to_stderr)
{
    self.start = clock_seconds();
    self.speaks = speaks;
    self.stream = to_stderr ? stderr : stdout;
}

double hps_elapsed(void)
{
    return self.start > 0 ? clock_seconds() - self.start : 0;
}

bool hps_log_let(bool speaks)
{
    const bool before = self.speaks;

    self.speaks = speaks;
    return before;
}

void hps_log_divert(FILE *file)
{
    self.diverted = file;
}

static void say(FILE *stream, const char *module, const char *kind, const char *format, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof(line), format, args);
    stream = self.diverted != NULL ? self.diverted : stream;
    fprintf(stream, "[%8.2f s] %s: %s%s\n", hps_elapsed(), module, kind, line);
    fflush(stream);
}

void hps_log(const char *module, const char *format, ...)
{
    va_list args;

    if (self.speaks || self.diverted != NULL) {
        va_start(args, format);
        say(self.stream, module, "", format, args);
        va_end(args);
    }
}

void hps_warn(const char *module, const char *format, ...)
{
    va_list args;

    if (self.speaks || self.diverted != NULL) {
        va_start(args, format);
        say(stderr, module, "warning: ", format, args);
        va_end(args);
    }
}

char *hps_duration(double seconds, char text[32])
{
    const long whole = (long)(seconds + 0.5);

    if (seconds < 60) {
        snprintf(text, 32, "%.1f s", seconds);
    } else if (whole < 3600) {
        snprintf(text, 32, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        snprintf(text, 32, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    }
    return text;
}
