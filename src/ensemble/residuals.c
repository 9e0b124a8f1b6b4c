#include "residuals.h"

#include "hpsae/base/disk.h"
#include "hpsae/base/log.h"
#include "hpsae/store/residual_file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static hps_status name_directory(const hps_ensemble_training *t, int j, const char *ending, char path[HPS_PATH_MAX])
{
    char name[64];

    snprintf(name, sizeof(name), "residuals-%d%s", j + 1, ending);
    return hps_path_join(t->config->output, name, path);
}

hps_status hps_residuals_directory(const hps_ensemble_training *t, int j, char path[HPS_PATH_MAX])
{
    return name_directory(t, j, "", path);
}

/* All that the residuals follow from: the store, and each stage's configuration and parameters (FNV-1a). */
static uint64_t chain_hash(const hps_ensemble_training *t, int j)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ t->file.store_identity;

    for (int i = 0; i < j; i++) {
        hash = (hash ^ t->file.member[i].config_hash) * UINT64_C(0x100000001b3);
        hash = (hash ^ hash >> 32 ^ t->file.member[i].checksum) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
    }
    return hash;
}

static hps_status name_file(const hps_ensemble_training *t, int j, int64_t file, const char *ending,
                            char path[HPS_PATH_MAX], char fingerprint[128])
{
    char directory[HPS_PATH_MAX], name[64];

    HPS_TRY(name_directory(t, j, ending, directory));
    snprintf(name, sizeof(name), "residuals-%05lld.h5", (long long)file);
    snprintf(fingerprint, 128, "residuals after %d stages, chain %016" PRIx64 ", file %lld of %lld", j,
             chain_hash(t, j), (long long)file + 1, (long long)hps_store_files(t->dataset.store));
    return hps_path_join(directory, name, path);
}

static hps_status name_unfinished(const hps_ensemble_training *t, int j, int64_t file, char path[HPS_PATH_MAX],
                                  char fingerprint[128])
{
    return name_file(t, j, file, ".tmp", path, fingerprint);
}

/* Rank 0.  Of all files together: the worst. */
static hps_status look_here(const hps_ensemble_training *t, int j, hps_residual_state *state)
{
    char path[HPS_PATH_MAX], fingerprint[128];
    bool other = false, torn = false;

    HPS_TRY(name_directory(t, j, "", path));
    *state = HPS_RESIDUAL_NONE;
    if (access(path, F_OK) != 0) {
        return HPS_OK;
    }
    for (int64_t i = 0; i < hps_store_files(t->dataset.store); i++) {
        HPS_TRY(name_file(t, j, i, "", path, fingerprint));
        const hps_residual_state one = hps_residual_look(path, fingerprint);
        other = other || one == HPS_RESIDUAL_OTHER;
        torn = torn || one == HPS_RESIDUAL_NONE || one == HPS_RESIDUAL_TORN;
    }
    *state = other ? HPS_RESIDUAL_OTHER : torn ? HPS_RESIDUAL_TORN : HPS_RESIDUAL_WHOLE;
    return HPS_OK;
}

/* Collective. */
static hps_status look(const hps_ensemble_training *t, int j, hps_residual_state *state)
{
    int found = HPS_RESIDUAL_NONE;

    *state = HPS_RESIDUAL_NONE;
    HPS_TRY(hps_share_status(t->world, t->rank == 0 ? look_here(t, j, state) : HPS_OK));
    if (t->rank == 0) {
        found = (int)*state;
    }
    HPS_MPI(MPI_Bcast(&found, 1, MPI_INT, 0, t->world));
    *state = (hps_residual_state)found;
    return HPS_OK;
}

/* Rank 0.  A directory of residuals with its files; one that is not there is fine. */
static hps_status remove_directory(const char *path)
{
    char file[HPS_PATH_MAX];
    DIR *directory = opendir(path);

    if (directory == NULL) {
        return errno == ENOENT ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    }
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strncmp(entry->d_name, "residuals-", 10) == 0 && hps_path_join(path, entry->d_name, file) == HPS_OK) {
            unlink(file);
        }
    }
    closedir(directory);
    return rmdir(path) == 0 || errno == ENOENT ? HPS_OK
                                               : hps_fail(HPS_EIO, "%s: cannot be removed: %s", path, strerror(errno));
}

/* Rank 0.  Makes room for files that are to be written: those of torn residuals that are whole stay. */
static hps_status open_unfinished(const hps_ensemble_training *t, int j, hps_residual_state state)
{
    char path[HPS_PATH_MAX], unfinished[HPS_PATH_MAX], fingerprint[128];

    HPS_TRY(name_directory(t, j, "", path));
    HPS_TRY(name_directory(t, j, ".tmp", unfinished));
    if (state == HPS_RESIDUAL_TORN) {
        hps_warn("ensemble", "%s: torn, or files are missing: they are written again", path);
        HPS_TRY(remove_directory(unfinished));
        if (rename(path, unfinished) != 0) {
            return hps_fail(HPS_EIO, "%s: cannot be renamed: %s", path, strerror(errno));
        }
    }
    for (int64_t i = 0; i < hps_store_files(t->dataset.store); i++) {
        HPS_TRY(name_unfinished(t, j, i, path, fingerprint));
        const hps_residual_state one = hps_residual_look(path, fingerprint);
        if ((one == HPS_RESIDUAL_TORN || one == HPS_RESIDUAL_OTHER) && unlink(path) != 0) {
            return hps_fail(HPS_EIO, "%s: cannot be removed: %s", path, strerror(errno));
        }
    }
    return HPS_OK;
}

/* Rank 0. */
static hps_status close_finished(const hps_ensemble_training *t, int j)
{
    char path[HPS_PATH_MAX], unfinished[HPS_PATH_MAX];

    HPS_TRY(name_directory(t, j, "", path));
    HPS_TRY(name_directory(t, j, ".tmp", unfinished));
    return rename(unfinished, path) == 0 ? HPS_OK : hps_fail(HPS_EIO, "%s: cannot be made: %s", path, strerror(errno));
}

/* Collective.  The nearest input before stage j that stands whole: of stage *from; 0: the store. */
static hps_status find_start(const hps_ensemble_training *t, int j, int *from)
{
    hps_residual_state state;

    for (*from = j - 1; *from > 0; --*from) {
        HPS_TRY(look(t, *from, &state));
        if (state == HPS_RESIDUAL_WHOLE) {
            return HPS_OK;
        }
    }
    return HPS_OK;
}

/* Collective.  Opens what the pass reads, and runs it. */
static hps_status run_pass(hps_ensemble_training *t, int from, int to)
{
    char path[HPS_PATH_MAX], *paths[] = {path};
    hps_store *source;

    if (from == 0) {
        return hps_residuals_write(t, t->dataset.store, from, to, name_unfinished);
    }
    HPS_TRY(name_directory(t, from, "", path));
    HPS_TRY(hps_store_open(t->world, 1, paths, t->member[0]->data.hook, &source));
    const hps_status status = hps_residuals_write(t, source, from, to, name_unfinished);
    hps_store_close(&source);
    return status;
}

static hps_status refuse_other(const char *path)
{
    return hps_fail(HPS_ECONFIG,
                    "%s: residuals of another chain of stages, or of another store; remove the directory to have them "
                    "written anew",
                    path);
}

hps_status hps_residuals_make(hps_ensemble_training *t, int j)
{
    hps_residual_state state;
    char path[HPS_PATH_MAX];
    int from;

    HPS_TRY(name_directory(t, j, "", path));
    HPS_TRY(look(t, j, &state));
    if (state == HPS_RESIDUAL_WHOLE) {
        return HPS_OK;
    }
    if (state == HPS_RESIDUAL_OTHER) {
        return refuse_other(path);
    }
    HPS_TRY(find_start(t, j, &from));
    HPS_TRY(hps_share_status(t->world, t->rank == 0 ? open_unfinished(t, j, state) : HPS_OK));
    HPS_TRY(run_pass(t, from, j));
    return hps_share_status(t->world, t->rank == 0 ? close_finished(t, j) : HPS_OK);
}

hps_status hps_residuals_drop(hps_ensemble_training *t)
{
    char path[HPS_PATH_MAX];
    hps_status status = HPS_OK;
    int complete = 0;

    while (complete < t->file.members && t->file.member[complete].complete) {
        complete++;
    }
    for (int j = 1; t->config->ensemble.keep == HPS_KEEP_LAST && j < complete - 1 && t->rank == 0; j++) {
        status = status == HPS_OK ? name_directory(t, j, "", path) : status;
        status = status == HPS_OK ? remove_directory(path) : status;
    }
    return hps_share_status(t->world, status);
}

/* How many sets of files are still to be written, and for how many there must be room at once. */
static hps_status count_sets(const hps_ensemble_training *t, int first, int last, int *missing, int *needed)
{
    char path[HPS_PATH_MAX];
    int standing = 0;

    *missing = 0;
    for (int j = 1; j <= last; j++) {
        hps_residual_state state;
        HPS_TRY(look(t, j, &state));
        if (state == HPS_RESIDUAL_OTHER && j >= first && t->file.member[j - 1].complete) {
            HPS_TRY(name_directory(t, j, "", path));
            return refuse_other(path);
        }
        standing += state == HPS_RESIDUAL_WHOLE;
        *missing += state != HPS_RESIDUAL_WHOLE && j >= first;
    }
    const int most = t->config->ensemble.keep == HPS_KEEP_ALL ? *missing : standing > 0 ? 1 : 2;
    *needed = *missing < most ? *missing : most;
    return HPS_OK;
}

hps_status hps_residuals_check(hps_ensemble_training *t, int first, int last)
{
    const hps_store_info *info = t->dataset.info;
    const double bytes = (double)hps_residual_bytes(info->rows, info->d);
    char path[HPS_PATH_MAX];
    int missing = 0, needed = 0;

    HPS_TRY(count_sets(t, first, last, &missing, &needed));
    if (missing == 0) {
        return HPS_OK;
    }
    hps_log("ensemble", "residuals of %d stage%s to be written, %.1f MiB each; room is needed for %d", missing,
            missing == 1 ? "" : "s", bytes / 1048576, needed);
    HPS_TRY(name_directory(t, first > 0 ? first : 1, "", path));
    const hps_status status = hps_residual_room(t->world, path, (int64_t)(bytes * needed));
    return status == HPS_OK ? HPS_OK
                            : hps_fail(status, "%s; ensemble.residuals: live takes none", hps_status_message());
}
