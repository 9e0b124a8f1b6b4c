/* Selections without a fixed number a token: the k B largest of a batch, and all above a threshold. */
#include "select.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

int64_t hps_search(hps_forward *f, MPI_Comm comm, int64_t from, int64_t B, int64_t k, const float *ratio)
{
    const double begin = omp_get_wtime();
    hps_searcher *s = f->searcher;
    int64_t count = f->kernels->encode_above(f->ws, &f->encoder, B, f->model->lde, f->centred + from * f->model->lde, k,
                                             ratio, s->floor, s->capacity, s->hit);

    f->seconds_encode += omp_get_wtime() - begin;
    s->hits = count < s->capacity ? count : s->capacity;
    hps_sum_fixed(comm, &count, 1);
    return count;
}

/* The rank's hits that reach `least`, by token: count [B], and list; a token's keep their order. */
static void by_token(hps_searcher *s, int64_t B, float least, hps_candidate *list)
{
    int64_t place = 0;

    memset(s->count, 0, (size_t)B * sizeof(*s->count));
    for (int64_t i = 0; i < s->hits; i++) {
        s->count[s->hit[i].token] += s->hit[i].candidate.value >= least;
    }
    /* count[t] becomes where the token's list begins, then, as it fills, where it ends; then a count again. */
    for (int64_t t = 0; t < B; t++) {
        const int32_t some = s->count[t];
        s->count[t] = (int32_t)place;
        place += some;
    }
    for (int64_t i = 0; i < s->hits; i++) {
        if (s->hit[i].candidate.value >= least) {
            list[s->count[s->hit[i].token]++] = s->hit[i].candidate;
        }
    }
    for (int64_t t = B - 1; t > 0; t--) {
        s->count[t] -= s->count[t - 1];
    }
}

void hps_search_gather(hps_forward *f, int64_t B, float least, bool sorted)
{
    hps_searcher *s = f->searcher;
    hps_slots *slots = &f->slots;

    if (f->grid->P > 1) {
        by_token(s, B, least, s->list);
        hps_lists_gather(f->grid->model, &s->lists, B, s->count, s->list, slots->first, slots->slot);
    } else {
        by_token(s, B, least, slots->slot);
        slots->first[0] = 0;
        for (int64_t t = 0; t < B; t++) {
            slots->first[t + 1] = slots->first[t] + s->count[t];
        }
    }
    if (sorted) {
        hps_lists_sort(B, slots->first, slots->slot);
    }
}

static void set_floor(hps_searcher *s, int64_t B, float floor)
{
    for (int64_t t = 0; t < B; t++) {
        s->floor[t] = floor;
    }
}

/* A first guess: half the mean k-th value of the first tokens. */
static float guess(hps_forward *f, int64_t B, int64_t k)
{
    enum { PROBE = 32 };
    const hps_pick pick = {.rule = HPS_PICK_TOPK, .k = k};
    const int64_t tokens = B < PROBE ? B : PROBE;
    float sum = 0;

    hps_select_topk(f, tokens, &pick);
    for (int64_t t = 0; t < tokens; t++) {
        if (f->slots.first[t + 1] > f->slots.first[t]) {
            sum += f->slots.slot[f->slots.first[t + 1] - 1].value;
        }
    }
    return fmaxf(sum / (float)(2 * tokens), FLT_MIN);
}

static float middle(float low, float high)
{
    uint32_t a, b;
    float value;

    memcpy(&a, &low, sizeof(a));
    memcpy(&b, &high, sizeof(b));
    a += (b - a) / 2;
    memcpy(&value, &a, sizeof(value));
    return value;
}

/*
 * Finds a floor that lets through at least `need` pre-activations and no more than fit, or all positive ones when there are
 * fewer.  Only how long it takes depends on the guess.  Hits of this rank in searcher->hit; *total over all ranks of comm.
 */
static hps_status search_floor(hps_forward *f, MPI_Comm comm, int64_t B, int64_t k, int64_t need, int64_t *total)
{
    static const float start = 0.85f; /* of the last batch's cut: few searches fail, few hits are in vain */
    enum { HALVINGS = 4 }; /* then there may be too few positive ones: take all, or learn that they are many */
    hps_searcher *s = f->searcher;
    float low = 0, high = INFINITY, floor = s->cut > 0 ? start * s->cut : guess(f, B, k);

    if (comm != f->grid->model) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &floor, 1, MPI_FLOAT, MPI_MIN, comm));
    }
    for (int failed = 0;; failed++) {
        set_floor(s, B, floor);
        *total = hps_search(f, comm, 0, B, 0, NULL);
        if ((*total >= need || floor <= FLT_TRUE_MIN) && *total <= s->capacity) {
            return HPS_OK;
        }
        if (*total < need) {
            high = floor;
            floor = low > 0 ? middle(low, high) : failed < HALVINGS ? floor / 2 : FLT_TRUE_MIN;
        } else {
            low = floor;
            floor = isinf(high) ? 2 * floor : middle(low, high);
        }
        if (floor == low || floor == high) {
            return hps_fail(
                HPS_ENUMERIC,
                "step %lld: more than %lld pre-activations of the batch are exactly %g, so that no cut keeps "
                "k a token; look at the activations (constant rows?) or use model.select topk",
                (long long)f->model->step + 1, (long long)(s->capacity - need), (double)low);
        }
    }
}

/* How many of the gathered slots that are equal to the cut are among the `need` first; all reach it.  May be below 0. */
static int64_t ties_to_keep(const hps_forward *f, int64_t B, float cut, int64_t need, bool shared)
{
    const hps_slots *slots = &f->slots;
    int64_t above = 0, ties, before = 0;

    for (int32_t i = 0; i < slots->first[B]; i++) {
        above += slots->slot[i].value > cut;
    }
    ties = slots->first[B] - above;
    if (shared) {
        hps_sum_fixed(f->grid->groups, &above, 1);
        HPS_MPI(MPI_Exscan(&ties, &before, 1, MPI_INT64_T, MPI_SUM, f->grid->groups));
        before = f->grid->r > 0 ? before : 0;
    }
    return need - above - before;
}

/* Of the gathered slots, which all reach the cut: drops those equal to it beyond `need`, in token order. */
static void drop_ties(hps_forward *f, int64_t B, float cut, int64_t need, bool shared)
{
    hps_slots *slots = &f->slots;
    int64_t ties = ties_to_keep(f, B, cut, need, shared), kept = 0;
    int32_t begin = 0;

    for (int64_t t = 0; t < B; t++) {
        const int32_t end = slots->first[t + 1];
        float sum = 0;
        slots->first[t] = (int32_t)kept;
        for (int32_t i = begin; i < end; i++) {
            if (slots->slot[i].value > cut || ties-- > 0) {
                sum += slots->slot[i].value;
                slots->slot[kept++] = slots->slot[i];
            }
        }
        f->z_sum[t] = sum;
        begin = end;
    }
    slots->first[B] = (int32_t)kept;
}

hps_status hps_select_batch(hps_forward *f, int64_t B, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    const bool shared = pick->shared && f->grid->R > 1;
    const MPI_Comm comm = shared ? f->grid->world : f->grid->model;
    const int64_t need = pick->k * B * (shared ? f->grid->R : 1);
    int64_t total;
    float cut = FLT_TRUE_MIN;

    HPS_TRY(search_floor(f, comm, B, pick->k, need, &total));
    if (total > need) {
        for (int64_t i = 0; i < s->hits; i++) {
            s->value[i] = s->hit[i].candidate.value;
        }
        cut = hps_lists_select(comm, s->hits, s->value, need);
    }
    hps_search_gather(f, B, cut, true);
    drop_ties(f, B, cut, total < need ? total : need, shared);
    s->cut = total > need ? cut : 0;
    return HPS_OK;
}

hps_status hps_select_threshold(hps_forward *f, int64_t B, const hps_pick *pick)
{
    hps_searcher *s = f->searcher;
    float floor = (float)pick->threshold;

    while ((double)floor <= pick->threshold) {
        floor = nextafterf(floor, INFINITY);
    }
    set_floor(s, B, floor);
    const int64_t total = hps_search(f, f->grid->model, 0, B, 0, NULL);
    if (total > s->capacity) {
        return hps_fail(HPS_EARG,
                        "%lld latents pass the threshold %g in a batch of %lld tokens, room is for %lld: set the batch "
                        "(eval.batch, encode.batch) to a fraction",
                        (long long)total, pick->threshold, (long long)B, (long long)s->capacity);
    }
    hps_search_gather(f, B, floor, true);
    drop_ties(f, B, 0, total, false);
    return HPS_OK;
}

hps_status hps_searcher_create(const hps_forward *f, bool gradient, hps_searcher **searcher)
{
    HPS_TRY(HPS_ALLOC(searcher, 1, "selection"));
    hps_searcher *s = *searcher;
    s->capacity = f->capacity;
    HPS_TRY(HPS_ALLOC_BOTH(&s->hit, s->capacity, "selection"));
    HPS_TRY(HPS_ALLOC(&s->value, s->capacity, "selection"));
    HPS_TRY(HPS_ALLOC_BOTH(&s->floor, f->B, "selection"));
    HPS_TRY(HPS_ALLOC(&s->count, f->B, "selection"));
    if (f->grid->P > 1) {
        HPS_TRY(HPS_ALLOC(&s->list, s->capacity, "selection"));
        HPS_TRY(hps_lists_create(f->grid->P, f->B, s->capacity, &s->lists));
    }
    if (!gradient) {
        return HPS_OK;
    }
    s->group = f->B;
    HPS_TRY(HPS_ALLOC(&s->g_norm, f->B, "selection by gradient"));
    HPS_TRY(HPS_ALLOC_BOTH(&s->ratio, f->B, "selection by gradient"));
    HPS_TRY(HPS_ALLOC(&s->score, f->B, "selection by gradient"));
    return HPS_ALLOC(&s->picked, f->B * f->k, "selection by gradient");
}

void hps_searcher_destroy(hps_searcher **searcher)
{
    hps_searcher *s = *searcher;

    if (s == NULL) {
        return;
    }
    HPS_FREE(&s->hit);
    HPS_FREE(&s->value);
    HPS_FREE(&s->floor);
    HPS_FREE(&s->count);
    HPS_FREE(&s->list);
    hps_lists_destroy(&s->lists);
    HPS_FREE(&s->g_norm);
    HPS_FREE(&s->ratio);
    HPS_FREE(&s->score);
    HPS_FREE(&s->picked);
    HPS_FREE(searcher);
}
