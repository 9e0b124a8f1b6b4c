#include "hpsae/base/rng.h"

#include <Random123/philox.h>
#include <math.h>

void hps_random_bits(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t block, uint32_t bits[4])
{
    /* The counter holds block and step, the key the seed; the purpose shares a word with the step's high half. */
    const philox4x32_ctr_t counter = {
        {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)step, (uint32_t)(step >> 32) ^ ((uint32_t)purpose << 16)}};
    const philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    const philox4x32_ctr_t out = philox4x32(counter, key);

    for (int i = 0; i < 4; i++) {
        bits[i] = out.v[i];
    }
}

uint64_t hps_random_u64(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t index)
{
    uint32_t bits[4];

    hps_random_bits(seed, purpose, step, index >> 1, bits);
    const unsigned half = (unsigned)(index & 1) * 2;
    return (uint64_t)bits[half + 1] << 32 | bits[half];
}

double hps_random_uniform(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t index)
{
    return ((double)(hps_random_u64(seed, purpose, step, index) >> 12) + 0.5) * 0x1p-52;
}

double hps_random_normal(uint64_t seed, hps_draw purpose, uint64_t step, uint64_t index)
{
    return hps_normal_quantile(hps_random_uniform(seed, purpose, step, index));
}

/* ln x = e ln 2 + 2 atanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2)), the series to the term of order 23. */
double hps_ln(double x)
{
    int e;
    double m = frexp(x, &e);

    if (m < 0.70710678118654752440) {
        m *= 2;
        e--;
    }
    const double t = (m - 1) / (m + 1), t2 = t * t;
    double series = 0;
    for (int order = 23; order >= 3; order -= 2) {
        series = (series + 1.0 / order) * t2;
    }
    /* ln 2 in two parts: the product of the first with e is exact. */
    return e * 0x1.62e42fefa38p-1 + (2 * t + (2 * t * series + e * 0x1.ef35793c7673p-45));
}

/* e^x = 2^q e^r with |r| <= ln 2 / 2, the series to order 13. */
double hps_exp(double x)
{
    const double q = nearbyint(x * 1.44269504088896340736);
    const double r = (x - q * 0x1.62e42fefa38p-1) - q * 0x1.ef35793c7673p-45;
    double series = 1;

    for (int order = 13; order >= 1; order--) {
        series = 1 + series * r / order;
    }
    return ldexp(series, (int)q);
}

double hps_power(double x, uint64_t n)
{
    double result = 1;

    for (; n > 0; n >>= 1, x *= x) {
        if (n & 1) {
            result *= x;
        }
    }
    return result;
}

static double horner(const double *c, int order, double x)
{
    double value = c[order];

    for (int i = order - 1; i >= 0; i--) {
        value = value * x + c[i];
    }
    return value;
}

double hps_normal_quantile(double p)
{
    /* clang-format off */
    static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1.0,                      4.2313330701600911252e+1, 6.8718700749205790830e+2,
                                5.3941960214247511077e+3, 2.1213794301586595867e+4, 3.9307895800092710610e+4,
                                2.8729085735721942674e+4, 5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
                                3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0,                       2.05319162663775882187e0,  1.67638483018380384940e0,
                                6.89767334985100004550e-1, 1.48103976427480074590e-1, 1.51986665636164571966e-2,
                                5.47593808499534494600e-4, 1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1.0,                       5.99832206555887937690e-1, 1.36929880922735805310e-1,
                                1.48753612908506148525e-2, 7.86869131145613259100e-4, 1.84631831751005468180e-5,
                                1.42151175831644588870e-7, 2.04426310338993978564e-15};
    /* clang-format on */
    const double q = p - 0.5;

    if (fabs(q) <= 0.425) {
        const double r = 0.180625 - q * q;
        return q * horner(a, 7, r) / horner(b, 7, r);
    }
    const double r = sqrt(-hps_ln(q < 0 ? p : 1 - p));
    const double tail =
        r <= 5 ? horner(c, 7, r - 1.6) / horner(d, 7, r - 1.6) : horner(e, 7, r - 5) / horner(f, 7, r - 5);
    return q < 0 ? -tail : tail;
}
