#include "nearest_decide.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A product to take: of own row `own` of a dictionary with row `other`, which its owner has as its row `at`. */
typedef struct {
    int32_t dictionary, own;
    int32_t other_dictionary, at, other;
    bool across;
    float value;
} need;

/* An own row that is compared with all rows of its kind. */
typedef struct {
    int32_t dictionary, own;
    bool across;
    float value;
} whole;

typedef struct {
    const hps_grid *grid;
    const hps_decoder_rows *rows;
    const hps_candidates *found;
    int threads;
    float window; /* how far below the first of a list the nearest may stand */
    need *needs;
    whole *wholes;
    int64_t need_count, whole_count, done;
    hps_row_batch batch;
    float *result[2]; /* within, across */
} decision;

/*
 * A sum of d products in any order is within d u / (1 - d u), u = 2^-24, of the exact one, relative to the sum of the
 * absolute products (Higham, Accuracy and Stability, 3.1), so to the norms, here 1; the canonical one within a sixteenth of
 * that and its tree.  Two candidates err both.
 */
static float window_of(int64_t d)
{
    return (float)(2.2 * ((double)d + (double)d / HPS_LANES + 16) / 16777216);
}

static int64_t dictionary_of(const hps_candidates *found, int64_t row)
{
    int64_t s = 0;

    while (row >= found->offset[s + 1]) {
        s++;
    }
    return s;
}

static const hps_candidate *list_of(const decision *x, int64_t s, int64_t l, bool across)
{
    const int64_t row = x->found->offset[s] + hps_shard_latent(&x->rows[s].shard, l);

    return (across ? x->found->across : x->found->within) + row * HPS_NEAREST_KEPT;
}

/* How many of a list are in question; more than it holds when it may lack some. */
static int in_question(const decision *x, const hps_candidate *list)
{
    int count = 0;

    while (count < HPS_NEAREST_KEPT && list[count].latent != INT32_MAX &&
           list[count].value >= list[0].value - x->window) {
        count++;
    }
    return count < HPS_NEAREST_KEPT ? count : count + 1;
}

static void ask(decision *x, int64_t s, int64_t l, bool across, const hps_candidate *list, int count)
{
    if (count > HPS_NEAREST_KEPT) {
        x->wholes[x->whole_count++] = (whole){(int32_t)s, (int32_t)l, across, -INFINITY};
        return;
    }
    for (int c = 0; c < count; c++) {
        const int64_t t = dictionary_of(x->found, list[c].latent), other = list[c].latent - x->found->offset[t];
        const int64_t at = other / HPS_BLOCK / x->grid->P * HPS_BLOCK + other % HPS_BLOCK;
        x->needs[x->need_count++] = (need){(int32_t)s, (int32_t)l, (int32_t)t, (int32_t)at, (int32_t)other, across, 0};
    }
}

/* Calls for each own row and kind; with `counts` only counts. */
static void ask_all(decision *x, bool counts)
{
    for (int64_t s = 0; s < x->found->count; s++) {
        for (int64_t l = 0; l < x->rows[s].shard.own; l++) {
            for (int across = 0; across < 2; across++) {
                const hps_candidate *list = list_of(x, s, l, across);
                const int count = in_question(x, list);
                if (!counts) {
                    ask(x, s, l, across, list, count);
                } else if (count > HPS_NEAREST_KEPT) {
                    x->whole_count++;
                } else {
                    x->need_count += count;
                }
            }
        }
    }
}

/* In the order in which the rows pass by. */
static int by_passing(const void *a, const void *b)
{
    const need *x = a, *y = b;

    if (x->other_dictionary != y->other_dictionary) {
        return x->other_dictionary < y->other_dictionary ? -1 : 1;
    }
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return (x->other > y->other) - (x->other < y->other);
}

static hps_status prepare(decision *x)
{
    ask_all(x, true);
    HPS_TRY(HPS_ALLOC(&x->needs, x->need_count, "candidates for the nearest rows"));
    HPS_TRY(HPS_ALLOC(&x->wholes, x->whole_count, "candidates for the nearest rows"));
    x->need_count = x->whole_count = 0;
    ask_all(x, false);
    if (x->need_count > 1) {
        qsort(x->needs, (size_t)x->need_count, sizeof(need), by_passing);
    }
    return hps_row_batch_create(&x->rows[0], &x->batch);
}

int64_t hps_decide_bytes(int64_t own)
{
    return 2 * own * HPS_NEAREST_KEPT * (int64_t)sizeof(need);
}

static const float *own_row(const decision *x, int32_t s, int32_t l)
{
    return x->rows[s].rows + l * x->rows[s].lde;
}

/* Where in the batch, which began at own row l0, the row of a need stands. */
static const float *passing_row(const decision *x, const need *n, int64_t l0)
{
    const int owner = (int)(n->other / HPS_BLOCK % x->grid->P);

    return x->batch.row + x->batch.offsets[owner] + (n->at - l0) * x->rows[n->other_dictionary].lde;
}

static void answer_needs(decision *x, int64_t s, int64_t l0)
{
    const int64_t d = x->rows[0].shard.d, first = x->done;

    while (x->done < x->need_count && x->needs[x->done].other_dictionary == s &&
           x->needs[x->done].at < l0 + x->batch.step) {
        x->done++;
    }
#pragma omp parallel for schedule(static) num_threads(x->threads)
    for (int64_t i = first; i < x->done; i++) {
        need *n = &x->needs[i];
        n->value = hps_dot(d, own_row(x, n->dictionary, n->own), passing_row(x, n, l0));
    }
}

static void answer_wholes(decision *x, int64_t s)
{
    const hps_row_batch *b = &x->batch;
    const int64_t d = x->rows[0].shard.d, lde = x->rows[0].lde;

#pragma omp parallel for schedule(dynamic) num_threads(x->threads)
    for (int64_t i = 0; i < x->whole_count; i++) {
        whole *w = &x->wholes[i];
        const int64_t self = hps_shard_latent(&x->rows[w->dictionary].shard, w->own);
        if ((w->dictionary != s) != w->across) {
            continue;
        }
        for (int64_t t = 0; t < b->B; t++) {
            if (w->across || b->latent[t] != self) {
                w->value = fmaxf(w->value, hps_dot(d, own_row(x, w->dictionary, w->own), b->row + t * lde));
            }
        }
    }
}

static void put(const decision *x, int32_t s, int32_t l, bool across, float value)
{
    float *at = x->result[across] + x->found->offset[s] + hps_shard_latent(&x->rows[s].shard, l);

    *at = fmaxf(*at, fminf(value, 1));
}

/* Collective.  Own rows' answers, on every rank. */
static void join(const decision *x)
{
    for (int64_t i = 0; i < x->found->rows; i++) {
        x->result[0][i] = x->result[1][i] = -INFINITY;
    }
    for (int64_t i = 0; i < x->need_count; i++) {
        put(x, x->needs[i].dictionary, x->needs[i].own, x->needs[i].across, x->needs[i].value);
    }
    for (int64_t i = 0; i < x->whole_count; i++) {
        put(x, x->wholes[i].dictionary, x->wholes[i].own, x->wholes[i].across, x->wholes[i].value);
    }
    for (int across = 0; across < 2; across++) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, x->result[across], hps_count(x->found->rows), MPI_FLOAT, MPI_MAX,
                              x->grid->model));
    }
}

/* Collective. */
static void pass_rows(decision *x)
{
    for (int64_t s = 0; s < x->found->count; s++) {
        const int64_t most = hps_shard_most(&x->rows[s].shard);
        for (int64_t l0 = 0; l0 < most; l0 += x->batch.step) {
            hps_row_batch_gather(x->grid, &x->rows[s], l0, &x->batch);
            answer_needs(x, s, l0);
            answer_wholes(x, s);
        }
    }
}

hps_status hps_decide(const hps_grid *grid, const hps_decoder_rows *rows, const hps_candidates *found, int threads,
                      float *within, float *across)
{
    decision x = {.grid = grid,
                  .rows = rows,
                  .found = found,
                  .threads = threads,
                  .window = window_of(rows[0].shard.d),
                  .result = {within, across}};

    const hps_status status = hps_agree(grid->model, prepare(&x));
    if (status == HPS_OK) {
        pass_rows(&x);
        join(&x);
    }
    hps_row_batch_destroy(&x.batch);
    HPS_FREE(&x.needs);
    HPS_FREE(&x.wholes);
    return status;
}
