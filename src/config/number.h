/*
 * Numbers as YAML 1.2 writes them, read without remainder and written so that they read back.
 */
#ifndef HPSAE_CONFIG_NUMBER_H
#define HPSAE_CONFIG_NUMBER_H

#include <stdint.h>

typedef enum { HPS_NUMBER_OK, HPS_NUMBER_BAD, HPS_NUMBER_RANGE } hps_number_fault;

/*
 * Local.  An integer: decimal, 0x hexadecimal, 0o octal, or a real form without a fraction ("2e6", "1.5e3").
 * HPS_NUMBER_BAD: not that from the first to the last character; HPS_NUMBER_RANGE: beyond int64_t.
 */
hps_number_fault hps_number_integer(const char *text, int64_t *value);

/* Local.  A finite real number in decimal; no "inf", "nan", hexadecimal.  HPS_NUMBER_RANGE: beyond double. */
hps_number_fault hps_number_real(const char *text, double *value);

/* Local.  Decimal text that reads back as the same number, the shortest of 15 to 17 digits.  Return text. */
enum { HPS_NUMBER_MAX = 32 };
const char *hps_number_of_integer(int64_t value, char text[HPS_NUMBER_MAX]);
const char *hps_number_of_real(double value, char text[HPS_NUMBER_MAX]);

#endif
