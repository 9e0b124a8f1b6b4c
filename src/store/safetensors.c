#include "hpsae/store/safetensors.h"

#include "array.h"
#include "hpsae/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_MAX = 100000000 };

struct hps_safetensors {
    char *path; /* owned */
    int fd;
    int64_t size, data;      /* of the file; where the tensors' bytes begin */
    json_t *header;          /* owned; holds the names */
    hps_safetensor *tensors; /* [count], by begin; owned */
    int64_t count;
};

typedef struct {
    const char *name;
    int bits; /* of one element */
} element_type;

static const element_type types[] = {{"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},
                                     {"I32", 32},    {"I16", 16},    {"I8", 8},      {"U64", 64},    {"U32", 32},
                                     {"U16", 16},    {"U8", 8},      {"BOOL", 8},    {"C64", 64},    {"F8_E5M2", 8},
                                     {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};

static hps_status read_header(hps_safetensors *file)
{
    uint8_t head[8];
    uint64_t length = 0;
    char *text;
    json_error_t error;

    if (file->size < 10) {
        return hps_fail(HPS_EFORMAT, "%s: not a safetensors file, it has only %lld bytes", file->path,
                        (long long)file->size);
    }
    HPS_TRY(hps_file_read(file->fd, file->path, 0, 8, head));
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | head[i];
    }
    if (length > HEADER_MAX || (int64_t)length > file->size - 8) {
        return hps_fail(HPS_EFORMAT, "%s: not a safetensors file, or truncated: it says that its header has %llu bytes",
                        file->path, (unsigned long long)length);
    }
    file->data = 8 + (int64_t)length;
    HPS_TRY(HPS_ALLOC(&text, (int64_t)length + 1, "a safetensors header"));
    const hps_status status = hps_file_read(file->fd, file->path, 8, (int64_t)length, text);
    if (status == HPS_OK && text[0] == '{') {
        file->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    } else {
        snprintf(error.text, sizeof(error.text), "it does not begin with {");
    }
    HPS_FREE(&text);
    HPS_TRY(status);
    return file->header != NULL ? HPS_OK : hps_fail(HPS_EFORMAT, "%s: header: %s", file->path, error.text);
}

static hps_status bad_tensor(const hps_safetensors *file, const char *name, const char *what)
{
    return hps_fail(HPS_EFORMAT, "%s: tensor %s: %s", file->path, name, what);
}

static bool natural(const json_t *value, int64_t *number)
{
    *number = (int64_t)json_integer_value(value);
    return json_is_integer(value) && *number >= 0;
}

/* Shape and range of one entry; the product of shape and element size must be the range's length. */
static hps_status take_tensor(const hps_safetensors *file, const char *name, const json_t *entry, hps_safetensor *out)
{
    const json_t *shape = json_object_get(entry, "shape"), *range = json_object_get(entry, "data_offsets");
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    int64_t elements = 1, bits = 0;

    if (type == NULL || !json_is_array(shape) || json_array_size(range) != 2 || json_object_size(entry) != 3) {
        return bad_tensor(file, name, "an entry is dtype, shape and data_offsets [begin, end]");
    }
    if (json_array_size(shape) > HPS_TENSOR_DIMENSIONS) {
        return bad_tensor(file, name, "more than 8 dimensions");
    }
    *out = (hps_safetensor){.name = name, .type = type, .dimensions = (int)json_array_size(shape)};
    for (int i = 0; i < out->dimensions; i++) {
        if (!natural(json_array_get(shape, (size_t)i), &out->shape[i]) ||
            __builtin_mul_overflow(elements, out->shape[i], &elements)) {
            return bad_tensor(file, name, "its shape is not a list of numbers whose product fits 63 bits");
        }
    }
    if (!natural(json_array_get(range, 0), &out->begin) || !natural(json_array_get(range, 1), &out->end) ||
        out->begin > out->end || out->end > file->size - file->data) {
        return bad_tensor(file, name, "its bytes do not lie within the file; it is damaged or truncated");
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        bits = strcmp(types[i].name, type) == 0 ? types[i].bits : bits;
        if (i <= HPS_F64 && strcmp(types[i].name, type) == 0) {
            static const hps_dtype floats[] = {HPS_F64, HPS_F32, HPS_F16, HPS_BF16};
            out->is_float = true;
            out->dtype = floats[i];
        }
    }
    if (bits != 0 && (__builtin_mul_overflow(elements, bits, &bits) || bits != 8 * (out->end - out->begin))) {
        return bad_tensor(file, name, "its shape and type do not match its number of bytes");
    }
    return HPS_OK;
}

static int by_begin(const void *a, const void *b)
{
    const hps_safetensor *x = a, *y = b;

    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end != y->end ? (x->end < y->end ? -1 : 1) : strcmp(x->name, y->name);
}

static hps_status take_tensors(hps_safetensors *file)
{
    const char *name;
    json_t *entry;
    int64_t reached = 0;

    if (!json_is_object(file->header)) {
        return hps_fail(HPS_EFORMAT, "%s: header is not a JSON object", file->path);
    }
    HPS_TRY(HPS_ALLOC(&file->tensors, (int64_t)json_object_size(file->header), "a table of tensors"));
    json_object_foreach (file->header, name, entry) {
        if (strcmp(name, "__metadata__") != 0) {
            HPS_TRY(take_tensor(file, name, entry, &file->tensors[file->count]));
            file->count++;
        }
    }
    qsort(file->tensors, (size_t)file->count, sizeof(*file->tensors), by_begin);
    for (int64_t i = 0; i < file->count; i++) {
        hps_safetensor *tensor = &file->tensors[i];
        if (tensor->begin != reached) {
            return bad_tensor(file, tensor->name,
                              tensor->begin < reached ? "its bytes overlap those of another"
                                                      : "there is a gap before its bytes");
        }
        reached = tensor->end;
        tensor->begin += file->data;
        tensor->end += file->data;
    }
    if (reached != file->size - file->data) {
        return hps_fail(HPS_EFORMAT, "%s: %lld bytes after the last tensor belong to none", file->path,
                        (long long)(file->size - file->data - reached));
    }
    return HPS_OK;
}

static hps_status open_file(const char *path, hps_safetensors *file)
{
    struct stat about;

    HPS_TRY(HPS_ALLOC(&file->path, (int64_t)strlen(path) + 1, "a name"));
    memcpy(file->path, path, strlen(path) + 1);
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (fstat(file->fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        return hps_fail(HPS_EIO, "%s: not a regular file", path);
    }
    file->size = about.st_size;
    HPS_TRY(read_header(file));
    return take_tensors(file);
}

hps_status hps_safetensors_open(const char *path, hps_safetensors **file)
{
    HPS_TRY(HPS_ALLOC(file, 1, "a safetensors file"));
    (*file)->fd = -1;
    const hps_status status = open_file(path, *file);

    if (status != HPS_OK) {
        hps_safetensors_close(file);
    }
    return status;
}

void hps_safetensors_close(hps_safetensors **file)
{
    if (*file != NULL) {
        if ((*file)->fd >= 0) {
            close((*file)->fd);
        }
        json_decref((*file)->header);
        HPS_FREE(&(*file)->tensors);
        HPS_FREE(&(*file)->path);
        HPS_FREE(file);
    }
}

const hps_safetensor *hps_safetensors_list(const hps_safetensors *file, int64_t *count)
{
    *count = file->count;
    return file->tensors;
}

const hps_safetensor *hps_safetensors_find(const hps_safetensors *file, const char *name)
{
    for (int64_t i = 0; i < file->count; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    return NULL;
}

const char *hps_safetensors_metadata(const hps_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

static const char *shape_text(int dimensions, const int64_t *shape, char text[256])
{
    size_t used = 0;

    snprintf(text, 256, "[]");
    for (int i = 0; i < dimensions; i++) {
        char extent[24] = "any";
        if (shape[i] >= 0) {
            snprintf(extent, sizeof(extent), "%lld", (long long)shape[i]);
        }
        used += (size_t)snprintf(text + used, 256 - used, "%s%s%s", i == 0 ? "[" : ", ", extent,
                                 i == dimensions - 1 ? "]" : "");
    }
    return text;
}

static hps_status no_tensor(const hps_safetensors *file, const char *name)
{
    char names[512] = "";
    size_t used = 0;

    for (int64_t i = 0; i < file->count && used < sizeof(names) - 1; i++) {
        const int more = snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "", file->tensors[i].name);
        used = used + (size_t)more < sizeof(names) ? used + (size_t)more : sizeof(names) - 1;
    }
    return hps_fail(HPS_EFORMAT, "%s: no tensor %s; it has: %s", file->path, name, used > 0 ? names : "none");
}

hps_status hps_safetensors_want(const hps_safetensors *file, const char *name, int dimensions, const int64_t *shape,
                                const hps_safetensor **tensor)
{
    char has[256], needs[256];
    const hps_safetensor *found = hps_safetensors_find(file, name);

    *tensor = NULL;
    if (found == NULL) {
        return no_tensor(file, name);
    }
    bool fits = found->dimensions == dimensions;
    for (int i = 0; i < dimensions && fits; i++) {
        fits = shape[i] < 0 || shape[i] == found->shape[i];
    }
    if (!fits) {
        return hps_fail(HPS_EFORMAT, "%s: tensor %s has shape %s, %s is needed", file->path, name,
                        shape_text(found->dimensions, found->shape, has), shape_text(dimensions, shape, needs));
    }
    if (!found->is_float) {
        return hps_fail(HPS_EFORMAT, "%s: tensor %s is of type %s; F16, BF16, F32 or F64 is needed", file->path, name,
                        found->type);
    }
    *tensor = found;
    return HPS_OK;
}

hps_status hps_safetensors_read(const hps_safetensors *file, const hps_safetensor *tensor, int64_t first, int64_t count,
                                void *words)
{
    const int64_t size = (int64_t)hps_dtype_size(tensor->dtype), all = (tensor->end - tensor->begin) / size;

    if (!tensor->is_float || first < 0 || count < 0 || first > all - count) {
        return hps_fail(HPS_EARG, "%s: tensor %s: elements %lld to %lld asked for, it has %lld", file->path,
                        tensor->name, (long long)first, (long long)(first + count), (long long)all);
    }
    return hps_file_read(file->fd, file->path, tensor->begin + first * size, count * size, words);
}
