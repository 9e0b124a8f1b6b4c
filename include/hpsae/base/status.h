/*
 * Status codes, and agreement on them between ranks.
 *
 * A function that can fail returns hps_status.  The function that first notices a failure words it, once, with hps_fail:
 * one line that says what is wrong, where, and what to do.  Everyone above passes the code on with HPS_TRY.  Before the
 * next collective call, hps_agree makes the verdict common to all ranks, so that none is left waiting for another.
 */
#ifndef HPSAE_BASE_STATUS_H
#define HPSAE_BASE_STATUS_H

#include <mpi.h>

/* One list, from which the enum and the exit statuses are made: code, exit status of the program, meaning. */
#define HPS_STATUS_LIST(X)                                           \
    X(HPS_OK, 0, "no error")                                         \
    X(HPS_STOPPED, 75, "stopped early with a checkpoint; run again") \
    X(HPS_EARG, 2, "argument out of range")                          \
    X(HPS_ECONFIG, 2, "configuration rejected")                      \
    X(HPS_EFORMAT, 2, "file content not as specified")               \
    X(HPS_EIO, 2, "file could not be read or written")               \
    X(HPS_ENOMEM, 2, "out of memory")                                \
    X(HPS_ENUMERIC, 2, "non-finite value in the training state")     \
    X(HPS_EINTERNAL, 1, "a fault of the program or of the machine")

typedef enum {
#define X(name, exit_status, text) name,
    HPS_STATUS_LIST(X)
#undef X
        HPS_STATUS_COUNT
} hps_status;

enum { HPS_MESSAGE_MAX = 1024 };

/* Local.  The exit status of a program that ends with this code; 1 for an unknown code. */
int hps_status_exit(hps_status status);

/* Local.  Words of the latest failure on this thread, without a newline; "" if there was none.  Borrowed. */
const char *hps_status_message(void);

/* Local.  Records the words (printf format; no newline, no code location) and returns code: `return hps_fail(...)`. */
hps_status hps_fail(hps_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
#ifdef __clang_analyzer__ /* which looks at one file at a time: it learns that the code comes back */
#define hps_fail(code, ...) (hps_fail(code, __VA_ARGS__), (code))
#endif

/* Passes a failure on to the caller. */
#define HPS_TRY(call)                              \
    do {                                           \
        const hps_status hps_try_status_ = (call); \
        if (hps_try_status_ != HPS_OK) {           \
            return hps_try_status_;                \
        }                                          \
    } while (0)

/*
 * Collective over comm.  Returns on every rank the same status, HPS_OK if all ranks brought it, else the largest code
 * brought; the message is then, on every rank, that of the lowest rank that brought the code, with "rank N: " in front
 * (N in MPI_COMM_WORLD) when not all ranks failed alike and it does not stand there already.  Cost: one small allreduce; a
 * broadcast more only after a failure.  On MPI_COMM_NULL, for a process without MPI: `mine`.
 */
hps_status hps_agree(MPI_Comm comm, hps_status mine);

/*
 * Collective over comm.  Where rank 0 alone worked: its status and message become those of every rank, without a "rank 0: "
 * in front.  On MPI_COMM_NULL: of_rank_0.
 */
hps_status hps_share_status(MPI_Comm comm, hps_status of_rank_0);

/* An MPI call that fails leaves MPI unusable: report and end the whole job. */
#define HPS_MPI(call)                                                \
    do {                                                             \
        const int hps_mpi_code_ = (call);                            \
        if (hps_mpi_code_ != MPI_SUCCESS) {                          \
            hps_mpi_fatal(hps_mpi_code_, #call, __FILE__, __LINE__); \
        }                                                            \
    } while (0)
_Noreturn void hps_mpi_fatal(int code, const char *call, const char *file, int line);

/* Local.  A call has failed after which the machine cannot be used: says so in one line and ends the whole job, status 1. */
_Noreturn void hps_fatal(const char *words, const char *call, const char *file, int line);

#endif
