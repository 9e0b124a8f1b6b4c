#include "hpsae/model/feed.h"

#include "hpsae/base/background.h"
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/comm/sums.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How far a batch has come; the words of the stages in between stand in feed->words. */
typedef enum { NOTHING, READING, SPREADING } stage;

typedef struct {
    uint64_t key;
    int64_t block;
} place;

struct hps_feed {
    const hps_grid *grid;
    hps_store *store;
    const hps_store_info *info;
    hps_feed_options options;
    int64_t blocks, epoch;         /* epoch that `order` holds, -1 at first */
    place *order;                  /* [blocks] */
    int64_t short_at;              /* where in `order` the last block stands */
    char *words;                   /* [batch, d] as stored */
    int *counts, *offsets;         /* [P] bytes of the allgather */
    const hps_feed_change *change; /* borrowed; NULL: none */
    bool held;                     /* words are those of the batch at position, all of it */
    stage stage;                   /* of the batch that follows */
    int64_t position, count;
    hps_background reader;
    hps_status mine; /* of this rank's share */
    char message[HPS_MESSAGE_MAX];
    int worst;              /* status over all ranks */
    MPI_Request request[2]; /* the words; the worst status */
    hps_feed_figures figures;
};

hps_status hps_feed_create(const hps_grid *grid, hps_store *store, const hps_feed_options *options, hps_feed **feed)
{
    *feed = NULL;
    hps_status status = HPS_ALLOC(feed, 1, "feed");
    if (status == HPS_OK) {
        hps_feed *f = *feed;
        f->grid = grid;
        f->store = store;
        f->info = hps_store_about(store);
        f->options = *options;
        f->blocks = (options->rows + HPS_FEED_BLOCK - 1) / HPS_FEED_BLOCK;
        f->epoch = -1;
        const int64_t row_bytes = f->info->d * (int64_t)hps_dtype_size(f->info->dtype);
        if (options->first < 0 || options->rows < 1 || options->first + options->rows > f->info->rows) {
            status = hps_fail(HPS_EARG, "rows %lld to %lld are not in a store of %lld rows", (long long)options->first,
                              (long long)(options->first + options->rows), (long long)f->info->rows);
        } else if (options->batch > INT32_MAX / row_bytes) {
            status = hps_fail(HPS_ECONFIG,
                              "a batch of %lld tokens of %lld bytes is more than one message holds: use "
                              "batches of at most %lld tokens",
                              (long long)options->batch, (long long)row_bytes, (long long)(INT32_MAX / row_bytes));
        }
        status = status == HPS_OK ? HPS_ALLOC(&f->order, f->blocks, "order of the batches") : status;
        status = status == HPS_OK ? HPS_ALLOC(&f->words, options->batch * row_bytes, "input batch") : status;
        status = status == HPS_OK ? HPS_ALLOC(&f->counts, grid->P, "input batch") : status;
        status = status == HPS_OK ? HPS_ALLOC(&f->offsets, grid->P, "input batch") : status;
    }
    status = hps_agree(grid->model, status);
    if (status != HPS_OK) {
        hps_feed_destroy(feed);
    }
    return status;
}

/* Local while reading; collective while spreading. */
static void drop(hps_feed *f)
{
    if (f->stage == READING) {
        (void)hps_background_finish(&f->reader);
    } else if (f->stage == SPREADING) {
        /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): begun by spread */
        HPS_MPI(MPI_Waitall(2, f->request, MPI_STATUSES_IGNORE));
    }
    f->stage = NOTHING;
}

void hps_feed_destroy(hps_feed **feed)
{
    if (*feed != NULL) {
        drop(*feed);
        HPS_FREE(&(*feed)->order);
        HPS_FREE(&(*feed)->words);
        HPS_FREE(&(*feed)->counts);
        HPS_FREE(&(*feed)->offsets);
        HPS_FREE(feed);
    }
}

void hps_feed_set_norm(hps_feed *feed, hps_norm norm, double scale)
{
    feed->options.norm = norm;
    feed->options.scale = scale;
}

void hps_feed_set_change(hps_feed *feed, const hps_feed_change *change)
{
    feed->change = change;
}

bool hps_feed_is_changed(const hps_feed *feed)
{
    return feed->change != NULL;
}

int64_t hps_feed_most(const hps_feed *feed)
{
    return feed->options.batch;
}

static int by_key(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return (x->block > y->block) - (x->block < y->block);
}

static void set_epoch(hps_feed *f, int64_t epoch)
{
    if (f->epoch == epoch) {
        return;
    }
    for (int64_t b = 0; b < f->blocks; b++) {
        const uint64_t key = f->options.shuffled
                                 ? hps_random_u64(f->options.seed, HPS_DRAW_BATCH_ORDER, (uint64_t)epoch, (uint64_t)b)
                                 : 0;
        f->order[b] = (place){key, b};
    }
    qsort(f->order, (size_t)f->blocks, sizeof(place), by_key);
    f->short_at = 0;
    while (f->order[f->short_at].block != f->blocks - 1) {
        f->short_at++;
    }
    f->epoch = epoch;
}

/* The row at a stream position, and how many rows follow it without a gap, itself included. */
static int64_t row_at(hps_feed *f, int64_t position, int64_t *contiguous)
{
    const int64_t rows = f->options.rows, last = rows - (f->blocks - 1) * HPS_FEED_BLOCK;
    int64_t r = position % rows, slot, within, length = HPS_FEED_BLOCK;

    set_epoch(f, position / rows);
    if (r < f->short_at * HPS_FEED_BLOCK) {
        slot = r / HPS_FEED_BLOCK;
        within = r % HPS_FEED_BLOCK;
    } else {
        r -= f->short_at * HPS_FEED_BLOCK;
        slot = r < last ? f->short_at : f->short_at + 1 + (r - last) / HPS_FEED_BLOCK;
        within = r < last ? r : (r - last) % HPS_FEED_BLOCK;
        length = r < last ? last : HPS_FEED_BLOCK;
    }
    *contiguous = length - within;
    return f->options.first + f->order[slot].block * HPS_FEED_BLOCK + within;
}

/* The words of stream positions position ... + count - 1, checked. */
static hps_status read_words(hps_feed *f, int64_t position, int64_t count, char *words)
{
    const size_t row_bytes = (size_t)f->info->d * hps_dtype_size(f->info->dtype);

    for (int64_t done = 0; done < count;) {
        int64_t take;
        const int64_t row = row_at(f, position + done, &take);
        take = take < count - done ? take : count - done;
        char *to = words + (size_t)done * row_bytes;
        HPS_TRY(hps_store_read(f->store, row, take, to));
        const int64_t bad = hps_words_first_nonfinite(f->info->dtype, take * f->info->d, to);
        if (bad >= 0) {
            int64_t within;
            const char *file = hps_store_file(f->store, row + bad / f->info->d, &within);
            return hps_fail(HPS_EFORMAT,
                            "%s: row %lld of %s holds a NaN or an infinity; run `hpsae shuffle` with "
                            "data.skip_bad_rows: true",
                            file, (long long)within, f->info->hook);
        }
        done += take;
    }
    return HPS_OK;
}

/* Token normalisation: less the mean over d, to norm sqrt(d). */
static void normalise_token(int64_t d, float *x)
{
    double sum = 0;

    for (int64_t j = 0; j < d; j++) {
        sum += (double)x[j];
    }
    const float mean = (float)(sum / (double)d);
    for (int64_t j = 0; j < d; j++) {
        x[j] -= mean;
    }
    const double square = (double)hps_dot(d, x, x);
    const float factor = square > 0 ? (float)sqrt((double)d / square) : 0;
    for (int64_t j = 0; j < d; j++) {
        x[j] *= factor;
    }
}

static void widen(const hps_feed *f, int64_t count, const char *words, int64_t ld, float *x)
{
    const int64_t d = f->info->d;
    const size_t row_bytes = (size_t)d * hps_dtype_size(f->info->dtype);
    const hps_norm norm = f->change != NULL ? f->change->norm : f->options.norm;
    const float scale = (float)(f->change != NULL ? f->change->scale : f->options.scale);

#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < count; t++) {
        float *row = x + t * ld;
        hps_words_to_float(f->info->dtype, d, words + (size_t)t * row_bytes, row);
        if (norm == HPS_NORM_TOKEN) {
            normalise_token(d, row);
        } else if (norm == HPS_NORM_SCALE) {
            for (int64_t j = 0; j < d; j++) {
                row[j] *= scale;
            }
        }
    }
}

hps_status hps_feed_rows(hps_feed *f, int64_t position, int64_t count, int64_t ld, float *x)
{
    const int64_t most = f->options.batch;

    f->held = false;
    for (int64_t done = 0; done < count; done += most) {
        const int64_t take = count - done < most ? count - done : most;
        HPS_TRY(read_words(f, position + done, take, f->words));
        widen(f, take, f->words, ld, x + done * ld);
    }
    return HPS_OK;
}

/* This rank's share of the batch, for whichever thread; nothing else touches the feed meanwhile. */
static hps_status read_share(void *context)
{
    hps_feed *f = context;
    const int P = f->grid->P, p = f->grid->p;
    const int64_t begin = f->count * p / P, end = f->count * (p + 1) / P;
    const double start = omp_get_wtime();

    const hps_status status = read_words(f, f->position + begin, end - begin, f->words + f->offsets[p]);
    f->figures.bytes += f->counts[p];
    f->figures.reading += omp_get_wtime() - start;
    return status;
}

static void set_share(hps_feed *f, int64_t position, int64_t count)
{
    const int64_t row_bytes = f->info->d * (int64_t)hps_dtype_size(f->info->dtype);
    const int P = f->grid->P;

    f->position = position;
    f->count = count;
    for (int q = 0; q < P; q++) {
        const int64_t begin = count * q / P, end = count * (q + 1) / P;
        f->offsets[q] = hps_count(begin * row_bytes);
        f->counts[q] = hps_count((end - begin) * row_bytes);
    }
}

void hps_feed_begin(hps_feed *f, int64_t position, int64_t count)
{
    drop(f);
    if (count <= f->options.batch) {
        f->held = false;
        set_share(f, position, count);
        f->stage = READING;
        hps_background_start(&f->reader, read_share, f);
    }
}

/*
 * The words go as they are stored, and a rank that could not read sends what it has: that every rank learns of it by the
 * second message costs nobody a wait.
 */
static void spread(hps_feed *f)
{
    MPI_Comm comm = f->grid->model;

    f->mine = hps_background_finish(&f->reader);
    snprintf(f->message, sizeof(f->message), "%s", hps_status_message());
    f->worst = (int)f->mine;
    f->request[0] = f->request[1] = MPI_REQUEST_NULL;
    if (f->grid->P > 1) {
        HPS_MPI(MPI_Iallreduce(MPI_IN_PLACE, &f->worst, 1, MPI_INT, MPI_MAX, comm, &f->request[1]));
        HPS_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, f->words, f->counts, f->offsets, MPI_BYTE, comm,
                                &f->request[0]));
    }
    f->stage = SPREADING;
}

void hps_feed_exchange(hps_feed *f)
{
    int done;

    if (f->stage == READING) {
        spread(f);
    } else if (f->stage == SPREADING) {
        HPS_MPI(MPI_Testall(2, f->request, &done, MPI_STATUSES_IGNORE));
    }
} /* NOLINT(clang-analyzer-optin.mpi.MPI-Checker): finish waits */

/* Collective.  All words of the batch. */
static hps_status finish(hps_feed *f)
{
    if (f->stage == READING) {
        spread(f);
    }
    /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): begun by spread */
    HPS_MPI(MPI_Waitall(2, f->request, MPI_STATUSES_IGNORE));
    f->stage = NOTHING;
    if (f->worst == HPS_OK) {
        return HPS_OK;
    }
    return hps_agree(f->grid->model, f->mine == HPS_OK ? HPS_OK : hps_fail(f->mine, "%s", f->message));
}

/* Collective.  All words of the batch, which nobody began to read. */
static hps_status read_all(hps_feed *f, int64_t position, int64_t count)
{
    set_share(f, position, count);
    HPS_TRY(hps_agree(f->grid->model, read_share(f)));
    HPS_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, f->words, f->counts, f->offsets, MPI_BYTE, f->grid->model));
    return HPS_OK;
}

hps_status hps_feed_batch(hps_feed *f, int64_t position, int64_t count, int64_t ld, float *x)
{
    const double begin = omp_get_wtime();
    const bool same = f->position == position && f->count == count;
    hps_status status = HPS_OK;

    if (count > f->options.batch) {
        return hps_fail(HPS_EARG, "%lld rows asked of a feed of %lld", (long long)count, (long long)f->options.batch);
    }
    if (f->stage != NOTHING && !same) {
        drop(f);
    }
    if (f->stage != NOTHING) {
        status = finish(f);
    } else if (!(f->held && same)) {
        status = read_all(f, position, count);
    }
    f->held = status == HPS_OK && f->options.keeps;
    f->figures.waiting += omp_get_wtime() - begin;
    HPS_TRY(status);
    widen(f, count, f->words, ld, x);
    return f->change != NULL ? f->change->run(f->change->context, count, ld, x) : HPS_OK;
}

hps_feed_figures hps_feed_so_far(const hps_feed *f)
{
    return f->figures;
}
