/* The k largest of each token, from every rank's share of them. */
#include "select.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"

#include <math.h>
#include <omp.h>
#include <string.h>

int64_t hps_topk_share(int64_t k, int P)
{
    const double mean = (double)k / P, spread = sqrt(mean * (1 - 1 / (double)P));
    const int64_t share = (int64_t)ceil(mean + 3 * spread + 2);

    return P > 1 && share < k ? share : k;
}

int64_t hps_topk_room(int64_t B, int64_t k, int P)
{
    return P > 1 ? hps_merge_room(P, B, k) : B * k;
}

hps_status hps_topk_again_create(int64_t B, int64_t lde, int64_t k_max, hps_topk_again *again)
{
    enum { TOKENS = 256 };

    again->capacity = B < TOKENS ? B : TOKENS;
    HPS_TRY(HPS_ALLOC(&again->last, B, "tokens in doubt"));
    HPS_TRY(HPS_ALLOC(&again->token, again->capacity, "tokens in doubt"));
    HPS_TRY(HPS_ALLOC(&again->y, again->capacity * lde, "tokens in doubt"));
    return HPS_ALLOC(&again->top, again->capacity * k_max, "tokens in doubt");
}

void hps_topk_again_destroy(hps_topk_again *again)
{
    HPS_FREE(&again->last);
    HPS_FREE(&again->token);
    HPS_FREE(&again->y);
    HPS_FREE(&again->top);
}

/* What a selection is made of. */
typedef struct {
    hps_forward *f;
    const hps_topk_rows *rows;
    int64_t B;
    hps_topk *topk;
    hps_slots *slots;
} selection;

static void encode(const selection *s, int64_t tokens, const float *y, int64_t k, hps_candidate *top)
{
    hps_forward *f = s->f;
    const double begin = omp_get_wtime();

    f->kernels->encode(f->ws, &f->encoder, s->rows->count, s->rows->list, tokens, f->model->lde, y, k, top);
    f->seconds_encode += omp_get_wtime() - begin;
}

/* The lists arrive where decoding will put the slots' gradients: the same room, not needed before. */
static hps_candidate *room_of(const selection *s)
{
    _Static_assert(sizeof(hps_candidate) == sizeof(*s->slots->dz_fixed),
                   "the slots' gradients make room for candidates");

    return (hps_candidate *)s->slots->dz_fixed;
}

/* Every rank's share, encoded and merged piece by piece. */
static void select_shares(const selection *s)
{
    hps_forward *f = s->f;
    const int64_t pieces = s->B / f->piece > 1 ? s->B / f->piece : 1, k = s->topk->k, share = s->topk->share;

    hps_merge_pieces_begin(&f->pieces, f->grid->model, k, share, room_of(s));
    for (int64_t j = 0; j < pieces; j++) {
        const int64_t first = s->B * j / pieces, count = s->B * (j + 1) / pieces - first;
        hps_candidate *top = s->slots->slot + first * k;
        encode(s, count, f->centred + first * f->model->lde, share, top);
        for (int64_t t = 0; t < count; t++) {
            f->again.last[first + t] = top[(t + 1) * share - 1];
        }
        hps_merge_pieces_add(&f->pieces, count, top);
    }
    hps_merge_pieces_finish(&f->pieces);
}

/* Encodes those of the tokens in doubt of which this rank may have held back candidates; top [tokens, k]: what it did. */
static void encode_held_back(const selection *s, int64_t tokens)
{
    hps_forward *f = s->f;
    const hps_topk_again *again = &f->again;
    const int64_t lde = f->model->lde, k = s->topk->k, share = s->topk->share;
    int64_t mine = 0;

    for (int64_t i = 0; i < tokens; i++) {
        const int64_t t = again->token[i];
        if (hps_merge_held_back(again->last[t], k, s->slots->slot + t * k)) {
            memcpy(again->y + mine++ * lde, f->centred + t * lde, (size_t)lde * sizeof(*f->y));
        }
    }
    encode(s, mine, again->y, k, again->top);
    s->topk->again += mine;
    /* From the last one on: the lists that were made stand in front. */
    for (int64_t i = tokens - 1; i >= 0; i--) {
        const int64_t t = again->token[i];
        hps_candidate *top = again->top + i * k;
        int64_t held = 0;
        if (hps_merge_held_back(again->last[t], k, s->slots->slot + t * k)) {
            held = k - share;
            memmove(top, again->top + --mine * k + share, (size_t)held * sizeof(*top));
        }
        for (; held < k; held++) {
            top[held] = HPS_NO_CANDIDATE;
        }
    }
}

/* The tokens in again->token: what any rank held back is taken in. */
static void take_held_back(const selection *s, int64_t tokens)
{
    hps_forward *f = s->f;
    const hps_topk_again *again = &f->again;
    const int64_t k = s->topk->k;

    encode_held_back(s, tokens);
    hps_merge_pieces_begin(&f->pieces, f->grid->model, k, k, room_of(s));
    hps_merge_pieces_add(&f->pieces, tokens, again->top);
    hps_merge_pieces_finish(&f->pieces);
    for (int64_t i = 0; i < tokens; i++) {
        hps_merge_lists(k, again->top + i * k, k, s->slots->slot + again->token[i] * k);
    }
    s->topk->doubtful += tokens;
}

/* Every rank finds the same tokens marked. */
static void settle_doubts(const selection *s)
{
    const hps_topk_again *again = &s->f->again;
    int64_t tokens = 0;

    s->topk->doubtful = s->topk->again = 0;
    for (int64_t t = 0; t < s->B; t++) {
        if (hps_merge_take_mark(s->slots->slot + t * s->topk->k)) {
            again->token[tokens++] = (int32_t)t;
        }
        if (tokens == again->capacity || (tokens > 0 && t == s->B - 1)) {
            take_held_back(s, tokens);
            tokens = 0;
        }
    }
}

/* Winners that come together need a larger share; it shrinks slowly, so that it does not swing. */
static void adapt(hps_topk *topk, int64_t B, int P)
{
    enum { MANY = 16, FEW = 32, CALM = 64 };
    const int64_t least = hps_topk_share(topk->k, P);

    topk->calm = topk->doubtful * FEW <= B ? topk->calm + 1 : 0;
    if (topk->doubtful * MANY > B) {
        topk->share = 2 * topk->share < topk->k ? 2 * topk->share : topk->k;
    } else if (topk->calm >= CALM && topk->share > least) {
        topk->share--;
        topk->calm = 0;
    }
}

void hps_topk_select(hps_forward *f, const hps_topk_rows *rows, int64_t B, int64_t k, hps_topk *topk, hps_slots *slots,
                     float *z_sum)
{
    const selection s = {f, rows, B, topk, slots};
    const int P = f->grid->P;

    if (topk->k != k) {
        *topk = (hps_topk){.k = k, .share = hps_topk_share(k, P)};
    }
    if (P == 1) {
        encode(&s, B, f->centred, k, slots->slot);
    } else {
        select_shares(&s);
        settle_doubts(&s);
        adapt(topk, B, P);
    }
    if (f->kernels->batch != NULL) {
        f->kernels->batch->compact(f->ws, B, k, k, slots, z_sum);
    } else {
        hps_slots_compact(B, k, k, slots, z_sum);
    }
}
