/*
 * The screen never loses a winner: over 6 x 10^7 pairs of a token and a latent, built to break its error bound, each
 * backend selects what the reference selects, of all rows and of some, and above a floor.  The inputs: roundings to bf16
 * that all pull winners down and losers up; ties and values one rounding apart; rows and tokens of very different sizes;
 * denormals and zeros; a few huge columns; rows of one number.
 *
 * ranks: 1
 */
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/kernels/kernels.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { N = 2048, B = 1024, K = 24, ROUNDS = 2 };
enum { ALIGNED, TIES, SIZES, TINY, COLUMNS, CONSTANT, KINDS };
static const char *const kinds[] = {"roundings that add up", "ties",         "very different sizes",
                                    "denormals and zeros",   "huge columns", "constant rows"};

typedef struct {
    int64_t d, ld;
    float *W_enc, *b_enc, *y, *floor;
    int32_t *latent, *rows;
    int64_t some;
    hps_candidate *expected, *found; /* [B, K] */
    hps_hit *hit;
} problem;

static uint64_t drawn;

static double uniform(void)
{
    return hps_random_uniform(11, HPS_DRAW_TEST, 0, drawn++);
}

/* One number of a row (latent or token) number r. */
static float number(int kind, int64_t r, int64_t j)
{
    const double sign = uniform() < 0.5 ? -1 : 1;
    const float half = 0x1p-9f; /* half a unit of bf16's last place at 1 */

    switch (kind) {
    case ALIGNED: /* a hair below or above the middle between two bf16 numbers: half of the rows are rounded down whole */
        return 1 + (float)(int)(uniform() * 4) * 4 * half + half * (r % 2 == 0 ? 1 - 0x1p-12f : 1 + 0x1p-12f);
    case TIES: /* few different rows, some with one number a rounding away */
        return (float)((r % 50 * 31 + j * 7) % 5 - 2) * (r % 3 == 0 && j == r % 40 ? 1 + 0x1p-23f : 1);
    case SIZES:
        return (float)(sign * uniform() * hps_exp(40 * (double)(r % 11 - 5) / 5));
    case TINY:
        return r % 7 == 0 ? 0 : (float)(sign * uniform()) * (r % 3 == 0 ? 1e-39f : r % 3 == 1 ? 1e-20f : 1e-3f);
    case COLUMNS:
        return (float)(sign * uniform() * (j % 17 == 3 ? 1e4 : 1));
    default:
        return r % 5 == 0 ? 1.5f : (float)(1 + (double)(r % 100) * 1e-6);
    }
}

static void fill(int kind, problem *p)
{
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < p->ld; j++) {
            p->W_enc[i * p->ld + j] = j < p->d ? number(kind, i, j) : NAN;
        }
        p->b_enc[i] = kind == ALIGNED || i % 2 == 0 ? 0 : (float)(uniform() - 0.5);
        p->latent[i] = (int32_t)i;
    }
    for (int64_t t = 0; t < B; t++) {
        for (int64_t j = 0; j < p->ld; j++) {
            p->y[t * p->ld + j] = j < p->d ? number(kind, 3 * t + 1, j) : NAN;
        }
    }
    p->some = 0;
    for (int64_t i = 0; i < N; i += 1 + i % 4) {
        p->rows[p->some++] = (int32_t)i;
    }
}

static void make(int64_t d, problem *p)
{
    *p = (problem){.d = d, .ld = (d + 15) / 16 * 16};
    CHECK(HPS_ALLOC(&p->W_enc, N * p->ld, "t") == HPS_OK && HPS_ALLOC(&p->y, B * p->ld, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->b_enc, N, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->latent, N, "t") == HPS_OK && HPS_ALLOC(&p->rows, N, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->floor, B, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->expected, B * K, "t") == HPS_OK && HPS_ALLOC(&p->found, B * K, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->hit, B * N, "t") == HPS_OK);
}

static void discard(problem *p)
{
    HPS_FREE(&p->W_enc);
    HPS_FREE(&p->b_enc);
    HPS_FREE(&p->y);
    HPS_FREE(&p->floor);
    HPS_FREE(&p->latent);
    HPS_FREE(&p->rows);
    HPS_FREE(&p->expected);
    HPS_FREE(&p->found);
    HPS_FREE(&p->hit);
}

/* Above each token's K-th value there are exactly those of the reference that are not below it. */
static void search(const hps_kernels *k, hps_workspace *ws, const hps_encoder *enc, problem *p)
{
    int64_t least = 0, winners = 0;

    for (int64_t t = 0; t < B; t++) {
        const float value = p->expected[t * K + K - 1].value;
        p->floor[t] = value > 0 ? value : INFINITY;
        least += value > 0 ? K : 0;
    }
    const int64_t count = k->encode_above(ws, enc, B, p->ld, p->y, 0, NULL, p->floor, B * N, p->hit);
    CHECK(count >= least && count <= B * N);
    for (int64_t i = 0; i < count; i++) {
        const hps_candidate c = p->hit[i].candidate, last = p->expected[p->hit[i].token * K + K - 1];
        winners += !hps_before(last, c);
        CHECK(c.value >= last.value);
    }
    CHECK(winners == least);
}

/* The K best of all rows or of some; those of all are compared with the expected ones above a floor as well. */
static void encode(const hps_kernels *k, problem *p, bool all, bool above, hps_candidate *top)
{
    const hps_workspace_size size = {.B = B, .d = p->d, .k_max = K, .own = N, .threads = 2};
    const hps_encoder enc = {.own = N,
                             .d = p->d,
                             .lde = p->ld,
                             .W_enc = p->W_enc,
                             .b_enc = p->b_enc,
                             .latent = p->latent,
                             .row_norm = INFINITY};
    hps_workspace *ws;

    CHECK(k->workspace_create(&size, &ws) == HPS_OK);
    k->prepare(ws, &enc);
    k->encode(ws, &enc, p->some, all ? NULL : p->rows, B, p->ld, p->y, K, top);
    if (above) {
        search(k, ws, &enc, p);
    }
    k->workspace_destroy(&ws);
}

static int lists_equal(const hps_candidate *a, const hps_candidate *b)
{
    for (int64_t i = 0; i < B * K; i++) {
        if (a[i].value != b[i].value || a[i].latent != b[i].latent) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    static const int64_t columns[] = {33, 48, 64, 19};
    const int rounds = getenv("TEST_QUICK") != NULL ? 1 : ROUNDS;
    const hps_kernels *all[HPS_KERNELS_MAX], *ref;
    char name[80];

    MPI_Init(&argc, &argv);
    int count = hps_kernels_all(all);
    CHECK(hps_kernels_choose(HPS_BACKEND_REF, &ref) == HPS_OK);
    if (hps_kernels_device() != NULL) {
        all[count++] = hps_kernels_device();
        hps_memory_use(all[count - 1]->memory); /* what a device reaches, the others do too */
    }
    for (int kind = 0; kind < KINDS; kind++) {
        for (int round = 0; round < rounds; round++) {
            problem p;
            make(columns[round % 4], &p);
            fill(kind, &p);
            for (int some = 1; some >= 0; some--) {
                encode(ref, &p, !some, false, p.expected);
                for (int c = 0; c < count; c++) {
                    if (strcmp(all[c]->name, "ref") != 0) {
                        encode(all[c], &p, !some, !some, p.found);
                        CHECK(lists_equal(p.expected, p.found));
                    }
                }
            }
            discard(&p);
        }
        snprintf(name, sizeof(name), "%s: every backend finds what the reference finds", kinds[kind]);
        tap_case(name);
    }
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
