#include "hpsae/store/hdf5.h"

#include "hpsae/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = 1 << 20 };

void hps_h5_start(void)
{
    static bool started;

    if (!started) {
        setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
        H5open();
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
        started = true;
    }
}

static herr_t keep_description(unsigned n, const H5E_error2_t *entry, void *text)
{
    (void)n;
    if (entry->desc != NULL && entry->desc[0] != '\0') {
        snprintf(text, 256, "%s", entry->desc);
    }
    return 0;
}

char *hps_h5_reason(char text[256])
{
    snprintf(text, 256, "unknown");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, text);
    return text;
}

static hps_status say_why_not(const char *path)
{
    char reason[256];
    struct stat about = {0};

    hps_h5_reason(reason);
    if (stat(path, &about) == 0 && about.st_size == 0) {
        return hps_fail(HPS_EFORMAT, "%s: empty file; an HDF5 file is needed", path);
    }
    if (H5Fis_hdf5(path) == 0) {
        return hps_fail(HPS_EFORMAT, "%s: not an HDF5 file, or its head is damaged", path);
    }
    if (strstr(reason, "truncated") != NULL) {
        return hps_fail(HPS_EFORMAT, "%s: truncated, it has only %lld bytes; copy or write it again", path,
                        (long long)about.st_size);
    }
    return hps_fail(HPS_EFORMAT, "%s: damaged or truncated HDF5 file: %s", path, reason);
}

hps_status hps_h5_open(const char *path, hid_t *file)
{
    struct stat about;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    *file = H5I_INVALID_HID;
    hps_h5_start();
    if (fd < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    const int known = fstat(fd, &about);
    close(fd);
    if (known != 0 || !S_ISREG(about.st_mode)) {
        return hps_fail(HPS_EIO, "%s: not a regular file", path);
    }
    *file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    return *file >= 0 ? HPS_OK : say_why_not(path);
}

hps_status hps_text_copy(const char *text, char **copy)
{
    const size_t size = strlen(text) + 1;

    HPS_TRY(HPS_ALLOC(copy, (int64_t)size, "a name"));
    memcpy(*copy, text, size);
    return HPS_OK;
}

bool hps_h5_has(hid_t object, const char *name)
{
    return H5Aexists(object, name) > 0;
}

static bool read_variable_text(hid_t attribute, hid_t type, char **text)
{
    char *pointer = NULL;
    const bool done =
        H5Aread(attribute, type, &pointer) >= 0 && pointer != NULL && hps_text_copy(pointer, text) == HPS_OK;

    H5free_memory(pointer);
    return done;
}

static bool read_fixed_text(hid_t attribute, hid_t type, char **text)
{
    const size_t size = H5Tget_size(type);

    if (size >= TEXT_MAX || HPS_ALLOC(text, (int64_t)size + 1, "an attribute") != HPS_OK) {
        return false;
    }
    const bool done = H5Aread(attribute, type, *text) >= 0;
    if (!done) {
        HPS_FREE(text);
    }
    return done;
}

/* Opens an attribute if it has exactly `count` elements; a count of 1 stands for scalars too. */
static hid_t open_attribute(hid_t object, const char *name, int64_t count)
{
    const hid_t attribute = hps_h5_has(object, name) ? H5Aopen(object, name, H5P_DEFAULT) : H5I_INVALID_HID;

    if (attribute >= 0) {
        const hid_t space = H5Aget_space(attribute);
        const hssize_t points = H5Sget_simple_extent_npoints(space);
        H5Sclose(space);
        if (points != count) {
            H5Aclose(attribute);
            return H5I_INVALID_HID;
        }
    }
    return attribute;
}

static bool get_text(hid_t object, const char *name, bool may_vary, char **text)
{
    const hid_t attribute = open_attribute(object, name, 1);
    bool done = false;

    if (attribute >= 0) {
        const hid_t type = H5Aget_type(attribute);
        if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) > 0) {
            done = may_vary && read_variable_text(attribute, type, text);
        } else if (H5Tget_class(type) == H5T_STRING) {
            done = read_fixed_text(attribute, type, text);
        }
        H5Tclose(type);
        H5Aclose(attribute);
    }
    return done;
}

bool hps_h5_get_text(hid_t object, const char *name, char **text)
{
    return get_text(object, name, true, text);
}

bool hps_h5_get_fixed_text(hid_t object, const char *name, char **text)
{
    return get_text(object, name, false, text);
}

bool hps_h5_get_int(hid_t object, const char *name, int64_t *value)
{
    const hid_t attribute = open_attribute(object, name, 1);
    bool done = false;

    if (attribute >= 0) {
        const hid_t type = H5Aget_type(attribute);
        const H5T_class_t kind = H5Tget_class(type);
        int64_t read = 0;
        done = (kind == H5T_INTEGER || kind == H5T_ENUM) && H5Aread(attribute, H5T_NATIVE_INT64, &read) >= 0;
        *value = done ? read : *value;
        H5Tclose(type);
        H5Aclose(attribute);
    }
    return done;
}

bool hps_h5_get_reals(hid_t object, const char *name, int64_t count, double *values)
{
    const hid_t attribute = open_attribute(object, name, count);
    bool done = false;

    if (attribute >= 0) {
        const hid_t type = H5Aget_type(attribute);
        const H5T_class_t kind = H5Tget_class(type);
        done = (kind == H5T_FLOAT || kind == H5T_INTEGER) && H5Aread(attribute, H5T_NATIVE_DOUBLE, values) >= 0;
        H5Tclose(type);
        H5Aclose(attribute);
    }
    return done;
}

static hps_status set_attribute(hid_t object, const char *name, hid_t type, hid_t space, const void *value)
{
    char reason[256];

    if (hps_h5_has(object, name)) {
        H5Adelete(object, name);
    }
    const hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool done = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (!done) {
        hps_fail(HPS_EIO, "attribute %s cannot be written: %s", name, hps_h5_reason(reason));
    }
    H5Aclose(attribute);
    H5Sclose(space);
    return done ? HPS_OK : HPS_EIO;
}

hps_status hps_h5_set_text(hid_t object, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const hps_status status = set_attribute(object, name, type, H5Screate(H5S_SCALAR), &text);
    H5Tclose(type);
    return status;
}

hps_status hps_h5_set_fixed_text(hid_t object, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const hps_status status = set_attribute(object, name, type, H5Screate(H5S_SCALAR), text);
    H5Tclose(type);
    return status;
}

hps_status hps_h5_set_int(hid_t object, const char *name, int64_t value)
{
    return set_attribute(object, name, H5T_STD_I64LE, H5Screate(H5S_SCALAR), &value);
}

hps_status hps_h5_set_real(hid_t object, const char *name, double value)
{
    return set_attribute(object, name, H5T_IEEE_F64LE, H5Screate(H5S_SCALAR), &value);
}

hps_status hps_h5_set_reals(hid_t object, const char *name, int64_t count, const double *values)
{
    const hsize_t extent = (hsize_t)count;

    return set_attribute(object, name, H5T_IEEE_F64LE, H5Screate_simple(1, &extent, NULL), values);
}

/* The order of these calls matters: fields must lie within the size, and the size may only shrink after them. */
static hid_t half_type(void)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);

    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

hid_t hps_h5_type(hps_dtype dtype)
{
    hps_h5_start();
    switch (dtype) {
    case HPS_F16:
        return half_type();
    case HPS_BF16:
        return H5Tcopy(H5T_STD_U16LE);
    case HPS_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case HPS_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    }
    return H5I_INVALID_HID;
}

static bool float_dtype(hid_t type, hps_dtype *dtype)
{
    /* sign, exponent position, exponent size, mantissa position, mantissa size, bias */
    static const size_t layout[][6] = {[HPS_F16] = {15, 10, 5, 0, 10, 15},
                                       [HPS_BF16] = {15, 7, 8, 0, 7, 127},
                                       [HPS_F32] = {31, 23, 8, 0, 23, 127},
                                       [HPS_F64] = {63, 52, 11, 0, 52, 1023}};
    size_t f[6];

    if (H5Tget_fields(type, &f[0], &f[1], &f[2], &f[3], &f[4]) < 0) {
        return false;
    }
    f[5] = H5Tget_ebias(type);
    for (hps_dtype each = HPS_F16; each <= HPS_F64; each++) {
        if (H5Tget_size(type) == hps_dtype_size(each) && memcmp(f, layout[each], sizeof(f)) == 0) {
            *dtype = each;
            return true;
        }
    }
    return false;
}

static bool is_bf16_word(hid_t dataset, hid_t type)
{
    char *logical = NULL;
    bool is = false;

    if (H5Tget_size(type) == 2 && H5Tget_sign(type) == H5T_SGN_NONE &&
        hps_h5_get_text(dataset, "logical_dtype", &logical)) {
        is = strcmp(logical, "bfloat16") == 0;
    }
    HPS_FREE(&logical);
    return is;
}

bool hps_h5_dtype(hid_t dataset, hps_dtype *dtype, char text[64])
{
    const hid_t type = H5Dget_type(dataset);
    const H5T_class_t kind = H5Tget_class(type);
    const size_t bits = 8 * H5Tget_size(type);
    bool known = false;

    if (kind == H5T_FLOAT) {
        known = float_dtype(type, dtype);
        snprintf(text, 64, "%zu-bit floats of an unusual layout", bits);
    } else if (kind == H5T_INTEGER) {
        known = is_bf16_word(dataset, type);
        *dtype = known ? HPS_BF16 : *dtype;
        snprintf(text, 64, bits == 16 ? "16-bit integers without logical_dtype = \"bfloat16\"" : "%zu-bit integers",
                 bits);
    } else {
        snprintf(text, 64, "not numbers");
    }
    H5Tclose(type);
    return known;
}
