/* What the machine can do while every rank and thread is at it. */
#include "bench_parts.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/comm/merge.h"
#include "hpsae/comm/merge_pieces.h"
#include "hpsae/comm/sums.h"
#include "hpsae/model/topk.h"

#include <math.h>
#include <omp.h>
#include <string.h>
#include <unistd.h>

enum {
    REPEATS_MIN = 3,
    REPEATS_MAX = 200,
    LATENCY_ROUNDS = 100,
    SUM_BYTES = 8 << 20,  /* of the large allreduce */
    READ_BYTES = 64 << 20 /* of the store, a rank and repetition */
};
static const int64_t TRIAD_LEAST = INT64_C(96) << 20, CACHE_ASSUMED = INT64_C(64) << 20;
/* Bytes a second of a host, at which the triad's arrays should pass once in the time meant for it. */
static const double TRIAD_RATE = 1e10;

/* What the measurements work in. */
typedef struct {
    MPI_Comm world;
    const hps_bench_case *c;
    int threads;
    int64_t rounds;        /* of a peak's loop, about 10 ms */
    int64_t length;        /* of each array of the triad */
    float *a, *b, *x;      /* [length] */
    int64_t *numbers;      /* [SUM_BYTES / 8] */
    int64_t share;         /* candidates a token that a rank brings */
    hps_candidate *lists;  /* [B, share] as a rank has them before merging */
    hps_candidate *merged; /* [B, k] */
    hps_candidate *room;   /* where the ranks' lists arrive */
    hps_merge_pieces how;
    int64_t rows, first; /* of the store: those that this rank reads */
    char *words;
    hps_status status; /* of reading */
} bench;

/* One repetition: what was done, in the limit's unit, and in how many seconds. */
typedef struct {
    double work, seconds;
} effort;

static effort peak(bench *b, bool screen)
{
    const hps_kernels *kernels = b->c->size.kernels;
    double work = 0;
    const double begin = omp_get_wtime();

#pragma omp parallel num_threads(b->threads) reduction(+ : work)
    work += screen ? kernels->screen_peak(b->rounds) : kernels->float_peak(b->rounds);
    return (effort){work, omp_get_wtime() - begin};
}

static effort screen(bench *b)
{
    return peak(b, true);
}

static effort float_adds(bench *b)
{
    return peak(b, false);
}

/* McCalpin's triad: two arrays are read, one is written. */
static effort triad(bench *b)
{
    const double begin = omp_get_wtime();
    float *restrict a = b->a;
    const float *restrict y = b->b, *restrict x = b->x;

#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < b->length; i++) {
        a[i] = y[i] + 0.5f * x[i];
    }
    return (effort){3.0 * (double)b->length * sizeof(float), omp_get_wtime() - begin};
}

/* The inverse of a latency: rounds a second. */
static effort small_sum(bench *b)
{
    double value = 1;
    const double begin = omp_get_wtime();

    for (int i = 0; i < LATENCY_ROUNDS; i++) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, b->world));
    }
    return (effort){LATENCY_ROUNDS, omp_get_wtime() - begin};
}

static effort large_sum(bench *b)
{
    const MPI_Comm comm = b->c->grid.P > 1 ? b->c->grid.model : b->world;
    const double begin = omp_get_wtime();

    hps_sum_fixed(comm, b->numbers, SUM_BYTES / (int64_t)sizeof(int64_t));
    return (effort){SUM_BYTES, omp_get_wtime() - begin};
}

/* Over the model ranks as the step merges them, a batch at once; on one rank, two lists of its own. */
static effort merge(bench *b)
{
    const int64_t B = b->c->size.B, k = b->c->size.k;

    memcpy(b->merged, b->lists, (size_t)(B * b->share) * sizeof(*b->lists));
    MPI_Barrier(b->c->grid.model);
    const double begin = omp_get_wtime();
    if (b->c->grid.P > 1) {
        hps_merge_pieces_begin(&b->how, b->c->grid.model, k, b->share, b->room);
        hps_merge_pieces_add(&b->how, B, b->merged);
        hps_merge_pieces_finish(&b->how);
    } else {
        for (int64_t t = 0; t < B; t++) {
            hps_merge_lists(k, b->lists + t * k, k, b->merged + t * k);
        }
    }
    return (effort){(double)(B * k), omp_get_wtime() - begin};
}

static effort read_store(bench *b)
{
    const hps_store_info *info = b->c->dataset.info;
    const double begin = omp_get_wtime();

    for (int64_t done = 0; b->status == HPS_OK && done < b->rows; done += HPS_FEED_BLOCK) {
        const int64_t count = b->rows - done < HPS_FEED_BLOCK ? b->rows - done : HPS_FEED_BLOCK;
        b->status = hps_store_read(b->c->dataset.store, b->first + done, count, b->words);
    }
    return (effort){(double)(b->rows * info->d) * (double)hps_dtype_size(info->dtype), omp_get_wtime() - begin};
}

/* Sorted lists of distinct latents: rank p's values lie between those of the others. */
static void fill_lists(bench *b)
{
    const int64_t B = b->c->size.B, share = b->share;
    const hps_grid *grid = &b->c->grid;

    for (int64_t t = 0; t < B; t++) {
        for (int64_t s = 0; s < share; s++) {
            const int64_t place = s * grid->P + (grid->p + t) % grid->P;
            b->lists[t * share + s] = (hps_candidate){(float)(share * grid->P - place), (int32_t)place};
        }
    }
}

/*
 * So long that the host's ranks together exceed its last-level cache several times over, where the seconds are enough to
 * write and read that: to touch a gigabyte for the first time takes longer than a step that is timed for a moment.
 */
static int64_t triad_length(MPI_Comm world, double seconds, bool again)
{
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    MPI_Comm host;
    int ranks;

    HPS_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host));
    HPS_MPI(MPI_Comm_size(host, &ranks));
    HPS_MPI(MPI_Comm_free(&host));
    const int64_t enough = 4 * (cache > 0 ? (int64_t)cache : CACHE_ASSUMED) / ranks;
    const double most = fmin(memory / 16 / ranks, fmax(seconds * TRIAD_RATE / ranks, (double)TRIAD_LEAST));
    const int64_t bytes = (int64_t)fmin(fmax((double)enough, (double)TRIAD_LEAST), most);
    if (bytes < enough && !again) {
        hps_log("bench", "memory is measured over %.0f MiB a rank, less than four times the cache: too few seconds",
                (double)bytes / 1048576);
    }
    return bytes / 3 / (int64_t)sizeof(float);
}

static hps_status allocate(bench *b)
{
    const int64_t B = b->c->size.B;
    const int P = b->c->grid.P;
    const hps_store_info *info = b->c->dataset.info;

    HPS_TRY(HPS_ALLOC(&b->a, b->length, "triad"));
    HPS_TRY(HPS_ALLOC(&b->b, b->length, "triad"));
    HPS_TRY(HPS_ALLOC(&b->x, b->length, "triad"));
    HPS_TRY(HPS_ALLOC(&b->numbers, SUM_BYTES / (int64_t)sizeof(int64_t), "allreduce"));
    HPS_TRY(HPS_ALLOC(&b->lists, B * b->share, "candidate lists"));
    HPS_TRY(HPS_ALLOC(&b->merged, B * b->c->size.k, "candidate lists"));
    HPS_TRY(HPS_ALLOC(&b->room, hps_merge_room(P, B, b->share), "candidate lists"));
    HPS_TRY(hps_merge_pieces_create(P, b->threads, &b->how));
    if (info == NULL) {
        return HPS_OK;
    }
    const int64_t row_bytes = info->d * (int64_t)hps_dtype_size(info->dtype);
    const int64_t share = b->c->dataset.train / b->c->grid.P;
    b->first = share * b->c->grid.p;
    b->rows = READ_BYTES / row_bytes < share ? READ_BYTES / row_bytes : share;
    return HPS_ALLOC(&b->words, HPS_FEED_BLOCK * row_bytes, "rows of the store");
}

static void release(bench *b)
{
    HPS_FREE(&b->a);
    HPS_FREE(&b->b);
    HPS_FREE(&b->x);
    HPS_FREE(&b->numbers);
    HPS_FREE(&b->lists);
    HPS_FREE(&b->merged);
    HPS_FREE(&b->room);
    hps_merge_pieces_destroy(&b->how);
    HPS_FREE(&b->words);
}

/* Repeats while there is time by the slowest rank; the best rate of this rank. */
static double best_rate(bench *b, effort (*measure)(bench *), double seconds)
{
    double best = 0, spent = 0;

    for (int i = 0; i < REPEATS_MAX && (i < REPEATS_MIN || spent < seconds); i++) {
        HPS_MPI(MPI_Barrier(b->world));
        const effort e = measure(b);
        const double rate = e.work / fmax(e.seconds, 1e-9);
        best = rate > best ? rate : best;
        spent += e.seconds;
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &spent, 1, MPI_DOUBLE, MPI_MAX, b->world));
    }
    return best;
}

/* How many rounds of a peak's loop take about 10 ms, by the fastest of a few tries. */
static void find_rounds(bench *b)
{
    enum { TRIES = 4 };
    double seconds = 0;

    for (b->rounds = 1000; seconds < 5e-3 && b->rounds < INT64_C(1) << 40; b->rounds *= 2) {
        seconds = peak(b, false).seconds;
        for (int i = 0; i < TRIES; i++) {
            seconds = fmin(seconds, peak(b, i % 2 == 0).seconds);
        }
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, b->world));
    }
}

/* The ranks' figures together. */
static void gather(MPI_Comm world, hps_bench_limit limit, hps_bench_figure *f)
{
    const double sign = limit == HPS_LIMIT_LATENCY ? -1 : 1;
    struct {
        double value;
        int rank;
    } mine = {sign * f->mine, 0}, least;
    int size;

    MPI_Comm_rank(world, &mine.rank);
    MPI_Comm_size(world, &size);
    HPS_MPI(MPI_Allreduce(&mine, &least, 1, MPI_DOUBLE_INT, MPI_MINLOC, world));
    HPS_MPI(MPI_Allreduce(&f->mine, &f->sum, 1, MPI_DOUBLE, MPI_SUM, world));
    f->least = sign * least.value;
    f->slowest = least.rank;
    f->mean = f->sum / size;
}

static void measure_all(bench *b, double seconds, bool again, hps_bench_limits *limits)
{
    static effort (*const measures[HPS_LIMITS])(bench *) = {
        [HPS_LIMIT_SCREEN] = screen,     [HPS_LIMIT_FLOAT] = float_adds,    [HPS_LIMIT_MEMORY] = triad,
        [HPS_LIMIT_LATENCY] = small_sum, [HPS_LIMIT_ALLREDUCE] = large_sum, [HPS_LIMIT_MERGE] = merge,
        [HPS_LIMIT_READ] = read_store};
    int ranks;

    MPI_Comm_size(b->world, &ranks);
    for (int l = 0; l < HPS_LIMITS; l++) {
        hps_bench_figure *f = &limits->of[l];
        const bool alone = ranks == 1 && (l == HPS_LIMIT_LATENCY || l == HPS_LIMIT_ALLREDUCE);
        if (alone || (l == HPS_LIMIT_READ && b->words == NULL)) {
            *f = (hps_bench_figure){NAN, NAN, NAN, NAN, 0};
            continue;
        }
        const double rate = best_rate(b, measures[l], seconds / HPS_LIMITS);
        const double value = l == HPS_LIMIT_LATENCY ? 1 / rate : rate;
        const bool better = !again || (l == HPS_LIMIT_LATENCY ? value < f->mine : value > f->mine);
        f->mine = better ? value : f->mine;
        gather(b->world, (hps_bench_limit)l, f);
    }
}

hps_status hps_bench_limits_measure(MPI_Comm world, const hps_bench_case *c, double seconds, bool again,
                                    hps_bench_limits *limits)
{
    bench b = {.world = world,
               .c = c,
               .threads = (int)c->config.grid.threads,
               .length = triad_length(world, seconds / HPS_LIMITS, again),
               .share = hps_topk_share(c->size.k, c->grid.P)};

    hps_status status = hps_agree(world, allocate(&b));
    if (status == HPS_OK) {
        fill_lists(&b);
        find_rounds(&b);
        measure_all(&b, seconds, again, limits);
        status = hps_agree(world, b.status);
    }
    release(&b);
    return status;
}
