#include "sweep_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

hps_status hps_lock_take(const char *path, bool waits, int *file, hps_lock_state *state)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int bad;

    *file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*file < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be written: %s", path, strerror(errno));
    }
    do {
        bad = fcntl(*file, waits ? F_SETLKW : F_SETLK, &whole);
    } while (bad != 0 && errno == EINTR);
    *state = bad == 0 ? HPS_LOCK_HELD : !waits && (errno == EACCES || errno == EAGAIN) ? HPS_LOCK_BUSY : HPS_LOCK_NONE;
    return HPS_OK;
}

void hps_lock_release(int *file)
{
    if (*file >= 0) {
        close(*file);
    }
    *file = -1;
}

bool hps_lock_is_held(const char *path)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const int file = open(path, O_RDWR | O_CLOEXEC);

    if (file < 0) {
        return false;
    }
    const bool held = fcntl(file, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    close(file); /* this process holds none on it: closing would give that back */
    return held;
}
