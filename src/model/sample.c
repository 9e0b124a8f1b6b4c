#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/initialise.h"

#include <math.h>
#include <string.h>

enum { ROWS = 256, ITERATIONS = 100 }; /* rows of a block, the unit that is never split between ranks */

/* A rank's blocks of the sample. */
typedef struct {
    MPI_Comm comm;
    int64_t d, ld, rows, blocks, all_blocks;
    float *x;        /* [rows, ld] */
    float *centre;   /* [d] */
    float *distance; /* [rows] |x - centre| */
    double *partial; /* [blocks, d + 1] */
    double *sum;     /* [d + 1] */
} share;

static void release(share *s)
{
    HPS_FREE(&s->x);
    HPS_FREE(&s->centre);
    HPS_FREE(&s->distance);
    HPS_FREE(&s->partial);
    HPS_FREE(&s->sum);
}

static hps_status allocate(share *s)
{
    HPS_TRY(HPS_ALLOC(&s->x, s->rows * s->ld, "sample of activations"));
    HPS_TRY(HPS_ALLOC(&s->centre, s->d, "sample of activations"));
    HPS_TRY(HPS_ALLOC(&s->distance, s->rows, "sample of activations"));
    HPS_TRY(HPS_ALLOC(&s->partial, s->blocks * (s->d + 1), "sample of activations"));
    return HPS_ALLOC(&s->sum, s->d + 1, "sample of activations");
}

/* Collective.  Rows that go through a change come on all ranks: this one keeps its own, from position `first` on. */
static hps_status load_changed(const hps_grid *grid, hps_feed *feed, int64_t rows, int64_t first, share *s)
{
    const int64_t most = hps_feed_most(feed);
    float *x;
    hps_status status = hps_agree(grid->model, HPS_ALLOC(&x, most * s->ld, "sample of activations"));

    for (int64_t done = 0; done < rows && status == HPS_OK; done += most) {
        const int64_t take = rows - done < most ? rows - done : most;
        status = hps_feed_batch(feed, done, take, s->ld, x);
        const int64_t begin = first > done ? first : done;
        const int64_t end = first + s->rows < done + take ? first + s->rows : done + take;
        if (status == HPS_OK && begin < end) {
            memcpy(s->x + (begin - first) * s->ld, x + (begin - done) * s->ld,
                   (size_t)((end - begin) * s->ld) * sizeof(*x));
        }
    }
    HPS_FREE(&x);
    return status;
}

static hps_status load(const hps_grid *grid, hps_feed *feed, int64_t rows, int64_t d, share *s)
{
    const int64_t all = (rows + ROWS - 1) / ROWS, b0 = all * grid->p / grid->P, b1 = all * (grid->p + 1) / grid->P;
    const int64_t end = b1 * ROWS < rows ? b1 * ROWS : rows;

    *s = (share){.comm = grid->model,
                 .d = d,
                 .ld = (d + HPS_LANES - 1) / HPS_LANES * HPS_LANES,
                 .rows = end > b0 * ROWS ? end - b0 * ROWS : 0,
                 .blocks = b1 - b0,
                 .all_blocks = all};
    hps_status status = allocate(s);
    if (hps_feed_is_changed(feed)) {
        status = hps_agree(grid->model, status);
        return status == HPS_OK ? load_changed(grid, feed, rows, b0 * ROWS, s) : status;
    }
    if (status == HPS_OK && s->rows > 0 && !hps_grid_is_planned(grid)) {
        status = hps_feed_rows(feed, b0 * ROWS, s->rows, s->ld, s->x);
    }
    return hps_agree(grid->model, status);
}

/* For each block: sum of weight * x and, at index d, of weight; weights 1 or 1 / distance. */
static hps_status weighted_sum(share *s, bool by_distance)
{
    const int64_t d = s->d;

#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < s->blocks; b++) {
        double *partial = s->partial + b * (d + 1);
        const int64_t end = (b + 1) * ROWS < s->rows ? (b + 1) * ROWS : s->rows;
        for (int64_t j = 0; j <= d; j++) {
            partial[j] = 0;
        }
        for (int64_t i = b * ROWS; i < end; i++) {
            const double weight = by_distance ? 1 / fmax((double)s->distance[i], 1e-20) : 1;
            for (int64_t j = 0; j < d; j++) {
                partial[j] += weight * (double)s->x[i * s->ld + j];
            }
            partial[d] += weight;
        }
    }
    return hps_sum_rows(s->comm, s->blocks, s->all_blocks, d + 1, s->partial, s->sum);
}

/* |x - centre|^2 in double, by eight running sums. */
static double distance_square(int64_t d, const float *x, const float *centre)
{
    double s[8] = {0};

    for (int64_t j = 0; j < d; j++) {
        const double difference = (double)x[j] - (double)centre[j];
        s[j % 8] += difference * difference;
    }
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* Distances from the centre; returns the sum of their squares over the whole sample. */
static double measure(share *s)
{
    double sum;

#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < s->blocks; b++) {
        const int64_t end = (b + 1) * ROWS < s->rows ? (b + 1) * ROWS : s->rows;
        s->partial[b] = 0;
        for (int64_t i = b * ROWS; i < end; i++) {
            const double square = distance_square(s->d, s->x + i * s->ld, s->centre);
            s->distance[i] = (float)sqrt(square);
            s->partial[b] += square;
        }
    }
    const hps_partials all = {s->partial, s->blocks, s->all_blocks};
    hps_sum_partials(s->comm, 1, &all, &sum, 0, NULL);
    return sum;
}

/* Weiszfeld's iteration: the mean weighted by 1 / distance, until it moves by less than 1e-6 of `spread`. */
static hps_status find_median(share *s, double spread)
{
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        double moved = 0;

        (void)measure(s);
        HPS_TRY(weighted_sum(s, true));
        for (int64_t j = 0; j < s->d; j++) {
            const float next = (float)(s->sum[j] / s->sum[s->d]);
            const double by = (double)next - (double)s->centre[j];
            moved += by * by;
            s->centre[j] = next;
        }
        if (sqrt(moved) <= 1e-6 * spread) {
            break;
        }
    }
    return HPS_OK;
}

static hps_status statistics(share *s, bool with_median, hps_sample *sample)
{
    sample->mean_sq_norm = measure(s) / (double)sample->rows;
    HPS_TRY(weighted_sum(s, false));
    for (int64_t j = 0; j < s->d; j++) {
        s->centre[j] = (float)(s->sum[j] / (double)sample->rows);
    }
    sample->V = measure(s) / (double)sample->rows;
    if (!(sample->V > 0) || !isfinite(sample->V)) {
        return hps_fail(HPS_EFORMAT, "the first %lld training rows do not differ: there is nothing to learn",
                        (long long)sample->rows);
    }
    if (with_median) {
        HPS_TRY(find_median(s, sqrt(sample->V)));
        for (int64_t j = 0; j < s->d; j++) {
            sample->median[j] = s->centre[j];
        }
    }
    return HPS_OK;
}

hps_status hps_sample_take(const hps_grid *grid, hps_feed *feed, int64_t rows, int64_t d, bool with_median,
                           hps_sample *sample)
{
    share s;

    *sample = (hps_sample){.rows = rows, .d = d};
    hps_status status = hps_agree(grid->model, HPS_ALLOC(&sample->median, d, "geometric median"));
    if (status != HPS_OK) {
        return status;
    }
    status = load(grid, feed, rows, d, &s);
    if (status == HPS_OK && !hps_grid_is_planned(grid)) {
        status = statistics(&s, with_median, sample);
    }
    release(&s);
    if (status != HPS_OK) {
        hps_sample_destroy(sample);
    }
    return status;
}

void hps_sample_destroy(hps_sample *sample)
{
    HPS_FREE(&sample->median);
}
