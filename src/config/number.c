#include "number.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "0123456789";

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?, the rule of YAML 1.2.2, 10.3.2. */
static bool real_form(const char *text)
{
    text += *text == '-' || *text == '+';
    const size_t whole = strspn(text, digits);
    text += whole;
    if (*text == '.') {
        const size_t fraction = strspn(text + 1, digits);
        if (whole == 0 && fraction == 0) {
            return false;
        }
        text += 1 + fraction;
    } else if (whole == 0) {
        return false;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        const size_t exponent = strspn(text, digits);
        if (exponent == 0) {
            return false;
        }
        text += exponent;
    }
    return *text == '\0';
}

hps_number_fault hps_number_real(const char *text, double *value)
{
    if (!real_form(text)) {
        return HPS_NUMBER_BAD;
    }
    *value = strtod(text, NULL);
    return isfinite(*value) ? HPS_NUMBER_OK : HPS_NUMBER_RANGE;
}

/* `number` is `text` behind its sign. */
static hps_number_fault in_base(const char *text, const char *number, int base, const char *allowed, int64_t *value)
{
    if (*number == '\0' || number[strspn(number, allowed)] != '\0') {
        return HPS_NUMBER_BAD;
    }
    errno = 0;
    *value = strtoll(text, NULL, base);
    return errno == ERANGE ? HPS_NUMBER_RANGE : HPS_NUMBER_OK;
}

hps_number_fault hps_number_integer(const char *text, int64_t *value)
{
    double real;

    if (strncmp(text, "0x", 2) == 0) {
        return in_base(text + 2, text + 2, 16, "0123456789abcdefABCDEF", value);
    }
    if (strncmp(text, "0o", 2) == 0) {
        return in_base(text + 2, text + 2, 8, "01234567", value);
    }
    const hps_number_fault fault = in_base(text, text + (*text == '-' || *text == '+'), 10, digits, value);
    if (fault != HPS_NUMBER_BAD) {
        return fault;
    }
    if (hps_number_real(text, &real) != HPS_NUMBER_OK) {
        return hps_number_real(text, &real);
    }
    if (real != floor(real)) {
        return HPS_NUMBER_BAD;
    }
    /* Above 2^53 a real form no longer says which integer is meant. */
    if (fabs(real) > 0x1p53) {
        return HPS_NUMBER_RANGE;
    }
    *value = (int64_t)real;
    return HPS_NUMBER_OK;
}

const char *hps_number_of_integer(int64_t value, char text[HPS_NUMBER_MAX])
{
    snprintf(text, HPS_NUMBER_MAX, "%lld", (long long)value);
    return text;
}

const char *hps_number_of_real(double value, char text[HPS_NUMBER_MAX])
{
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, HPS_NUMBER_MAX, "%.*g", precision, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    return text;
}
