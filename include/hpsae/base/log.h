/*
 * What a run says to people: `[elapsed] module: sentence` on stdout, from rank 0 only.
 */
#ifndef HPSAE_BASE_LOG_H
#define HPSAE_BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

/* Local.  Call once after MPI_Init: only the rank that speaks prints; to_stderr keeps stdout free (eval --json). */
void hps_log_start(bool speaks, bool to_stderr);

/* Local.  One line; no newline in the format. */
void hps_log(const char *module, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Local.  The same with "warning: " in front, on stderr. */
void hps_warn(const char *module, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Local.  Whether this rank speaks from now on; returns whether it did. */
bool hps_log_let(bool speaks);

/*
 * Local.  What this rank would say, and its warnings, go into a file from now on, whether it speaks or not; NULL: as before.
 * The file is the caller's.
 */
void hps_log_divert(FILE *file);

/* Local.  Seconds since hps_log_start (0 before it), from a monotonic clock. */
double hps_elapsed(void);

/* Local.  Writes seconds as "1.3 s", "4 min 05 s" or "3 h 12 min" into text and returns text. */
char *hps_duration(double seconds, char text[32]);

#endif
