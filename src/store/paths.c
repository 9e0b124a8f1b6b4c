#include "paths.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static hps_status append(hps_paths *paths, const char *path)
{
    char **grown;

    /* Powers of two: the list is full when its length is one. */
    if ((paths->count & (paths->count - 1)) == 0) {
        HPS_TRY(HPS_ALLOC(&grown, paths->count == 0 ? 1 : 2 * paths->count, "the list of input files"));
        if (paths->count > 0) {
            memcpy(grown, paths->items, (size_t)paths->count * sizeof(*grown));
        }
        HPS_FREE(&paths->items);
        paths->items = grown;
    }
    HPS_TRY(hps_text_copy(path, &paths->items[paths->count]));
    paths->count++;
    return HPS_OK;
}

static bool suits(const char *name, const char *const *suffixes)
{
    for (; *suffixes != NULL; suffixes++) {
        if (name[0] != '.' && hps_has_suffix(name, *suffixes)) {
            return true;
        }
    }
    return false;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static hps_status add_entries(const char *directory, DIR *stream, const char *const *suffixes, hps_paths *paths)
{
    const int64_t before = paths->count;
    char path[4096];

    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (suits(entry->d_name, suffixes)) {
            if (snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name) >= (int)sizeof(path)) {
                return hps_fail(HPS_EIO, "%s: a name in it is too long", directory);
            }
            HPS_TRY(append(paths, path));
        }
    }
    if (paths->count == before) {
        return hps_fail(HPS_EFORMAT, "%s: no file in this directory ends in %s", directory, suffixes[0]);
    }
    qsort(paths->items + before, (size_t)(paths->count - before), sizeof(*paths->items), by_bytes);
    return HPS_OK;
}

static hps_status add_path(const char *path, const char *const *suffixes, hps_paths *paths)
{
    struct stat about;

    if (stat(path, &about) != 0) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (!S_ISDIR(about.st_mode)) {
        return append(paths, path);
    }
    DIR *stream = opendir(path);
    if (stream == NULL) {
        return hps_fail(HPS_EIO, "%s: cannot be listed: %s", path, strerror(errno));
    }
    const hps_status status = add_entries(path, stream, suffixes, paths);
    closedir(stream);
    return status;
}

hps_status hps_paths_expand(int64_t count, char *const *given, const char *const *suffixes, hps_paths *paths)
{
    *paths = (hps_paths){0};
    for (int64_t i = 0; i < count; i++) {
        HPS_TRY(add_path(given[i], suffixes, paths));
    }
    return paths->count > 0 ? HPS_OK : hps_fail(HPS_ECONFIG, "no input file is named");
}

void hps_paths_free(hps_paths *paths)
{
    for (int64_t i = 0; i < paths->count; i++) {
        HPS_FREE(&paths->items[i]);
    }
    HPS_FREE(&paths->items);
    paths->count = 0;
}
