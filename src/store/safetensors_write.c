#include "hpsae/store/safetensors_write.h"

#include "hpsae/base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ENTRY_MAX = 256, LENGTH_BYTES = 8 };

static int64_t tensor_bytes(const hps_float_tensor *tensor)
{
    return tensor->shape[0] * (tensor->dimensions == 2 ? tensor->shape[1] : 1) * (int64_t)sizeof(float);
}

/* One entry of the header, offsets counted from its end. */
static int write_entry(const hps_float_tensor *tensor, int64_t begin, char *text)
{
    char shape[64];

    if (tensor->dimensions == 2) {
        snprintf(shape, sizeof(shape), "%" PRId64 ",%" PRId64, tensor->shape[0], tensor->shape[1]);
    } else {
        snprintf(shape, sizeof(shape), "%" PRId64, tensor->shape[0]);
    }
    return snprintf(text, ENTRY_MAX,
                    ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}",
                    tensor->name, shape, begin, begin + tensor_bytes(tensor));
}

hps_status hps_safetensors_lay_out(int count, hps_float_tensor *tensors, hps_safetensors_plan *plan)
{
    static const char start[] = "{\"__metadata__\":{\"format\":\"pt\"}";
    int64_t length = LENGTH_BYTES + (int64_t)strlen(start), data = 0;

    HPS_TRY(HPS_ALLOC(&plan->header, LENGTH_BYTES + ENTRY_MAX * (count + 1), "safetensors header"));
    char *text = plan->header;
    memcpy(text + LENGTH_BYTES, start, sizeof(start)); /* its NUL is overwritten */
    for (int i = 0; i < count; i++) {
        tensors[i].offset = data;
        length += write_entry(&tensors[i], data, text + length);
        data += tensor_bytes(&tensors[i]);
    }
    text[length++] = '}';
    while (length % 8 != 0) {
        text[length++] = ' ';
    }
    for (int i = 0; i < LENGTH_BYTES; i++) {
        text[i] = (char)((uint64_t)(length - LENGTH_BYTES) >> 8 * i & 255);
    }
    for (int i = 0; i < count; i++) {
        tensors[i].offset += length;
    }
    plan->header_bytes = length;
    plan->file_bytes = length + data;
    return HPS_OK;
}
