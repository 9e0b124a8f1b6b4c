#include "hpsae/base/disk.h"

#include "hpsae/base/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The reason for which there is no room, 0 if there is. */
static int take(int file, int64_t bytes)
{
    struct statvfs about;
    struct stat now;

    if (fallocate(file, 0, 0, bytes) == 0) {
        return 0;
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) {
        return errno;
    }
    if (fstatvfs(file, &about) != 0 || fstat(file, &now) != 0) {
        return errno;
    }
    const double missing = (double)bytes - 512.0 * (double)now.st_blocks;
    return (double)about.f_bavail * (double)about.f_frsize < missing ? ENOSPC : 0;
}

hps_status hps_disk_reserve(const char *path, int64_t bytes)
{
    char reason[128];
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    if (file < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, strerror(errno));
    }
    const int code = take(file, bytes);
    close(file);
    if (code == 0) {
        return HPS_OK;
    }
    snprintf(reason, sizeof(reason), "%s", strerror(code));
    reason[0] = (char)tolower(reason[0]);
    return hps_fail(HPS_EIO, "%s: no room for %.1f MiB: %s", path, (double)bytes / 1048576.0, reason);
}

static int sync_path(const char *path, int flags)
{
    const int file = open(path, flags | O_CLOEXEC);

    if (file < 0) {
        return errno;
    }
    const int code = fsync(file) == 0 ? 0 : errno;
    close(file);
    return code;
}

hps_status hps_disk_commit(const char *temporary, const char *path)
{
    char directory[HPS_PATH_MAX];
    int code = sync_path(temporary, O_RDWR);

    if (code == 0 && rename(temporary, path) != 0) {
        code = errno;
    }
    if (code != 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, strerror(code));
    }
    snprintf(directory, sizeof(directory), "%s", path);
    code = sync_path(dirname(directory), O_RDONLY | O_DIRECTORY);
    /* Some file systems sync directories by themselves and refuse to be asked. */
    if (code != 0 && code != EINVAL && code != EACCES) {
        return hps_fail(HPS_EIO, "%s: its directory cannot be synced: %s", path, strerror(code));
    }
    return HPS_OK;
}
