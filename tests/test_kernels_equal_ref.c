/*
 * Every backend, compiled for every instruction set that this CPU has, gives the bits of the base reference: over odd
 * shapes, one and three threads, rows whose padding is full of NaN, ties, zeros and denormals.  So does an update from
 * gradients that were made before.
 *
 * ranks: 1
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/kernels/kernels.h"
#include "hpsae/model/forward.h"
#include "hpsae/model/slots.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t n, d, w, B, k; /* w: columns of the decoder's share, the first w of d */
    int kind;              /* 0 random, 1 many ties, 2 zeros and denormals */
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1, 0},          {37, 5, 5, 7, 3, 0},       {64, 61, 32, 33, 9, 0},  {300, 100, 100, 50, 64, 0},
    {77, 31, 31, 20, 77, 0},     {1500, 48, 48, 600, 5, 0}, {130, 33, 1, 40, 12, 1}, {1100, 64, 64, 30, 40, 1},
    {90, 17, 17, 25, 8, 2},      {200, 576, 96, 40, 16, 0}, {50, 20, 0, 10, 4, 0},   {120, 309, 309, 70, 21, 0},
    {150, 1100, 1100, 20, 6, 0},
};

/* A problem and what a backend made of it. */
typedef struct {
    shape s;
    int64_t lde, ldd;
    float *W_enc, *b_enc, *W_dec, *y, *z_sum, *R, *parallel, *bias_gradient;
    float *moment[6];
    int32_t *latent, *rows;
    double *scale, *sum, *square;
    hps_candidate *subset, *after; /* of some rows; of all, when they have been updated */
    hps_slots slots;
    hps_bucket bucket;
    hps_nesting nesting;
    float *S, *suffix, *sums, *floor; /* suffix [slots, ldd], sums [n, ldd] of z S */
    float *by_sums;                   /* [n, ldd] the gradient from sums instead of suffix */
    hps_hit *hit;                     /* [B * n] */
    float *G_dec, *G_enc;             /* [n, ldd], [n, lde]: gradients before they are used */
    int64_t hits, *dots;              /* dots [slots]: those of y */
    int64_t *fixed;                   /* [n + d + 1] */
    float row_norm;
} problem;

static uint64_t drawn;

static float draw(int kind)
{
    const float x = (float)hps_random_normal(7, HPS_DRAW_TEST, 0, drawn++);

    if (kind == 1) {
        return rintf(x);
    }
    return kind == 2 ? (drawn % 3 == 0 ? 0 : x * 1e-39f) : x;
}

/* Rows with m numbers and NaN behind them. */
static void fill(float *a, int64_t count, int64_t m, int64_t ld, int kind, float factor)
{
    for (int64_t r = 0; r < count; r++) {
        for (int64_t j = 0; j < ld; j++) {
            a[r * ld + j] = j < m ? draw(kind) * factor : NAN;
        }
    }
}

static int64_t padded(int64_t m)
{
    return (m + 15) / 16 * 16;
}

static void make(const shape *s, problem *p)
{
    *p = (problem){.s = *s, .lde = padded(s->d), .ldd = padded(s->w)};
    CHECK(HPS_ALLOC(&p->W_enc, s->n * p->lde, "t") == HPS_OK && HPS_ALLOC(&p->b_enc, s->n, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->W_dec, s->n * p->ldd, "t") == HPS_OK && HPS_ALLOC(&p->y, s->B * p->lde, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->z_sum, s->B, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->R, s->B * p->ldd, "t") == HPS_OK && HPS_ALLOC(&p->parallel, s->n, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->bias_gradient, s->n, "t") == HPS_OK && HPS_ALLOC(&p->latent, s->n, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->rows, s->n, "t") == HPS_OK && HPS_ALLOC(&p->scale, s->B, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->sum, p->ldd, "t") == HPS_OK && HPS_ALLOC(&p->square, p->ldd, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->after, s->B * s->k, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->subset, s->B * s->k, "t") == HPS_OK && HPS_ALLOC(&p->slots.slot, s->B * s->k, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->slots.first, s->B + 1, "t") == HPS_OK && HPS_ALLOC(&p->slots.dz, s->B * s->k, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->slots.dz_fixed, s->B * s->k, "t") == HPS_OK);
    CHECK(hps_bucket_create(s->n, s->B * s->k, 3, &p->bucket) == HPS_OK);
    CHECK(HPS_ALLOC(&p->fixed, s->n + s->d + 1, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->nesting.weight, s->B * s->k, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->nesting.bias_weight, s->B, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->S, s->B * p->ldd, "t") == HPS_OK && HPS_ALLOC(&p->floor, s->B, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->nesting.row, s->B * s->k, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->suffix, s->B * s->k * p->ldd, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->sums, s->n * p->ldd, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->by_sums, s->n * p->ldd, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->hit, s->B * s->n, "t") == HPS_OK && HPS_ALLOC(&p->dots, s->B * s->k, "t") == HPS_OK);
    CHECK(HPS_ALLOC(&p->G_dec, s->n * p->ldd, "t") == HPS_OK && HPS_ALLOC(&p->G_enc, s->n * p->lde, "t") == HPS_OK);
    const int64_t sizes[3] = {s->n * p->lde, s->n, s->n * p->ldd};
    for (int i = 0; i < 6; i++) {
        CHECK(HPS_ALLOC(&p->moment[i], sizes[i / 2], "t") == HPS_OK);
    }
}

static void discard(problem *p)
{
    HPS_FREE(&p->W_enc);
    HPS_FREE(&p->b_enc);
    HPS_FREE(&p->W_dec);
    HPS_FREE(&p->y);
    HPS_FREE(&p->z_sum);
    HPS_FREE(&p->R);
    HPS_FREE(&p->parallel);
    HPS_FREE(&p->bias_gradient);
    HPS_FREE(&p->latent);
    HPS_FREE(&p->rows);
    HPS_FREE(&p->scale);
    HPS_FREE(&p->sum);
    HPS_FREE(&p->square);
    HPS_FREE(&p->subset);
    HPS_FREE(&p->after);
    HPS_FREE(&p->slots.slot);
    HPS_FREE(&p->slots.first);
    HPS_FREE(&p->slots.dz);
    HPS_FREE(&p->slots.dz_fixed);
    hps_bucket_destroy(&p->bucket);
    HPS_FREE(&p->fixed);
    HPS_FREE(&p->nesting.weight);
    HPS_FREE(&p->nesting.bias_weight);
    HPS_FREE(&p->S);
    HPS_FREE(&p->nesting.row);
    HPS_FREE(&p->suffix);
    HPS_FREE(&p->sums);
    HPS_FREE(&p->by_sums);
    HPS_FREE(&p->floor);
    HPS_FREE(&p->hit);
    HPS_FREE(&p->dots);
    HPS_FREE(&p->G_dec);
    HPS_FREE(&p->G_enc);
    for (int i = 0; i < 6; i++) {
        HPS_FREE(&p->moment[i]);
    }
}

/* The same numbers every time. */
static void set(problem *p)
{
    const shape *s = &p->s;

    drawn = 0;
    fill(p->W_enc, s->n, s->d, p->lde, s->kind, 0.5f);
    fill(p->b_enc, 1, s->n, s->n, s->kind, 0.25f);
    fill(p->W_dec, s->n, s->w, p->ldd, s->kind, 0.3f);
    fill(p->y, s->B, s->d, p->lde, s->kind, 2);
    for (int64_t i = 0; i < s->n; i++) {
        p->latent[i] = (int32_t)i;
        p->row_norm = fmaxf(p->row_norm, sqrtf(hps_dot(s->d, p->W_enc + i * p->lde, p->W_enc + i * p->lde)) * 1.0001f);
    }
    for (int i = 0; i < 6; i++) {
        const int64_t rows = i / 2 == 1 ? 1 : s->n, m = i / 2 == 0 ? s->d : i / 2 == 1 ? s->n : s->w;
        fill(p->moment[i], rows, m, i / 2 == 1 ? s->n : padded(m), 0, 0.01f);
        for (int64_t j = 0; i % 2 == 1 && j < rows * (i / 2 == 1 ? s->n : padded(m)); j++) {
            p->moment[i][j] = fabsf(p->moment[i][j]);
        }
    }
}

static int by_token(const void *a, const void *b)
{
    const hps_hit *x = a, *y = b;

    return x->token != y->token ? x->token - y->token : x->candidate.latent - y->candidate.latent;
}

/* Every value that reaches half the token's largest; no value for every fifth token. */
static void search(const hps_kernels *kernels, hps_workspace *ws, const hps_encoder *enc, problem *p)
{
    const shape *s = &p->s;

    for (int64_t t = 0; t < s->B; t++) {
        const bool any = p->slots.first[t] < p->slots.first[t + 1] && t % 5 != 4;
        p->floor[t] = any ? p->slots.slot[p->slots.first[t]].value / 2 : INFINITY;
    }
    p->hits = kernels->encode_above(ws, enc, s->B, p->lde, p->y, 0, NULL, p->floor, s->B * s->n, p->hit);
    qsort(p->hit, (size_t)p->hits, sizeof(*p->hit), by_token);
}

/* A weight on every third slot and on each token's last. */
static void nest(const hps_kernels *kernels, hps_workspace *ws, problem *p, int64_t first_slots)
{
    const shape *s = &p->s;
    int32_t row = 0;

    for (int64_t t = 0; t < s->B; t++) {
        p->nesting.bias_weight[t] = 0.125f * (float)(t % 2);
        for (int32_t q = p->slots.first[t]; q < p->slots.first[t + 1]; q++) {
            const bool weighs = q % 3 == 0 || q + 1 == p->slots.first[t + 1];
            p->nesting.weight[q] = weighs ? 0.25f + 0.0625f * (float)(q % 7) : 0;
            p->nesting.row[q] = row;
            row += weighs;
        }
    }
    p->nesting.rows = row;
    kernels->decode(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, first_slots, -1, p->lde, p->y, p->scale, false, p->R);
    kernels->nested(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, &p->nesting, first_slots, p->lde, p->y, p->scale, p->R,
                    p->S);
    for (int64_t j = 0; j < s->w; j += HPS_BLOCK) {
        const int64_t some = s->w - j < HPS_BLOCK ? s->w - j : HPS_BLOCK;
        kernels->suffix_rows(ws, s->B, some, p->ldd, p->W_dec + j, &p->slots, &p->nesting, first_slots, p->R + j,
                             p->ldd, p->suffix + j);
        kernels->nested_sums(ws, s->B, s->n, some, p->ldd, p->W_dec + j, &p->slots, &p->nesting, first_slots, p->R + j,
                             p->ldd, p->sums + j);
    }
}

/* The update from gradients made beforehand, some latents at a time. */
static void update_in_parts(const hps_kernels *kernels, hps_workspace *ws, const hps_update *families,
                            const hps_encoder *enc, problem *p)
{
    const shape *s = &p->s;
    int64_t *column = p->fixed + s->n, *square = column + s->d;
    float row_norm;

    kernels->gradients(ws, families, 0, s->n, NULL, s->w, 0, NULL, p->ldd, p->G_dec);
    kernels->gradients(ws, families, 0, s->n, p->latent, s->d, p->lde, p->y, p->lde, p->G_enc);
    p->row_norm = 0;
    for (int64_t i = 0; i < s->n; i += 2 * HPS_BLOCK) {
        const int64_t some = s->n - i < 2 * HPS_BLOCK ? s->n - i : 2 * HPS_BLOCK, c = i * p->ldd, r = i * p->lde;
        const hps_state W_dec = {p->W_dec + c, p->moment[4] + c, p->moment[5] + c};
        const hps_state W_enc = {p->W_enc + r, p->moment[0] + r, p->moment[1] + r};
        const hps_state b_enc = {p->b_enc + i, p->moment[2] + i, p->moment[3] + i};
        const hps_encoder part = {some, s->d, p->lde, enc->W_enc + r, enc->b_enc + i, p->latent + i, 0};
        hps_update u = {.adam = families->adam,
                        .square_scale = families->square_scale,
                        .norm_scale = families->norm_scale,
                        .bias_scale = families->bias_scale,
                        .apply = families->apply,
                        .gradient = p->G_dec + c,
                        .ldg = p->ldd};
        kernels->update_decoder(ws, &u, some, s->w, p->ldd, p->parallel + i, &W_dec, square, p->fixed + i);
        u.gradient = p->G_enc + r;
        u.ldg = p->lde;
        u.first = i;
        kernels->update_encoder(ws, &u, &part, p->lde, p->y, p->bias_gradient, &W_enc, &b_enc, square, column,
                                &row_norm);
        p->row_norm = fmaxf(p->row_norm, row_norm);
    }
}

/* Bit for bit, but where TEST_QUICK names valgrind, whose fma makes -0 of -0 + 0, zeros are equal. */
static int rows_equal(int64_t rows, int64_t m, int64_t ld, const float *a, const float *b)
{
    const int quick = getenv("TEST_QUICK") != NULL;

    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = r * ld; j < r * ld + m; j++) {
            if (memcmp(a + j, b + j, sizeof(float)) != 0 && !(quick && a[j] == b[j])) {
                return 0;
            }
        }
    }
    return 1;
}

/* The gradient is the same whether suffix vectors or their sums by latent make it. */
static void sum_either_way(const hps_kernels *kernels, hps_workspace *ws, const hps_update *u, problem *p)
{
    hps_update sums = *u;

    sums.family[0].rows = NULL;
    sums.family[0].row = NULL;
    sums.family[0].sums = p->sums;
    kernels->gradients(ws, u, 0, p->s.n, NULL, p->s.w, 0, NULL, p->ldd, p->G_dec);
    kernels->gradients(ws, &sums, 0, p->s.n, NULL, p->s.w, 0, NULL, p->ldd, p->by_sums);
    CHECK(rows_equal(p->s.n, p->s.w, p->ldd, p->G_dec, p->by_sums));
}

/* All kernels in turn, as a step calls them; with parts, gradients are made before they are used. */
static void run(const hps_kernels *kernels, int threads, bool parts, problem *p)
{
    const shape *s = &p->s;
    hps_workspace_size size = {.B = s->B, .d = s->d, .k_max = s->k, .own = s->n, .threads = threads};
    const hps_encoder enc = {s->n, s->d, p->lde, p->W_enc, p->b_enc, p->latent, p->row_norm};
    hps_workspace *ws;
    int64_t count = 0;

    CHECK(kernels->workspace_create(&size, &ws) == HPS_OK);
    for (int64_t i = 0; i < s->n; i += 1 + i % 3) {
        p->rows[count++] = (int32_t)i;
    }
    kernels->prepare(ws, &enc);
    kernels->encode(ws, &enc, count, p->rows, s->B, p->lde, p->y, s->k, p->subset);
    kernels->encode(ws, &enc, 0, NULL, s->B, p->lde, p->y, s->k, p->slots.slot);
    hps_slots_compact(s->B, s->k, s->k, &p->slots, p->z_sum);
    p->slots.latents = s->k % 2; /* a hint, however wrong, changes no bit */
    search(kernels, ws, &enc, p);
    for (int64_t t = 0; t < s->B; t++) {
        p->scale[t] = hps_fixed_scale(1e6);
    }
    kernels->decode(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, 2, -1, p->lde, p->y, p->scale, false, p->R);
    kernels->decode(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, -1, 1, p->ldd, p->R, p->scale, true, p->R);
    nest(kernels, ws, p, 2);
    nest(kernels, ws, p, -1);
    kernels->slot_dots(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, p->lde, p->y, p->scale);
    memcpy(p->dots, p->slots.dz_fixed, (size_t)p->slots.first[s->B] * sizeof(int64_t));
    kernels->nested(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, &p->nesting, -1, p->lde, p->y, p->scale, p->R, p->S);
    kernels->column_sums(ws, s->B, s->w, p->ldd, p->S, p->lde, p->y, p->sum, p->square);
    for (int32_t q = 0; q < p->slots.first[s->B]; q++) {
        p->slots.dz[q] = (float)hps_from_fixed(p->slots.dz_fixed[q], p->scale[0]);
    }
    hps_bucket_fill(s->B, s->n, &p->slots, &p->bucket);
    hps_update u = {.families = 2,
                    .family = {{&p->slots, &p->bucket, p->suffix, NULL, p->ldd, p->nesting.row, 0.01f},
                               {&p->slots, &p->bucket, p->R, NULL, p->ldd, NULL, 0.003f}},
                    .adam = {1e-2f, 0.9f, 0.999f, 1e-9f, 10, 1000, 0.7f},
                    .square_scale = 1024,
                    .norm_scale = 0x1p40,
                    .bias_scale = 0x1p20};
    const hps_state W_dec = {p->W_dec, p->moment[4], p->moment[5]}, W_enc = {p->W_enc, p->moment[0], p->moment[1]};
    const hps_state b_enc = {p->b_enc, p->moment[2], p->moment[3]};
    hps_latent_sums(s->n, 2, u.family, 1, p->parallel, p->bias_gradient);
    sum_either_way(kernels, ws, &u, p);
    memset(p->fixed, 0, (size_t)(s->n + s->d + 1) * sizeof(int64_t));
    for (int pass = 0; pass < 2; pass++) {
        u.apply = pass == 1;
        if (parts) {
            update_in_parts(kernels, ws, &u, &enc, p);
            continue;
        }
        kernels->update_decoder(ws, &u, s->n, s->w, p->ldd, p->parallel, &W_dec, p->fixed + s->n + s->d, p->fixed);
        kernels->update_encoder(ws, &u, &enc, p->lde, p->y, p->bias_gradient, &W_enc, &b_enc, p->fixed + s->n + s->d,
                                p->fixed + s->n, &p->row_norm);
    }
    kernels->encode(ws, &enc, 0, NULL, s->B, p->lde, p->y, s->k, p->after);
    kernels->normalise(ws, s->n, s->w, p->ldd, p->fixed, u.norm_scale, p->W_dec);
    kernels->workspace_destroy(&ws);
}

/*
 * One weight of 1 on the last slot is the plain objective bit for bit: S is R, and so are its slot gradients; and the sums by
 * latent are those of z R.
 */
static void check_plain(const hps_kernels *kernels, problem *p)
{
    const shape *s = &p->s;
    const hps_workspace_size size = {.B = s->B, .d = s->d, .k_max = s->k, .own = s->n, .threads = 1};
    const int32_t slots = p->slots.first[s->B];
    hps_workspace *ws;

    CHECK(kernels->workspace_create(&size, &ws) == HPS_OK);
    kernels->decode(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, -1, -1, p->lde, p->y, p->scale, true, p->R);
    memcpy(p->dots, p->slots.dz_fixed, (size_t)slots * sizeof(int64_t));
    for (int64_t t = 0; t < s->B; t++) {
        p->nesting.bias_weight[t] = p->slots.first[t] == p->slots.first[t + 1] ? 1 : 0;
        for (int32_t q = p->slots.first[t]; q < p->slots.first[t + 1]; q++) {
            p->nesting.weight[q] = q + 1 == p->slots.first[t + 1] ? 1 : 0;
            p->nesting.row[q] = (int32_t)t;
        }
    }
    kernels->nested(ws, s->B, s->w, p->ldd, p->W_dec, &p->slots, &p->nesting, -1, p->lde, p->y, p->scale, p->R, p->S);
    CHECK(memcmp(p->dots, p->slots.dz_fixed, (size_t)slots * sizeof(int64_t)) == 0);
    for (int64_t i = 0; i < s->B * p->ldd; i++) {
        CHECK(i % p->ldd >= s->w || p->S[i] == p->R[i]);
    }
    kernels->nested_sums(ws, s->B, s->n, s->w, p->ldd, p->W_dec, &p->slots, &p->nesting, -1, p->R, p->ldd, p->sums);
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t j = 0; j < s->w; j++) {
            float sum = 0;
            for (int32_t e = p->bucket.first[i]; e < p->bucket.first[i + 1]; e++) {
                sum = fmaf(p->bucket.entry[e].z, p->R[p->bucket.entry[e].token * p->ldd + j], sum);
            }
            CHECK(p->sums[i * p->ldd + j] == sum);
        }
    }
    kernels->workspace_destroy(&ws);
}

/* Candidates are equal as numbers: the sign of a zero pre-activation is not defined. */
static int candidates_equal(int64_t count, const hps_candidate *a, const hps_candidate *b)
{
    for (int64_t i = 0; i < count; i++) {
        if (a[i].value != b[i].value || a[i].latent != b[i].latent) {
            return 0;
        }
    }
    return 1;
}

static void compare(const problem *a, const problem *b)
{
    const shape *s = &a->s;
    const int32_t slots = a->slots.first[s->B];

    CHECK(candidates_equal(s->B * s->k, a->subset, b->subset));
    CHECK(candidates_equal(s->B * s->k, a->after, b->after));
    CHECK(candidates_equal(s->B * s->k, a->after, b->after));
    CHECK(memcmp(a->slots.first, b->slots.first, (size_t)(s->B + 1) * sizeof(int32_t)) == 0);
    CHECK(candidates_equal(slots, a->slots.slot, b->slots.slot));
    CHECK(memcmp(a->slots.dz_fixed, b->slots.dz_fixed, (size_t)slots * sizeof(int64_t)) == 0);
    CHECK(memcmp(a->dots, b->dots, (size_t)slots * sizeof(int64_t)) == 0);
    CHECK(a->hits == b->hits && memcmp(a->hit, b->hit, (size_t)a->hits * sizeof(hps_hit)) == 0);
    CHECK(rows_equal(s->B, s->w, a->ldd, a->R, b->R));
    CHECK(rows_equal(s->B, s->w, a->ldd, a->S, b->S));
    CHECK(rows_equal(a->nesting.rows, s->w, a->ldd, a->suffix, b->suffix));
    CHECK(rows_equal(s->n, s->w, a->ldd, a->sums, b->sums));
    CHECK(rows_equal(s->n, s->w, a->ldd, a->by_sums, b->by_sums));
    CHECK(memcmp(a->sum, b->sum, (size_t)s->w * sizeof(double)) == 0);
    CHECK(memcmp(a->square, b->square, (size_t)s->w * sizeof(double)) == 0);
    CHECK(memcmp(a->fixed, b->fixed, (size_t)(s->n + s->d + 1) * sizeof(int64_t)) == 0);
    CHECK(rows_equal(s->n, s->d, a->lde, a->W_enc, b->W_enc));
    CHECK(rows_equal(1, s->n, s->n, a->b_enc, b->b_enc));
    CHECK(rows_equal(s->n, s->w, a->ldd, a->W_dec, b->W_dec));
    for (int i = 0; i < 6; i++) {
        const int64_t rows = i / 2 == 1 ? 1 : s->n, m = i / 2 == 0 ? s->d : i / 2 == 1 ? s->n : s->w;
        CHECK(rows_equal(rows, m, i / 2 == 1 ? s->n : padded(m), a->moment[i], b->moment[i]));
    }
    CHECK(a->row_norm == b->row_norm);
}

int main(int argc, char **argv)
{
    const hps_kernels *all[HPS_KERNELS_MAX];
    int count = hps_kernels_all(all);
    char name[96];

    MPI_Init(&argc, &argv);
    if (hps_kernels_device() != NULL) {
        all[count++] = hps_kernels_device();
        hps_memory_use(all[count - 1]->memory); /* what a device reaches, the others do too */
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        problem reference, other;
        make(&shapes[i], &reference);
        make(&shapes[i], &other);
        set(&reference);
        run(all[0], 1, false, &reference);
        CHECK(reference.s.w == 0 || reference.slots.first[reference.s.B] > 0);
        for (int c = 0; c < count; c++) {
            for (int way = 0; way < 4; way++) {
                other.row_norm = 0;
                set(&other);
                run(all[c], way < 2 ? 1 : 3, way % 2 == 1, &other);
                compare(&reference, &other);
            }
        }
        check_plain(all[0], &reference);
        check_plain(all[count - 1], &other);
        discard(&reference);
        discard(&other);
        snprintf(name, sizeof(name), "n %lld, d %lld, %lld columns, B %lld, k %lld, kind %d", (long long)shapes[i].n,
                 (long long)shapes[i].d, (long long)shapes[i].w, (long long)shapes[i].B, (long long)shapes[i].k,
                 shapes[i].kind);
        tap_case(name);
    }
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
