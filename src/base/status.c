#include "hpsae/base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[HPS_MESSAGE_MAX];

int hps_status_exit(hps_status status)
{
    switch (status) {
#define X(name, exit_status, text) \
    case name:                     \
        return exit_status;
        HPS_STATUS_LIST(X)
#undef X
    case HPS_STATUS_COUNT:
        break;
    }
    return 1;
}

const char *hps_status_message(void)
{
    return message;
}

hps_status(hps_fail)(hps_status code, const char *format, ...)
{
    char text[HPS_MESSAGE_MAX]; /* the arguments may point into `message` */
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    memcpy(message, text, sizeof(message));
    return code;
}

hps_status hps_agree(MPI_Comm comm, hps_status mine)
{
    struct {
        int code, rank;
    } local = {.code = (int)mine}, worst;
    static const char prefix[] = "rank ";
    char shared[HPS_MESSAGE_MAX];
    int named;

    if (comm == MPI_COMM_NULL) {
        return mine;
    }
    HPS_MPI(MPI_Comm_rank(comm, &local.rank));
    HPS_MPI(MPI_Allreduce(&local, &worst, 1, MPI_2INT, MPI_MAXLOC, comm));
    if (worst.code == HPS_OK) {
        return HPS_OK;
    }

    memcpy(shared, message, sizeof(shared));
    HPS_MPI(MPI_Bcast(shared, sizeof(shared), MPI_CHAR, worst.rank, comm));
    int alike = local.code == worst.code && strcmp(shared, message) == 0;
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &alike, 1, MPI_INT, MPI_LAND, comm));
    if (alike) {
        return (hps_status)worst.code;
    }
    HPS_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &named));
    HPS_MPI(MPI_Bcast(&named, 1, MPI_INT, worst.rank, comm));
    if (strncmp(shared, prefix, sizeof(prefix) - 1) == 0) {
        return hps_fail((hps_status)worst.code, "%s", shared);
    }
    return hps_fail((hps_status)worst.code, "%s%d: %.*s", prefix, named, HPS_MESSAGE_MAX - 32, shared);
}

hps_status hps_share_status(MPI_Comm comm, hps_status of_rank_0)
{
    int code = (int)of_rank_0;

    if (comm == MPI_COMM_NULL) {
        return of_rank_0;
    }
    HPS_MPI(MPI_Bcast(&code, 1, MPI_INT, 0, comm));
    if (code != HPS_OK) {
        HPS_MPI(MPI_Bcast(message, sizeof(message), MPI_CHAR, 0, comm));
    }
    return (hps_status)code;
}

void hps_fatal(const char *words, const char *call, const char *file, int line)
{
    fprintf(stderr, "hpsae: %s:%d: %s: %s\n", file, line, call, words);
    MPI_Abort(MPI_COMM_WORLD, 1);
    __builtin_unreachable();
}

void hps_mpi_fatal(int code, const char *call, const char *file, int line)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;

    MPI_Error_string(code, text, &length);
    hps_fatal(text, call, file, line);
}
