/*
 * Tokens whose k best latents are hard to find on several ranks, or awkward, and by definition what they are: a full sort on
 * one process.  A case is worked out once, for all backends and ranks' shares that are tried on it.
 */
#ifndef SELECTION_CASES_H
#define SELECTION_CASES_H

#include "hpsae/base/canonical.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/forward.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { N = 333, D = 20, TOKENS = 80, EVERY = 3 };

typedef struct {
    const char *name;
    int64_t k;
    float (*weight)(int64_t latent, int64_t column);
    float (*bias)(int64_t latent);
    float (*input)(int64_t token, int64_t column);
} scenario;

static struct {
    float w[N][D], b[N], x[TOKENS][D];
    hps_candidate all[TOKENS][N];   /* sorted */
    hps_candidate third[TOKENS][N]; /* likewise, of every EVERY-th latent; the others are no candidates */
} the;

static inline float normal(uint64_t stream, int64_t i)
{
    return (float)hps_random_normal(17, HPS_DRAW_TEST, stream, (uint64_t)i);
}

static inline float random_weight(int64_t i, int64_t j)
{
    return normal(1, i * D + j);
}

/* Latents of a block are nearly one, so that they win together, on one rank. */
static inline float cluster_weight(int64_t i, int64_t j)
{
    return normal(2, i / HPS_BLOCK * D + j) + 0.01f * normal(3, i * D + j);
}

/* Latents 40 apart are equal, and lie on different ranks. */
static inline float tied_weight(int64_t i, int64_t j)
{
    return rintf(normal(4, i % 40 * D + j));
}

static inline float tiny_weight(int64_t i, int64_t j)
{
    return normal(6, i * D + j) * 1e-38f;
}

static inline float zero_weight(int64_t i, int64_t j)
{
    (void)i;
    (void)j;
    return 0;
}

static inline float no_bias(int64_t i)
{
    (void)i;
    return 0;
}

static inline float one_bias(int64_t i)
{
    (void)i;
    return 1;
}

static inline float random_bias(int64_t i)
{
    return 0.1f * normal(7, i);
}

static inline float negative_bias(int64_t i)
{
    return -1000.0f - (float)(i % 3);
}

static inline float few_positive_bias(int64_t i)
{
    return i % 100 < 4 ? 0 : -1000.0f;
}

static inline float first_block_bias(int64_t i)
{
    return i < HPS_BLOCK ? 1000.0f : 0;
}

static inline float random_input(int64_t t, int64_t j)
{
    return normal(8, t * D + j);
}

static inline float integer_input(int64_t t, int64_t j)
{
    return rintf(4 * normal(5, t * D + j));
}

static inline float zero_input(int64_t t, int64_t j)
{
    (void)t;
    (void)j;
    return 0;
}

static inline int by_order(const void *a, const void *b)
{
    const hps_candidate x = *(const hps_candidate *)a, y = *(const hps_candidate *)b;

    return hps_before(x, y) ? -1 : hps_before(y, x);
}

/* The definition: every pre-activation, sorted. */
static inline void work_out(const scenario *s)
{
    for (int64_t i = 0; i < N; i++) {
        the.b[i] = s->bias(i);
        for (int64_t j = 0; j < D; j++) {
            the.w[i][j] = s->weight(i, j);
        }
    }
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t j = 0; j < D; j++) {
            the.x[t][j] = s->input(t, j);
        }
        for (int64_t i = 0; i < N; i++) {
            the.all[t][i] = (hps_candidate){hps_dot(D, the.w[i], the.x[t]) + the.b[i], (int32_t)i};
            the.third[t][i] = i % EVERY == 0 ? the.all[t][i] : HPS_NO_CANDIDATE;
        }
        qsort(the.all[t], N, sizeof(**the.all), by_order);
        qsort(the.third[t], N, sizeof(**the.third), by_order);
    }
}

/* Local.  The case as a model's encoder and a batch. */
static inline void set_case(hps_forward *f)
{
    const hps_model *m = f->model;

    for (int64_t l = 0; l < m->shard.own; l++) {
        const int64_t i = hps_shard_latent(&m->shard, l);
        for (int64_t j = 0; j < D; j++) {
            m->role[HPS_VALUE].W_enc[l * m->lde + j] = the.w[i][j];
        }
        m->role[HPS_VALUE].b_enc[l] = the.b[i];
    }
    for (int64_t i = 0; i < TOKENS * D; i++) {
        f->y[i / D * m->lde + i % D] = the.x[i / D][i % D];
    }
    hps_forward_refresh(f);
}

/* Local.  The own latents of every EVERY-th of all: how many, and list. */
static inline int64_t list_third(const hps_forward *f, int32_t list[N])
{
    int64_t count = 0;

    for (int64_t l = 0; l < f->model->shard.own; l++) {
        if (hps_shard_latent(&f->model->shard, l) % EVERY == 0) {
            list[count++] = (int32_t)l;
        }
    }
    return count;
}

/* Local.  How many slots differ from the positive ones of each token's first k, in order. */
static inline int64_t wrong_slots(const hps_candidate sorted[TOKENS][N], int64_t k, const hps_slots *slots)
{
    int64_t at = 0, wrong = 0;

    for (int64_t t = 0; t < TOKENS; t++) {
        wrong += slots->first[t] != at;
        for (int64_t q = 0; q < k && sorted[t][q].value > 0; q++, at++) {
            wrong += slots->slot[at].latent != sorted[t][q].latent || slots->slot[at].value != sorted[t][q].value;
        }
    }
    return wrong + (slots->first[TOKENS] != at);
}

#endif
