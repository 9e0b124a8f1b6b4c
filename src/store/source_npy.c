/*
 * .npy files (numpy.lib.format, versions 1 to 3): six bytes of magic, two of version, the header's length in two or four
 * bytes, and as header a Python dict literal with the keys descr, fortran_order and shape.
 */
#include "source.h"

#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER_MAX = 1 << 20, DIMENSIONS_MAX = 32 };

static hps_status bad(const hps_source *source, const char *what)
{
    return hps_fail(HPS_EFORMAT, "%s: %s", source->path, what);
}

static hps_status read_header(const hps_source *source, int64_t size, char **text, int64_t *data)
{
    uint8_t head[12];

    if (size < 12) {
        return bad(source, "not a .npy file, or truncated in its head");
    }
    HPS_TRY(hps_file_read(source->fd, source->path, 0, 12, head));
    if (memcmp(head, "\x93NUMPY", 6) != 0) {
        return bad(source, "not a .npy file: its first bytes are others");
    }
    if (head[6] < 1 || head[6] > 3) {
        return hps_fail(HPS_EFORMAT, "%s: .npy version %d.%d; 1, 2 and 3 are known", source->path, head[6], head[7]);
    }
    const int start = head[6] == 1 ? 10 : 12;
    int64_t length = head[8] | head[9] << 8;
    if (start == 12) {
        length |= (int64_t)head[10] << 16 | (int64_t)head[11] << 24;
    }
    if (length > HEADER_MAX || length > size - start) {
        return bad(source, "damaged or truncated: its header is longer than the file or than 1 MiB");
    }
    HPS_TRY(HPS_ALLOC(text, length + 1, "a .npy header"));
    *data = start + length;
    return hps_file_read(source->fd, source->path, start, length, *text);
}

/* The text after `'key':` and blanks, or NULL. */
static const char *value_of(const char *text, const char *key)
{
    const size_t length = strlen(key);

    for (const char *at = strstr(text, key); at != NULL; at = strstr(at + 1, key)) {
        const char quote = at > text ? at[-1] : ' ';
        if ((quote == '\'' || quote == '"') && at[length] == quote) {
            at += length + 1;
            at += strspn(at, " ");
            if (*at == ':') {
                return at + 1 + strspn(at + 1, " ");
            }
        }
    }
    return NULL;
}

static hps_status take_type(const char *descr, hps_source *source)
{
    char type[16] = "";
    const char *end = *descr == '\'' || *descr == '"' ? strchr(descr + 1, *descr) : NULL;

    if (end == NULL || end - descr > 15) {
        return bad(source, "an array of records; activations are plain float16, float32 or float64");
    }
    memcpy(type, descr + 1, (size_t)(end - descr - 1));
    if (strcmp(type, "<f2") == 0) {
        source->dtype = HPS_F16;
    } else if (strcmp(type, "<f4") == 0) {
        source->dtype = HPS_F32;
    } else if (strcmp(type, "<f8") == 0) {
        source->dtype = HPS_F64;
    } else if (type[0] == '>') {
        return bad(source, "big-endian numbers; save it again with x.astype(x.dtype.newbyteorder('<'))");
    } else if (strchr(type, 'O') != NULL) {
        return bad(source, "holds pickled Python objects, which are not read; save a plain float array");
    } else {
        return hps_fail(HPS_EFORMAT, "%s: type %s; activations are float16, float32 or float64 (<f2, <f4, <f8)",
                        source->path, type);
    }
    return HPS_OK;
}

static hps_status take_shape(const char *text, hps_source *source)
{
    int64_t shape[DIMENSIONS_MAX] = {0};
    int dimensions = 0;

    if (*text++ != '(') {
        return bad(source, "damaged header: shape is not a tuple");
    }
    for (text += strspn(text, " "); *text != ')'; text += strspn(text, " ,L")) {
        char *end;
        errno = 0;
        const long long extent = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : -1;
        if (extent < 0 || errno != 0 || dimensions == DIMENSIONS_MAX) {
            return bad(source, "damaged header: shape is not a tuple of numbers");
        }
        shape[dimensions++] = extent;
        text = end;
    }
    HPS_TRY(hps_source_check_shape(source, "the array", dimensions, shape));
    source->array.rows = shape[0];
    source->d = shape[1];
    return HPS_OK;
}

static hps_status take_header(const char *text, hps_source *source)
{
    const char *descr = value_of(text, "descr"), *order = value_of(text, "fortran_order"),
               *shape = value_of(text, "shape");

    if (descr == NULL || order == NULL || shape == NULL) {
        return bad(source, "damaged header: descr, fortran_order or shape is missing");
    }
    HPS_TRY(take_type(descr, source));
    HPS_TRY(take_shape(shape, source));
    if (strncmp(order, "False", 5) != 0) {
        return bad(source, "in Fortran order; save it again with numpy.ascontiguousarray(x)");
    }
    return HPS_OK;
}

static hps_status check_length(const hps_source *source, int64_t size)
{
    int64_t bytes;

    if (__builtin_mul_overflow(source->array.rows, source->array.row_bytes, &bytes) ||
        bytes > size - source->array.begin) {
        return hps_fail(HPS_EFORMAT, "%s: truncated: [%lld, %lld] numbers do not fit its %lld bytes", source->path,
                        (long long)source->array.rows, (long long)source->d, (long long)size);
    }
    return HPS_OK;
}

hps_status hps_source_open_npy(hps_source *source)
{
    struct stat about;
    char *text = NULL;

    if (fstat(source->fd, &about) != 0) {
        return hps_fail(HPS_EIO, "%s: %s", source->path, strerror(errno));
    }
    source->array.path = source->path;
    source->array.fd = source->fd;
    hps_status status = read_header(source, about.st_size, &text, &source->array.begin);
    if (status == HPS_OK) {
        status = take_header(text, source);
    }
    HPS_FREE(&text);
    HPS_TRY(status);
    if (__builtin_mul_overflow(source->d, (int64_t)hps_dtype_size(source->dtype), &source->array.row_bytes)) {
        return bad(source, "damaged header: a row does not fit the address space");
    }
    HPS_TRY(check_length(source, about.st_size));
    HPS_TRY(hps_text_copy("", &source->dataset));
    return hps_text_copy("", &source->hook);
}
