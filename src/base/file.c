#include "hpsae/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

hps_status hps_path_join(const char *directory, const char *name, char path[HPS_PATH_MAX])
{
    const size_t length = strlen(directory);
    const char *slash = length > 0 && directory[length - 1] == '/' ? "" : "/";

    if (snprintf(path, HPS_PATH_MAX, "%s%s%s", directory, slash, name) >= HPS_PATH_MAX) {
        return hps_fail(HPS_EARG, "%.60s...: the path is longer than %d characters", directory, HPS_PATH_MAX - 1);
    }
    return HPS_OK;
}

static int write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        const ssize_t wrote = write(file, bytes, length);
        if (wrote < 0 && errno != EINTR) {
            return -1;
        }
        if (wrote > 0) {
            bytes += wrote;
            length -= (size_t)wrote;
        }
    }
    return fsync(file);
}

hps_status hps_file_replace(const char *path, const char *bytes, size_t length)
{
    char temporary[HPS_PATH_MAX + 8];

    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    const int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", temporary, strerror(errno));
    }
    int reason = write_all(file, bytes, length) == 0 ? 0 : errno;
    if (close(file) != 0 && reason == 0) {
        reason = errno;
    }
    if (reason == 0 && rename(temporary, path) != 0) {
        reason = errno;
    }
    if (reason != 0) {
        unlink(temporary);
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, strerror(reason));
    }
    return HPS_OK;
}

static hps_status make_one(const char *path)
{
    struct stat about;

    if (mkdir(path, 0777) == 0) {
        return HPS_OK;
    }
    const int reason = errno;
    if (stat(path, &about) == 0) {
        return S_ISDIR(about.st_mode) ? HPS_OK : hps_fail(HPS_EIO, "%s: is not a directory; choose another path", path);
    }
    return hps_fail(HPS_EIO, "%s: the directory cannot be made: %s", path, strerror(reason));
}

hps_status hps_directory_make(const char *path)
{
    char part[HPS_PATH_MAX];

    if (strlen(path) >= sizeof(part)) {
        return hps_fail(HPS_EARG, "%.60s...: the path is longer than %d characters", path, HPS_PATH_MAX - 1);
    }
    strcpy(part, path);
    for (char *slash = strchr(part + 1, '/'); part[0] != '\0' && slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        HPS_TRY(make_one(part));
        *slash = '/';
    }
    HPS_TRY(make_one(path));
    if (access(path, W_OK | X_OK) != 0) {
        return hps_fail(HPS_EIO, "%s: the directory cannot be written to: %s", path, strerror(errno));
    }
    return HPS_OK;
}
