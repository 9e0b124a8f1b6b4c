#include "nearest.h"

#include "nearest_decide.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"
#include "hpsae/linalg/products.h"

#include <math.h>

static const double every_seconds = 5;
enum { STRETCH = 64, MERGED_AT_ONCE = 1 << 16 };

/* Rows [first, first + count) of a dictionary. */
typedef struct {
    int64_t dictionary, first, count;
} band;

/* Where the blocks are computed. */
typedef struct {
    const hps_nearest_options *o;
    hps_candidates *found;
    hps_process_grid line; /* all ranks in a row, over which the dictionaries' rows are dealt */
    float *a, *b, *c;      /* this rank's parts of the panels and of their product */
    float *floor;          /* [local rows of c] below which a row's list takes nothing more */
    double began, said;    /* for the progress line */
} screen;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A list takes a candidate in the order of hps_before. */
static void insert(hps_candidate *list, hps_candidate candidate)
{
    int place = HPS_NEAREST_KEPT;

    while (place > 0 && hps_before(candidate, list[place - 1])) {
        if (place < HPS_NEAREST_KEPT) {
            list[place] = list[place - 1];
        }
        place--;
    }
    if (place < HPS_NEAREST_KEPT) {
        list[place] = candidate;
    }
}

static bool any_reaches(int64_t count, const float *values, float floor)
{
    int any = 0;

    for (int64_t i = 0; i < count; i++) {
        any |= values[i] >= floor;
    }
    return any != 0;
}

static bool any_reaches_its(int64_t count, const float *values, const float *floor)
{
    int any = 0;

    for (int64_t i = 0; i < count; i++) {
        any |= values[i] >= floor[i];
    }
    return any != 0;
}

/* Rows of panel I as candidates of the rows of J, the columns of the block. */
static void scan_columns(const screen *s, const hps_cyclic *C, const band *I, const band *J, hps_candidate *top)
{
    const int64_t at_i = s->found->offset[I->dictionary] + I->first, at_j = s->found->offset[J->dictionary] + J->first;

#pragma omp parallel for schedule(static) num_threads(s->o->threads)
    for (int64_t lj = 0; lj < C->local_n; lj++) {
        const int64_t j = at_j + hps_cyclic_column(C, lj);
        const float *value = s->c + lj * C->ld;
        hps_candidate *list = top + j * HPS_NEAREST_KEPT;
        for (int64_t from = 0; from < C->local_m; from += STRETCH) {
            const int64_t end = smaller(from + STRETCH, C->local_m);
            if (!any_reaches(end - from, value + from, list[HPS_NEAREST_KEPT - 1].value)) {
                continue;
            }
            for (int64_t li = from; li < end; li++) {
                const int64_t i = at_i + hps_cyclic_row(C, li);
                if (i != j) {
                    insert(list, (hps_candidate){value[li], (int32_t)i});
                }
            }
        }
    }
}

/* Rows of panel J as candidates of the rows of I, the rows of the block. */
static void scan_rows(const screen *s, const hps_cyclic *C, const band *I, const band *J, hps_candidate *top)
{
    const int64_t at_i = s->found->offset[I->dictionary] + I->first, at_j = s->found->offset[J->dictionary] + J->first;

#pragma omp parallel for schedule(static) num_threads(s->o->threads)
    for (int64_t from = 0; from < C->local_m; from += STRETCH) {
        const int64_t end = smaller(from + STRETCH, C->local_m);
        for (int64_t li = from; li < end; li++) {
            s->floor[li] = top[(at_i + hps_cyclic_row(C, li) + 1) * HPS_NEAREST_KEPT - 1].value;
        }
        for (int64_t lj = 0; lj < C->local_n; lj++) {
            const float *value = s->c + lj * C->ld;
            if (!any_reaches_its(end - from, value + from, s->floor + from)) {
                continue;
            }
            for (int64_t li = from; li < end; li++) {
                hps_candidate *list = top + (at_i + hps_cyclic_row(C, li)) * HPS_NEAREST_KEPT;
                insert(list, (hps_candidate){value[li], (int32_t)(at_j + hps_cyclic_column(C, lj))});
                s->floor[li] = list[HPS_NEAREST_KEPT - 1].value;
            }
        }
    }
}

/* Collective.  A panel of rows, as columns of a matrix d x count over the grid of blocks. */
static hps_status deal(const screen *s, const band *p, hps_cyclic *to, float *part)
{
    const hps_decoder_rows *rows = &s->o->rows[p->dictionary];
    hps_cyclic from;

    HPS_TRY(hps_cyclic_create(&s->line, rows->shard.d, rows->shard.n, HPS_BLOCK, rows->lde, &from));
    HPS_TRY(hps_cyclic_create(s->o->over, rows->shard.d, p->count, s->o->nb, 0, to));
    hps_cyclic_deal(&from, rows->rows, p->first, to, part);
    return HPS_OK;
}

/* Collective.  One block of the Gram matrix; I comes before J, or is J. */
static hps_status add_block(const screen *s, const hps_cyclic *A, const band *I, const band *J)
{
    const bool same = I->dictionary == J->dictionary, diagonal = same && I->first == J->first;
    hps_candidate *top = same ? s->found->within : s->found->across;
    hps_cyclic B, C;

    if (!diagonal) {
        HPS_TRY(deal(s, J, &B, s->b));
    }
    HPS_TRY(hps_cyclic_create(s->o->over, I->count, J->count, s->o->nb, 0, &C));
    hps_cyclic_gram(A, s->a, diagonal ? A : &B, diagonal ? s->a : s->b, &C, s->c);
    scan_columns(s, &C, I, J, top);
    if (!diagonal) {
        scan_rows(s, &C, I, J, top);
    }
    return HPS_OK;
}

/* The panel after p; false behind the last. */
static bool next(const hps_nearest_options *o, band *p)
{
    p->first += p->count;
    if (p->dictionary < 0 || p->first >= o->rows[p->dictionary].shard.n) {
        p->dictionary++;
        p->first = 0;
    }
    if (p->dictionary >= o->count) {
        return false;
    }
    p->count = smaller(o->panel, o->rows[p->dictionary].shard.n - p->first);
    return true;
}

/* Rows before panel I have met all others: of M rows, i are done with i (2 M - i) of the M^2 ordered pairs. */
static void say_progress(screen *s, int64_t done)
{
    const double now = hps_elapsed(), M = (double)s->found->rows, i = (double)done, share = i * (2 * M - i) / (M * M);
    char left[32];

    if (now - s->said < every_seconds || done == 0) {
        return;
    }
    s->said = now;
    hps_log("compare", "%.0f %% of the pairs, %s left", 100 * share,
            hps_duration((now - s->began) * (1 - share) / share, left));
}

/* Collective. */
static hps_status add_blocks(screen *s)
{
    hps_cyclic A;

    s->began = s->said = hps_elapsed();
    for (band I = {.dictionary = -1}; next(s->o, &I);) {
        HPS_TRY(hps_agree(s->o->grid->model, deal(s, &I, &A, s->a)));
        band J = I;
        do {
            HPS_TRY(add_block(s, &A, &I, &J));
        } while (next(s->o, &J));
        say_progress(s, s->found->offset[I.dictionary] + I.first + I.count);
    }
    return HPS_OK;
}

static hps_status allocate(screen *s)
{
    const hps_nearest_options *o = s->o;
    const int64_t d = o->rows[0].shard.d, panel_part = hps_cyclic_most_elements(o->over, d, o->panel, o->nb);
    const int64_t block_part = hps_cyclic_most_elements(o->over, o->panel, o->panel, o->nb);

    HPS_TRY(HPS_ALLOC(&s->a, panel_part, "decoder rows by blocks"));
    HPS_TRY(HPS_ALLOC(&s->b, panel_part, "decoder rows by blocks"));
    HPS_TRY(HPS_ALLOC(&s->c, block_part, "block of a Gram matrix"));
    return HPS_ALLOC(&s->floor, o->panel, "block of a Gram matrix");
}

static void release(screen *s)
{
    HPS_FREE(&s->a);
    HPS_FREE(&s->b);
    HPS_FREE(&s->c);
    HPS_FREE(&s->floor);
    hps_process_grid_destroy(&s->line);
}

/* Collective.  All ranks' lists, on every rank. */
static void merge_lists(MPI_Comm comm, int64_t rows, hps_candidate *top)
{
    hps_merge merge;

    hps_merge_create(HPS_NEAREST_KEPT, &merge);
    for (int64_t i = 0; i < rows; i += MERGED_AT_ONCE) {
        hps_merge_all(comm, &merge, smaller(MERGED_AT_ONCE, rows - i), top + i * HPS_NEAREST_KEPT);
    }
    hps_merge_destroy(&merge);
}

/* Collective. */
static hps_status screen_all(const hps_nearest_options *o, hps_candidates *found)
{
    screen s = {.o = o, .found = found};

    hps_status status = hps_process_grid_create(o->grid->model, 1, 0, &s.line);
    status = hps_agree(o->grid->model, status == HPS_OK ? allocate(&s) : status);
    if (status == HPS_OK) {
        status = add_blocks(&s);
    }
    release(&s);
    if (status == HPS_OK) {
        merge_lists(o->grid->model, found->rows, found->within);
        merge_lists(o->grid->model, found->rows, found->across);
    }
    return status;
}

static hps_status prepare(const hps_nearest_options *o, hps_candidates *found)
{
    found->count = o->count;
    HPS_TRY(HPS_ALLOC(&found->offset, o->count + 1, "nearest rows"));
    for (int64_t s = 0; s < o->count; s++) {
        found->offset[s + 1] = found->offset[s] + o->rows[s].shard.n;
    }
    found->rows = found->offset[o->count];
    if (found->rows > INT32_MAX - 1) {
        return hps_fail(HPS_ECONFIG, "the dictionaries have %lld rows together; allowed: below 2^31 - 1",
                        (long long)found->rows);
    }
    HPS_TRY(HPS_ALLOC(&found->within, found->rows * HPS_NEAREST_KEPT, "nearest rows"));
    HPS_TRY(HPS_ALLOC(&found->across, found->rows * HPS_NEAREST_KEPT, "nearest rows"));
    for (int64_t i = 0; i < found->rows * HPS_NEAREST_KEPT; i++) {
        found->within[i] = found->across[i] = HPS_NO_CANDIDATE;
    }
    return HPS_OK;
}

int64_t hps_nearest_bytes(const hps_process_grid *over, int64_t rows, int64_t d, int64_t panel, int64_t nb)
{
    const int ranks = over->P * over->Q;
    const int64_t lists = 2 * rows * HPS_NEAREST_KEPT * (int64_t)sizeof(hps_candidate);
    const int64_t parts =
        4 * hps_cyclic_most_elements(over, d, panel, nb) + hps_cyclic_most_elements(over, panel, panel, nb) + panel;
    const int64_t screening = parts * (int64_t)sizeof(float);
    const int64_t deciding = hps_decide_bytes(rows / ranks + HPS_BLOCK) + hps_row_batch_bytes(d, ranks);

    return lists + (screening > deciding ? screening : deciding);
}

hps_status hps_nearest(const hps_nearest_options *o, float *within, float *across)
{
    hps_candidates found = {0};

    hps_status status = hps_agree(o->grid->model, prepare(o, &found));
    if (status == HPS_OK) {
        status = screen_all(o, &found);
    }
    if (status == HPS_OK) {
        status = hps_decide(o->grid, o->rows, &found, o->threads, within, across);
    }
    HPS_FREE(&found.offset);
    HPS_FREE(&found.within);
    HPS_FREE(&found.across);
    return status;
}
