#include "source.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

bool hps_has_suffix(const char *path, const char *suffix)
{
    const size_t length = strlen(path), tail = strlen(suffix);

    return length > tail && strcasecmp(path + length - tail, suffix) == 0;
}

/* A store of many files may need more descriptors than the usual soft limit of 1024. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static hps_status open_descriptor(hps_source *source)
{
    struct stat about;

    source->fd = open(source->path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0 && errno == EMFILE) {
        raise_descriptor_limit();
        source->fd = open(source->path, O_RDONLY | O_CLOEXEC);
    }
    if (source->fd < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", source->path, strerror(errno));
    }
    if (fstat(source->fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        return hps_fail(HPS_EIO, "%s: not a regular file", source->path);
    }
    return HPS_OK;
}

static hps_status open_by_suffix(const char *path, hps_choice choice, hps_source *source)
{
    HPS_TRY(hps_text_copy(path, &source->path));
    HPS_TRY(open_descriptor(source));
    if (hps_has_suffix(path, ".npy")) {
        return hps_source_open_npy(source);
    }
    if (hps_has_suffix(path, ".safetensors")) {
        return hps_source_open_safetensors(choice, source);
    }
    return hps_source_open_hdf5(choice, source);
}

hps_status hps_source_open(const char *path, hps_choice choice, hps_source *source)
{
    *source = HPS_NO_SOURCE;
    const hps_status status = open_by_suffix(path, choice, source);

    if (status != HPS_OK) {
        hps_source_close(source);
    }
    return status;
}

void hps_source_close(hps_source *source)
{
    hps_array_close(&source->array);
    if (source->file >= 0) {
        H5Fclose(source->file);
    }
    if (source->fd >= 0) {
        close(source->fd);
    }
    HPS_FREE(&source->path);
    HPS_FREE(&source->dataset);
    HPS_FREE(&source->hook);
    *source = HPS_NO_SOURCE;
}

hps_status hps_source_check_shape(const hps_source *source, const char *what, int dimensions, const int64_t *shape)
{
    if (dimensions != 2) {
        return hps_fail(HPS_EFORMAT, "%s: %s has %d dimension%s; activations are [rows, d]", source->path, what,
                        dimensions, dimensions == 1 ? "" : "s");
    }
    if (shape[0] < 1 || shape[1] < 1) {
        return hps_fail(HPS_EFORMAT, "%s: %s is empty, of shape [%lld, %lld]", source->path, what, (long long)shape[0],
                        (long long)shape[1]);
    }
    return HPS_OK;
}
