/* The checkpoints of a run directory: the newest that can be used, and those that are kept. */
#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/model/checkpoint_file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGITS = 12, NAME = 48 };

typedef struct {
    char name[NAME];
    struct timespec written;
} entry;

typedef struct {
    entry *items;
    int64_t count, room;
} listing;

static const char prefix[] = "checkpoint-";

/* checkpoint-<step, 12 digits>.h5 and nothing else; ending ".h5" or ".h5.tmp". */
static bool is_checkpoint(const char *name, const char *ending)
{
    const size_t start = sizeof(prefix) - 1;
    size_t digits = 0;

    if (strncmp(name, prefix, start) != 0) {
        return false;
    }
    while (isdigit((unsigned char)name[start + digits])) {
        digits++;
    }
    return digits == DIGITS && strcmp(name + start + digits, ending) == 0;
}

static hps_status append(listing *list, const char *directory, const char *name)
{
    char path[HPS_PATH_MAX];
    struct stat about;

    if (list->count == list->room) {
        const int64_t room = 2 * list->room + 8;
        entry *more = realloc(list->items, (size_t)room * sizeof(entry));
        if (more == NULL) {
            return hps_fail(HPS_ENOMEM, "no memory for the names of checkpoints");
        }
        list->items = more;
        list->room = room;
    }
    HPS_TRY(hps_path_join(directory, name, path));
    entry *added = &list->items[list->count];
    snprintf(added->name, NAME, "%s", name);
    added->written = stat(path, &about) == 0 ? about.st_mtim : (struct timespec){0};
    list->count++;
    return HPS_OK;
}

/* By name, so by step, the newest first. */
static int by_step(const void *a, const void *b)
{
    return strcmp(((const entry *)b)->name, ((const entry *)a)->name);
}

/*
 * By the time of writing, the newest first: after a run went back to an older checkpoint, or began anew, those with
 * more steps are the old ones.
 */
static int by_time(const void *a, const void *b)
{
    const struct timespec *x = &((const entry *)a)->written, *y = &((const entry *)b)->written;

    if (x->tv_sec != y->tv_sec) {
        return x->tv_sec < y->tv_sec ? 1 : -1;
    }
    if (x->tv_nsec != y->tv_nsec) {
        return x->tv_nsec < y->tv_nsec ? 1 : -1;
    }
    return by_step(a, b);
}

/* Local.  All names with an ending; a directory that does not exist has none. */
static hps_status list_names(const char *directory, const char *ending, listing *list)
{
    DIR *open = opendir(directory);
    hps_status status = HPS_OK;

    memset(list, 0, sizeof(*list));
    if (open == NULL) {
        return errno == ENOENT ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be listed: %s", directory, strerror(errno));
    }
    for (const struct dirent *item = readdir(open); item != NULL && status == HPS_OK; item = readdir(open)) {
        if (is_checkpoint(item->d_name, ending)) {
            status = append(list, directory, item->d_name);
        }
    }
    closedir(open);
    if (status != HPS_OK) {
        free(list->items);
        list->items = NULL;
        list->count = 0;
    }
    return status;
}

/* Collective.  Head and every number. */
static hps_status check_whole(MPI_Comm comm, const char *path)
{
    hps_checkpoint_head head;

    HPS_TRY(hps_checkpoint_read_head(comm, path, &head));
    const hps_status status = hps_checkpoint_verify(comm, path, &head);
    hps_checkpoint_head_free(&head);
    return status;
}

/* Collective.  The first usable one; `usable` stays -1 when there is none. */
static void first_usable(MPI_Comm comm, const char *directory, const listing *list, int64_t *usable)
{
    char name[NAME] = "", path[HPS_PATH_MAX];
    int rank;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    for (int64_t i = 0; i < list->count && *usable < 0; i++) {
        if (rank == 0) {
            memcpy(name, list->items[i].name, NAME);
        }
        HPS_MPI(MPI_Bcast(name, NAME, MPI_CHAR, 0, comm));
        if (hps_path_join(directory, name, path) == HPS_OK && check_whole(comm, path) == HPS_OK) {
            *usable = i;
        } else {
            hps_warn("checkpoint", "%s; it is passed over", hps_status_message());
        }
    }
}

hps_status hps_checkpoint_find(MPI_Comm comm, const char *directory, char **path)
{
    char text[HPS_PATH_MAX] = "";
    int64_t usable = -1;
    listing list = {0};
    hps_status status = HPS_OK;
    int rank;

    *path = NULL;
    HPS_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0) {
        status = list_names(directory, ".h5", &list);
        if (list.count > 1) {
            qsort(list.items, (size_t)list.count, sizeof(entry), by_step);
        }
    }
    HPS_TRY(hps_share_status(comm, status));
    HPS_MPI(MPI_Bcast(&list.count, 1, MPI_INT64_T, 0, comm));
    first_usable(comm, directory, &list, &usable);
    if (usable < 0 && list.count > 0) {
        status = hps_fail(HPS_EFORMAT,
                          "%s: none of its %lld checkpoints can be used; restore one, or remove them to "
                          "start anew",
                          directory, (long long)list.count);
    } else if (usable >= 0) {
        if (rank == 0) {
            status = hps_path_join(directory, list.items[usable].name, text);
        }
        HPS_MPI(MPI_Bcast(text, sizeof(text), MPI_CHAR, 0, comm));
        *path = strdup(text);
        status = hps_agree(comm, *path != NULL ? status : hps_fail(HPS_ENOMEM, "no memory for a path"));
    }
    if (usable > 0) {
        hps_warn("checkpoint", "the older %s is used", text);
    }
    free(list.items);
    return status;
}

/* Rank 0.  Removes all that come after the first `keep`. */
static hps_status remove_rest(const char *directory, const listing *list, int64_t keep)
{
    char path[HPS_PATH_MAX];

    for (int64_t i = keep; i < list->count; i++) {
        HPS_TRY(hps_path_join(directory, list->items[i].name, path));
        if (unlink(path) != 0 && errno != ENOENT) {
            return hps_fail(HPS_EIO, "%s: cannot be removed: %s", path, strerror(errno));
        }
    }
    return HPS_OK;
}

/* Rank 0. */
static hps_status prune(const char *directory, const char *ending, int64_t keep)
{
    listing list;

    HPS_TRY(list_names(directory, ending, &list));
    if (list.count > 1) {
        qsort(list.items, (size_t)list.count, sizeof(entry), by_time);
    }
    const hps_status status = remove_rest(directory, &list, keep);
    free(list.items);
    return status;
}

hps_status hps_checkpoint_prune(MPI_Comm comm, const char *directory, int64_t keep)
{
    hps_status status = HPS_OK;
    int rank;

    HPS_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0) {
        status = prune(directory, ".h5", keep);
        status = status == HPS_OK ? prune(directory, ".h5.tmp", 0) : status;
    }
    return hps_share_status(comm, status);
}
