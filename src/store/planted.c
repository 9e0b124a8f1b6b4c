#include "planted.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "permutation.h"

#include <math.h>

static const double most_frequent = 0.5, pair_probability = 0.8;

/* Steps of the streams of SYNTH_STRUCTURE. */
enum { STREAM_ROLES, STREAM_PARENTS, STREAM_OFFSET };

static hps_status allocate(hps_planted *p)
{
    HPS_TRY(HPS_ALLOC(&p->dictionary, p->n * p->d, "the planted dictionary"));
    HPS_TRY(HPS_ALLOC(&p->offset, p->d, "the planted dictionary"));
    HPS_TRY(HPS_ALLOC(&p->frequency, p->n, "the planted features"));
    HPS_TRY(HPS_ALLOC(&p->parent, p->n, "the planted features"));
    HPS_TRY(HPS_ALLOC(&p->partner, p->n, "the planted features"));
    HPS_TRY(HPS_ALLOC(&p->alone, p->n, "the planted features"));
    HPS_TRY(HPS_ALLOC(&p->with, p->n, "the planted features"));
    HPS_TRY(HPS_ALLOC(&p->first_child, p->n + 1, "the planted features"));
    return HPS_ALLOC(&p->children, p->n, "the planted features");
}

/* A random permutation of the features deals out the roles: children first, then pairs of the next in their order. */
static void deal_roles(const hps_planted_sizes *sizes, hps_planted *p)
{
    const int64_t children = (int64_t)(sizes->hierarchy * (double)p->n);
    const int64_t paired = (int64_t)(sizes->correlated * (double)p->n) / 2 * 2;
    hps_permutation order;
    int64_t waiting = -1;

    hps_permutation_create(hps_random_u64(p->seed, HPS_DRAW_SYNTH_STRUCTURE, STREAM_ROLES, 0), p->n, &order);
    for (int64_t i = 0; i < p->n; i++) {
        const int64_t place = hps_permutation_place(&order, i);
        p->parent[i] = p->partner[i] = -1;
        if (place < children && i >= 1) {
            /* Twice as frequent as the child, where frequencies fall; feature 0 is never a child. */
            const double u = hps_random_uniform(p->seed, HPS_DRAW_SYNTH_STRUCTURE, STREAM_PARENTS, (uint64_t)i);
            const int64_t choices = (i + 1) / 2;
            int64_t parent = (int64_t)(u * (double)choices);
            while (p->parent[parent] >= 0) {
                parent--;
            }
            p->parent[i] = (int32_t)parent;
        } else if (place >= children && place < children + paired) {
            if (waiting >= 0) {
                p->partner[i] = (int32_t)waiting;
                p->partner[waiting] = (int32_t)i;
            }
            waiting = waiting >= 0 ? -1 : i;
        }
    }
}

/* Sets the frequencies at this scale, returns their sum. */
static double set_frequencies(hps_planted *p, double zipf, double scale)
{
    double sum = 0;

    for (int64_t i = 0; i < p->n; i++) {
        const double free = scale * hps_exp(-zipf * hps_ln((double)(i + 1)));
        const double most = p->parent[i] < 0 ? most_frequent : 0.5 * p->frequency[p->parent[i]];
        p->frequency[i] = free < most ? free : most;
        sum += p->frequency[i];
    }
    return sum;
}

/* The sum of the frequencies grows with the scale; bisection to the last bit finds the scale. */
static hps_status find_frequencies(const hps_planted_sizes *sizes, hps_planted *p)
{
    double low = 0, high = 1;

    for (int i = 0; i < 300 && set_frequencies(p, sizes->zipf, high) < sizes->active; i++) {
        high *= 2;
    }
    if (set_frequencies(p, sizes->zipf, high) < sizes->active) {
        return hps_fail(HPS_ECONFIG,
                        "synth.active: %g features a token are too many: each of the %lld features is active "
                        "in at most half of the tokens, children in a quarter, which makes %g",
                        sizes->active, (long long)p->n, set_frequencies(p, sizes->zipf, high));
    }
    for (int i = 0; i < 64; i++) {
        const double middle = low + (high - low) / 2;
        if (set_frequencies(p, sizes->zipf, middle) < sizes->active) {
            low = middle;
        } else {
            high = middle;
        }
    }
    set_frequencies(p, sizes->zipf, high);
    return HPS_OK;
}

/* Conditional probabilities that leave the frequencies what they are. */
static void condition(hps_planted *p)
{
    for (int64_t i = 0; i < p->n; i++) {
        const double mine = p->frequency[i];
        p->alone[i] = mine;
        if (p->parent[i] >= 0) {
            p->alone[i] = 0;
            p->with[i] = mine / p->frequency[p->parent[i]];
        } else if (p->partner[i] >= 0 && p->partner[i] < i) {
            const double leader = p->frequency[p->partner[i]], most = mine / leader;
            p->with[i] = most < pair_probability ? most : pair_probability;
            const double rest = mine - p->with[i] * leader;
            p->alone[i] = rest > 0 ? rest / (1 - leader) : 0;
        }
        const int band = 63 - __builtin_clzll((unsigned long long)(i + 1));
        p->bound[band] = p->alone[i] > p->bound[band] ? p->alone[i] : p->bound[band];
    }
}

static void list_children(hps_planted *p)
{
    for (int64_t i = 0; i < p->n; i++) {
        if (p->parent[i] >= 0) {
            p->first_child[p->parent[i] + 1]++;
        }
    }
    for (int64_t i = 0; i < p->n; i++) {
        p->first_child[i + 1] += p->first_child[i];
    }
    /* Placing a child moves its list's beginning on, to where the next list begins. */
    for (int64_t i = 0; i < p->n; i++) {
        if (p->parent[i] >= 0) {
            p->children[p->first_child[p->parent[i]]++] = (int32_t)i;
        }
    }
    for (int64_t i = p->n; i > 0; i--) {
        p->first_child[i] = p->first_child[i - 1];
    }
    p->first_child[0] = 0;
}

static void draw_directions(hps_planted *p, double active)
{
    const int64_t d = p->d;
    double square = 0;

#pragma omp parallel for
    for (int64_t i = 0; i < p->n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < d; c++) {
            const float x = (float)hps_random_normal(p->seed, HPS_DRAW_SYNTH_DICTIONARY, 0, (uint64_t)(i * d + c));
            p->dictionary[i * d + c] = x;
            sum += (double)x * (double)x;
        }
        const double norm = sqrt(sum);
        for (int64_t c = 0; c < d; c++) {
            p->dictionary[i * d + c] = (float)((double)p->dictionary[i * d + c] / norm);
        }
    }
    for (int64_t c = 0; c < d; c++) {
        p->offset[c] = hps_random_normal(p->seed, HPS_DRAW_SYNTH_STRUCTURE, STREAM_OFFSET, (uint64_t)c);
        square += p->offset[c] * p->offset[c];
    }
    for (int64_t c = 0; c < d; c++) {
        p->offset[c] *= 0.5 * sqrt(active) / sqrt(square);
    }
}

hps_status hps_planted_create(const hps_planted_sizes *sizes, hps_planted *planted)
{
    *planted = (hps_planted){.n = sizes->n, .d = sizes->d, .seed = sizes->seed, .noise = sizes->noise};
    if (sizes->correlated + sizes->hierarchy > 1) {
        return hps_fail(HPS_ECONFIG,
                        "synth.correlated (%g) and synth.hierarchy (%g): together they are more than all "
                        "features",
                        sizes->correlated, sizes->hierarchy);
    }
    HPS_TRY(allocate(planted));
    deal_roles(sizes, planted);
    HPS_TRY(find_frequencies(sizes, planted));
    condition(planted);
    list_children(planted);
    draw_directions(planted, sizes->active);
    return HPS_OK;
}

void hps_planted_free(hps_planted *planted)
{
    HPS_FREE(&planted->dictionary);
    HPS_FREE(&planted->offset);
    HPS_FREE(&planted->frequency);
    HPS_FREE(&planted->parent);
    HPS_FREE(&planted->partner);
    HPS_FREE(&planted->alone);
    HPS_FREE(&planted->with);
    HPS_FREE(&planted->first_child);
    HPS_FREE(&planted->children);
}
