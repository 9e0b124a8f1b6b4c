/*
 * The distributed selections over a batch, above a threshold and by gradient are those of a full sort on one process, on
 * every backend: random data, ties across ranks and tokens, zeros, no positive value, fewer positive values than wanted,
 * everything, denormals; whatever the batch before was like.
 *
 * ranks: 1 2 3 4
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/forward.h"
#include "tap.h"

#include <stdlib.h>

enum { N = 333, D = 21, TOKENS = 13, ALL = N * TOKENS };

typedef struct {
    const char *name;
    int64_t k;
    float weight, bias, input; /* scale of what is drawn */
    float bias_offset;         /* of all latents but every hundredth */
    bool whole;                /* weights and inputs are whole numbers, latents 40 apart equal, tokens 3 apart too */
} scenario;

static const scenario scenarios[] = {
    {"random data", 16, 1, 0.1f, 1, 0, false},
    {"equal values on ranks and tokens", 50, 1, 0, 1, 0, true},
    {"all values zero", 40, 1, 0, 0, 0, false},
    {"all values negative, with ties", 9, 1, 0, 1, -2000, true},
    {"fewer positive values than wanted", 20, 1, 0.1f, 1, -1000, false},
    {"everything", N, 1, 0.1f, 1, 0, false},
    {"one a token", 1, 1, 0.1f, 1, 0, false},
    {"denormals", 12, 1e-38f, 0, 1, 0, false},
};

static float draw(uint64_t stream, int64_t index, bool whole)
{
    const float value = (float)hps_random_normal(17, HPS_DRAW_TEST, stream, (uint64_t)index);

    return whole ? rintf(value) : value;
}

/* A scenario's numbers: what the model and the batch are, and every pre-activation. */
typedef struct {
    float W[N][D], bias[N], x[TOKENS][D], p[TOKENS][N];
    int threads;
} numbers;

static void fill(const scenario *s, numbers *u)
{
    u->threads = s == scenarios ? 2 : 1;
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < D; j++) {
            u->W[i][j] = s->weight * draw(1, (s->whole ? i % 40 : i) * D + j, s->whole);
        }
        u->bias[i] = s->bias * draw(2, i, false) + (i % 100 == 7 ? 0 : s->bias_offset);
    }
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t j = 0; j < D; j++) {
            u->x[t][j] = s->input * draw(3, (s->whole ? t % 3 : t) * D + j, s->whole);
        }
        for (int64_t i = 0; i < N; i++) {
            u->p[t][i] = hps_dot(D, u->W[i], u->x[t]) + u->bias[i];
        }
    }
}

static float gradient(int64_t t, int64_t j)
{
    return rintf(2 * draw(4, t * D + j, false)) / 2; /* so that scores are equal, too */
}

/* Decoder rows are unit vectors along one axis: their product with a gradient is one number of it. */
static int64_t axis(int64_t i)
{
    return i * 7 % D;
}

typedef struct {
    int64_t token;
    hps_candidate candidate;
    float score;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->token != y->token
               ? (x->token > y->token) - (x->token < y->token)
               : (x->candidate.latent > y->candidate.latent) - (x->candidate.latent < y->candidate.latent);
}

static int by_token(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    return x->token != y->token ? (x->token > y->token) - (x->token < y->token) : by_score(a, b);
}

static float score(const hps_pick *pick, int64_t t, int64_t i, float z)
{
    return pick->rule == HPS_PICK_GRADIENT
               ? z * fmaf((float)pick->beta, fabsf(gradient(t, axis(i))), (float)pick->alpha)
               : z;
}

/* The definition: every positive pre-activation, scored and sorted; returns how many are kept, by token. */
static int64_t full_sort(const numbers *u, const hps_pick *pick, int64_t B, scored all[ALL])
{
    int64_t count = 0, kept = 0;

    for (int64_t t = 0; t < B; t++) {
        for (int64_t i = 0; i < N; i++) {
            const float z = u->p[t][i];
            if (z > 0 && (pick->rule != HPS_PICK_THRESHOLD || (double)z > pick->threshold)) {
                all[count++] = (scored){t, {z, (int32_t)i}, score(pick, t, i, z)};
            }
        }
    }
    if (pick->rule == HPS_PICK_BATCH) {
        qsort(all, (size_t)count, sizeof(*all), by_score);
        count = count < pick->k * B ? count : pick->k * B;
    }
    qsort(all, (size_t)count, sizeof(*all), by_token);
    if (pick->rule != HPS_PICK_GRADIENT) {
        return count;
    }
    for (int64_t c = 0, place = 0; c < count; c++) {
        place = c > 0 && all[c].token == all[c - 1].token ? place + 1 : 0;
        if (place < pick->k) {
            all[kept++] = all[c];
        }
    }
    return kept;
}

static void set_model(const numbers *u, hps_model *m)
{
    const hps_tensors *value_of = &m->role[HPS_VALUE];

    for (int64_t l = 0; l < m->shard.own; l++) {
        const int64_t i = hps_shard_latent(&m->shard, l);
        for (int64_t j = 0; j < D; j++) {
            value_of->W_enc[l * m->lde + j] = u->W[i][j];
        }
        value_of->b_enc[l] = u->bias[i];
    }
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = m->shard.c0; j < m->shard.c0 + m->shard.w; j++) {
            value_of->W_dec[i * m->ldd + j - m->shard.c0] = j == axis(i) ? (i % 2 == 0 ? 1.0f : -1.0f) : 0;
        }
    }
}

static void set_batch(const numbers *u, hps_forward *f, float factor)
{
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t j = 0; j < D; j++) {
            f->y[t * f->model->lde + j] = factor * u->x[t][j];
            if (f->g != NULL) {
                f->g[t * f->model->lde + j] = gradient(t, j);
            }
        }
    }
}

static void check_slots(const numbers *u, const hps_pick *pick, int64_t B, const hps_forward *f, scored all[ALL])
{
    const int64_t kept = full_sort(u, pick, B, all);
    int64_t at = 0, wrong = 0;

    CHECK(f->slots.first[0] == 0 && f->slots.first[B] == kept);
    for (int64_t t = 0; t < B; t++) {
        for (int64_t q = f->slots.first[t]; q < f->slots.first[t + 1] && at < kept; q++, at++) {
            wrong += all[at].token != t || f->slots.slot[q].latent != all[at].candidate.latent ||
                     f->slots.slot[q].value != all[at].candidate.value;
        }
    }
    CHECK(at == kept && wrong == 0);
    if (at != kept || wrong != 0) {
        printf("# rule %d, k %lld, alpha %g, beta %g, threshold %g: %lld of %lld slots are others\n", (int)pick->rule,
               (long long)pick->k, pick->alpha, pick->beta, pick->threshold, (long long)wrong, (long long)kept);
    }
}

/* After a batch of other values, and after one of another size. */
static void run_rule(const numbers *u, const hps_pick *pick, const hps_grid *grid, const hps_kernels *kernels,
                     hps_model *model, scored all[ALL])
{
    /* What a threshold lets through must fit, however much it is. */
    const int64_t k = pick->rule == HPS_PICK_THRESHOLD ? N : pick->k;
    const hps_forward_options options = {
        .B = TOKENS, .k_max = k, .k = k, .rules = 1u << pick->rule, .threads = u->threads};
    hps_forward *f;

    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    set_batch(u, f, 16);
    CHECK(hps_forward_select(f, 4, pick) == HPS_OK);
    set_batch(u, f, 1);
    CHECK(hps_forward_select(f, TOKENS, pick) == HPS_OK);
    check_slots(u, pick, TOKENS, f, all);
    set_batch(u, f, 1);
    CHECK(hps_forward_select(f, 7, pick) == HPS_OK);
    check_slots(u, pick, 7, f, all);
    hps_forward_destroy(&f);
}

static void run(const scenario *s, const numbers *u, const hps_grid *grid, const hps_kernels *kernels, scored all[ALL])
{
    const hps_pick picks[] = {
        {.rule = HPS_PICK_BATCH, .k = s->k, .alpha = 1},
        {.rule = HPS_PICK_THRESHOLD, .k = s->k, .alpha = 1, .threshold = (double)s->weight},
        {.rule = HPS_PICK_THRESHOLD, .k = s->k, .alpha = 1, .threshold = 0},
        {.rule = HPS_PICK_GRADIENT, .k = s->k, .alpha = 1, .beta = 0},
        {.rule = HPS_PICK_GRADIENT, .k = s->k, .alpha = 1, .beta = 1},
        {.rule = HPS_PICK_GRADIENT, .k = s->k, .alpha = 0.25, .beta = 3},
        {.rule = HPS_PICK_GRADIENT, .k = s->k, .alpha = 0, .beta = 1},
    };
    hps_model *model;

    CHECK(hps_model_create(grid, N, D, s->k, 1u << HPS_VALUE, &model) == HPS_OK);
    set_model(u, model);
    for (size_t i = 0; i < sizeof(picks) / sizeof(picks[0]); i++) {
        run_rule(u, &picks[i], grid, kernels, model, all);
    }
    hps_model_destroy(&model);
}

/* When a batch's values are all the same, more than there is room for, all ranks say so. */
static void check_no_cut(numbers *u, const hps_grid *grid, const hps_kernels *kernels)
{
    const scenario same = {.k = 16, .bias_offset = 1};
    const hps_pick pick = {.rule = HPS_PICK_BATCH, .k = same.k, .alpha = 1};
    const hps_forward_options options = {
        .B = TOKENS, .k_max = same.k, .k = same.k, .rules = 1u << HPS_PICK_BATCH, .threads = 1};
    hps_model *model;
    hps_forward *f;

    fill(&same, u);
    CHECK(hps_model_create(grid, N, D, same.k, 1u << HPS_VALUE, &model) == HPS_OK);
    set_model(u, model);
    CHECK(hps_forward_create(grid, kernels, model, &options, &f) == HPS_OK);
    set_batch(u, f, 1);
    CHECK(hps_forward_select(f, TOKENS, &pick) == HPS_ENUMERIC);
    hps_forward_destroy(&f);
    hps_model_destroy(&model);
    tap_case("a batch that no cut divides is refused");
}

int main(int argc, char **argv)
{
    const hps_kernels *backends[HPS_KERNELS_MAX];
    hps_grid grid;
    scored *all;
    numbers *u;

    MPI_Init(&argc, &argv);
    int count = hps_kernels_all(backends);
    if (hps_kernels_device() != NULL) {
        backends[count++] = hps_kernels_device();
        hps_memory_use(backends[count - 1]->memory);
    }
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(HPS_ALLOC(&all, ALL, "the full sort") == HPS_OK);
    CHECK(HPS_ALLOC(&u, 1, "numbers") == HPS_OK);
    for (size_t i = 0; all != NULL && u != NULL && i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        fill(&scenarios[i], u);
        for (int c = 0; c < count; c++) {
            run(&scenarios[i], u, &grid, backends[c], all);
        }
        tap_case(scenarios[i].name);
    }
    if (u != NULL) {
        check_no_cut(u, &grid, backends[0]);
    }
    HPS_FREE(&u);
    HPS_FREE(&all);
    hps_grid_destroy(&grid);
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
