#include "whiten.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/ordered_product.h"
#include "hpsae/linalg/inverse_root.h"
#include "hpsae/model/feed.h"
#include "hpsae/store/whitening.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STRIP = 32 }; /* rows of C at a time */

typedef struct {
    const hps_whiten *o;
    hps_feed *feed;
    int64_t d, batch;
    float *x;        /* [batch, d] */
    double *centred; /* [batch, d] */
    double *root;    /* [d, d] C, then (C + eps I)^(1/2); of the map */
} covariance;

static int64_t batch_of(const hps_whiten *w)
{
    return w->rows < w->config->pca.batch ? w->rows : w->config->pca.batch;
}

hps_status hps_whiten_prepare(hps_whiten *w)
{
    const hps_config *c = w->config;
    const hps_store_info *info = w->dataset->info;
    uint64_t identity;

    if (info->whitening != 0) {
        return hps_config_fail(c, "data.store", "is whitened already; whiten the store that it was made from");
    }
    HPS_TRY(hps_agree(w->grid->model, hps_store_identity(w->dataset->store, &identity)));
    snprintf(w->fingerprint, sizeof(w->fingerprint), "store %016" PRIx64 " whitened by rows %lld + %lld, shrink %.17g",
             identity, (long long)w->first, (long long)w->rows, c->pca.shrink);
    HPS_TRY(hps_whitened_look(w->grid->model, c->pca.whiten, w->fingerprint, &w->done));
    if (w->done) {
        hps_log("pca", "%s is there already, made from these rows; it stays", c->pca.whiten);
    }
    return HPS_OK;
}

int64_t hps_whiten_bytes(const hps_whiten *w)
{
    const int64_t d = w->dataset->info->d, map = 2 * d * d * (int64_t)sizeof(double);
    const int64_t reading = batch_of(w) * d * (int64_t)(2 * sizeof(float) + sizeof(double));
    const int64_t writing = hps_whitened_bytes(w->dataset->info->rows, d), solving = hps_inverse_root_bytes(d);

    return map + (reading > solving ? (reading > writing ? reading : writing) : solving > writing ? solving : writing);
}

static hps_status open_rows(covariance *c)
{
    const hps_feed_options options = {
        .first = c->o->first, .rows = c->o->rows, .batch = c->batch, .norm = HPS_NORM_NONE, .scale = 1};

    HPS_TRY(hps_feed_create(c->o->grid, c->o->dataset->store, &options, &c->feed));
    hps_status status = HPS_ALLOC(&c->x, c->batch * c->d, "rows");
    status = status == HPS_OK ? HPS_ALLOC(&c->centred, c->batch * c->d, "rows") : status;
    return hps_agree(c->o->grid->model, status);
}

static void close_rows(covariance *c)
{
    hps_feed_destroy(&c->feed);
    HPS_FREE(&c->x);
    HPS_FREE(&c->centred);
}

static void centre(const covariance *c, int64_t count, const double *mean)
{
#pragma omp parallel for schedule(static) num_threads((int)c->o->config->grid.threads)
    for (int64_t t = 0; t < count; t++) {
        for (int64_t j = 0; j < c->d; j++) {
            c->centred[t * c->d + j] = (double)c->x[t * c->d + j] - mean[j];
        }
    }
}

/* This rank's strips of C, up to the diagonal; the long ones and the short ones in turn. */
static void add_batch(const covariance *c, int64_t count)
{
    const int64_t d = c->d, strips = (d + STRIP - 1) / STRIP;

#pragma omp parallel for schedule(dynamic) num_threads((int)c->o->config->grid.threads)
    for (int64_t s = c->o->grid->p; s < strips; s += c->o->grid->P) {
        const int64_t first = s * STRIP, rows = d - first < STRIP ? d - first : STRIP;
        hps_ordered_product(rows, first + rows, count, c->centred + first, 1, d, c->centred, d, c->root + first * d, d);
    }
}

/* Collective.  C, whole, on every rank. */
static hps_status add_rows(covariance *c, const double *mean)
{
    const int64_t rows = c->o->rows, d = c->d;

    for (int64_t done = 0; done < rows; done += c->batch) {
        const int64_t count = rows - done < c->batch ? rows - done : c->batch;
        HPS_TRY(hps_feed_batch(c->feed, done, count, d, c->x));
        if (done + count < rows) {
            hps_feed_begin(c->feed, done + count, rows - done - count < c->batch ? rows - done - count : c->batch);
        }
        centre(c, count, mean);
        add_batch(c, count);
    }
    hps_join_rows(c->o->grid->model, d, d, c->root);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            c->root[i * d + j] /= (double)rows;
            c->root[j * d + i] = c->root[i * d + j];
        }
    }
    return HPS_OK;
}

/* eps on the diagonal; returns it. */
static double shrink(const covariance *c)
{
    double trace = 0;

    for (int64_t i = 0; i < c->d; i++) {
        trace += c->root[i * c->d + i];
    }
    const double eps = c->o->config->pca.shrink * trace / (double)c->d;
    for (int64_t i = 0; i < c->d; i++) {
        c->root[i * c->d + i] += eps;
    }
    return eps;
}

/* Collective.  The map of the fitted rows. */
static hps_status make_map(const hps_whiten *w, hps_whitening *map)
{
    covariance c = {.o = w, .d = map->d, .batch = batch_of(w), .root = map->inverse};

    hps_status status = open_rows(&c);
    if (status == HPS_OK) {
        status = add_rows(&c, map->mean);
    }
    close_rows(&c);
    HPS_TRY(status);
    const double eps = shrink(&c);
    hps_log("pca", "whitening: the inverse root of C + %.4g I from %lld rows", eps, (long long)w->rows);
    status = hps_inverse_root(w->grid->model, (int)w->config->grid.threads, c.d, map->inverse, map->W);
    return status != HPS_ENUMERIC
               ? status
               : hps_config_fail(
                     w->config, "pca.shrink",
                     "%.15g leaves the covariance of %lld rows in %lld columns singular: some components have "
                     "no variance; set a larger one, say 1e-3",
                     w->config->pca.shrink, (long long)w->rows, (long long)c.d);
}

/* Collective. */
static hps_status write_copy(const hps_whiten *w, const hps_whitening *map)
{
    const hps_config *config = w->config;
    hps_whitened_copy copy = {.store = &config->data.store,
                              .hook = config->data.hook,
                              .path = config->pca.whiten,
                              .fingerprint = w->fingerprint,
                              .first = w->first,
                              .rows = w->rows,
                              .shrink = config->pca.shrink,
                              .threads = (int)config->grid.threads};

    HPS_TRY(hps_agree(w->grid->model, hps_store_identity(w->dataset->store, &copy.identity)));
    HPS_TRY(hps_whitened_write(w->grid->model, &copy, map));
    hps_log("pca", "wrote %s: %lld whitened rows, map %016" PRIx64, copy.path, (long long)w->dataset->info->rows,
            hps_whitening_identity(map));
    return HPS_OK;
}

hps_status hps_whiten_run(const hps_whiten *w, const double *mean)
{
    const int64_t d = w->dataset->info->d;
    hps_whitening map;

    if (w->done) {
        return HPS_OK;
    }
    hps_status status = hps_agree(w->grid->model, hps_whitening_create(d, &map));
    if (status == HPS_OK) {
        memcpy(map.mean, mean, (size_t)d * sizeof(*mean));
        status = make_map(w, &map);
    }
    if (status == HPS_OK) {
        status = write_copy(w, &map);
    }
    hps_whitening_free(&map);
    return status;
}
