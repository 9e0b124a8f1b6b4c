#include "hpsae/base/words.h"

#include <math.h>
#include <string.h>

size_t hps_dtype_size(hps_dtype dtype)
{
    static const size_t size[] = {[HPS_F16] = 2, [HPS_BF16] = 2, [HPS_F32] = 4, [HPS_F64] = 8};

    return size[dtype];
}

const char *hps_dtype_name(hps_dtype dtype)
{
    static const char *const name[] = {
        [HPS_F16] = "float16", [HPS_BF16] = "bfloat16", [HPS_F32] = "float32", [HPS_F64] = "float64"};

    return name[dtype];
}

static inline float float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* The exponent is moved by a product with 2^112, which also normalises subnormal halves; infinity and NaN apart. */
static inline float float_of_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, body = (uint32_t)(half & 0x7fff) << 13;
    const float value = float_of_bits(body) * 0x1p112f;

    return float_of_bits((body >= 0x0f800000 ? body | 0x7f800000 : bits_of_float(value)) | sign);
}

static inline uint16_t half_of_float(float value)
{
    const uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000;
    uint32_t body = bits & 0x7fffffff;

    if (body > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00); /* NaN */
    }
    if (body >= 0x477ff000) {
        return (uint16_t)(sign | 0x7c00); /* rounds to 65536 or beyond */
    }
    if (body < 0x38800000) {
        /* Subnormal half: adding 0.5 leaves the value, in units of 2^-24, rounded to even in the low bits. */
        return (uint16_t)(sign | (bits_of_float(float_of_bits(body) + 0.5f) - 0x3f000000));
    }
    body += 0xfff + (body >> 13 & 1);
    return (uint16_t)(sign | ((body - 0x38000000) >> 13));
}

static inline uint16_t bf16_of_float(float value)
{
    const uint32_t bits = bits_of_float(value);

    if ((bits & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void hps_words_to_float(hps_dtype dtype, int64_t count, const void *words, float *restrict values)
{
    const uint16_t *w16 = words;
    const double *w64 = words;

    switch (dtype) {
    case HPS_F16:
        for (int64_t i = 0; i < count; i++) {
            values[i] = float_of_half(w16[i]);
        }
        break;
    case HPS_BF16:
        for (int64_t i = 0; i < count; i++) {
            values[i] = float_of_bits((uint32_t)w16[i] << 16);
        }
        break;
    case HPS_F32:
        memcpy(values, words, (size_t)count * sizeof(float));
        break;
    case HPS_F64:
        for (int64_t i = 0; i < count; i++) {
            values[i] = (float)w64[i];
        }
        break;
    }
}

void hps_words_from_float(hps_dtype dtype, int64_t count, const float *restrict values, void *words)
{
    uint16_t *w16 = words;
    double *w64 = words;

    switch (dtype) {
    case HPS_F16:
        for (int64_t i = 0; i < count; i++) {
            w16[i] = half_of_float(values[i]);
        }
        break;
    case HPS_BF16:
        for (int64_t i = 0; i < count; i++) {
            w16[i] = bf16_of_float(values[i]);
        }
        break;
    case HPS_F32:
        memcpy(words, values, (size_t)count * sizeof(float));
        break;
    case HPS_F64:
        for (int64_t i = 0; i < count; i++) {
            w64[i] = (double)values[i];
        }
        break;
    }
}

/* A word is not finite when all bits of its exponent are set. */
static int64_t first_masked16(int64_t count, const uint16_t *words, uint16_t mask)
{
    for (int64_t i = 0; i < count; i++) {
        if ((words[i] & mask) == mask) {
            return i;
        }
    }
    return -1;
}

int64_t hps_words_first_nonfinite(hps_dtype dtype, int64_t count, const void *words)
{
    const float *w32 = words;
    const double *w64 = words;

    switch (dtype) {
    case HPS_F16:
        return first_masked16(count, words, 0x7c00);
    case HPS_BF16:
        return first_masked16(count, words, 0x7f80);
    case HPS_F32:
        for (int64_t i = 0; i < count; i++) {
            if (!isfinite(w32[i])) {
                return i;
            }
        }
        return -1;
    case HPS_F64:
        for (int64_t i = 0; i < count; i++) {
            if (!isfinite(w64[i])) {
                return i;
            }
        }
        return -1;
    }
    return -1;
}
