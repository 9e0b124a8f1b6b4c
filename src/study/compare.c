#include "hpsae/study/compare.h"

#include "compare_report.h"
#include "hungarian.h"
#include "matrix_budget.h"
#include "nearest.h"
#include "publish.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/ensemble/ensemble_export.h"
#include "hpsae/linalg/cyclic.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/device.h"

#include <math.h>
#include <stdio.h>

enum { TOKENS_AUTO = 65536, PANEL_MOST = 8192, PANEL_LEAST = 64, THRESHOLD_ROOM = 128 };

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    hps_grid grid;
    hps_process_grid over;
    hps_dictionaries list;
    hps_dataset dataset; /* without a store: nothing */
    int64_t first;       /* of the tokens for connectivity */
    const hps_kernels *kernels;
    hps_decoder_rows *rows; /* [count] */
    int64_t panel, nb, n_most;
    float *within, *across; /* [rows] */
    hps_comparison found;
} comparison;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Collective.  The tokens that connectivity is counted over; none where there is no store. */
static hps_status choose_tokens(comparison *x)
{
    const hps_config *c = x->config;
    int64_t rows;

    if (c->compare.tokens == 0 || c->compare.store.count + c->data.store.count == 0) {
        hps_log("compare", "connectivity is not measured: %s",
                c->compare.tokens == 0 ? "compare.tokens is 0" : "no store is named");
        return HPS_OK;
    }
    HPS_TRY(hps_dataset_open(x->world, c, &c->compare.store, false, &x->dataset));
    HPS_TRY(hps_dataset_fits(&x->dataset, x->list.item[0].name, x->list.item[0].d));
    hps_dataset_rows(&x->dataset, c->compare.rows, &x->first, &rows);
    const int64_t wanted = c->compare.tokens == HPS_AUTO_INT ? smaller(rows, TOKENS_AUTO) : c->compare.tokens;
    if (x->first < 0 || rows < 1 || wanted > rows) {
        return hps_config_fail(
            c, "compare.tokens", "%lld tokens wanted, and compare.rows leaves %lld of the store's %lld",
            (long long)larger(wanted, 1), (long long)(x->first < 0 ? 0 : rows), (long long)x->dataset.info->rows);
    }
    x->found.tokens = wanted;
    x->found.hook = x->dataset.info->hook;
    return HPS_OK;
}

/* Of a model with its forward pass, where codes are counted. */
static hps_status coding_bytes(const comparison *x, const hps_dictionary *one, const hps_dictionary_part *part,
                               int64_t *bytes)
{
    const hps_config *c = x->config;
    const int64_t tokens = x->found.tokens;
    const hps_coding_size size = {.n = part->n,
                                  .d = one->d,
                                  .k = part->k,
                                  .select = one->select,
                                  .batch = smaller(c->compare.batch, larger(tokens, 1)),
                                  .ranks = x->grid.P,
                                  .threads = (int)c->grid.threads,
                                  .kernels = x->kernels,
                                  .encodes = tokens > 0};

    return hps_coding_bytes(&size, bytes);
}

/* Of all models that are held together: an ensemble's members, and their decoders once more as one. */
static hps_status models_bytes(const comparison *x, const hps_dictionary *one, int64_t *bytes)
{
    const hps_dictionary_part whole = {.n = one->n, .k = one->k};
    hps_shard shard;
    int64_t more;

    if (one->members == 0) {
        return coding_bytes(x, one, &whole, bytes);
    }
    HPS_TRY(hps_shard_create(one->n, one->d, x->grid.P, 0, &shard));
    *bytes = hps_model_bytes(&shard, 1u << HPS_VALUE);
    for (int j = 0; j < one->members; j++) {
        HPS_TRY(coding_bytes(x, one, &one->part[j], &more));
        *bytes += more;
    }
    return HPS_OK;
}

/* Of reading a dictionary, with its codes where they are counted. */
static hps_status loading_bytes(const comparison *x, const hps_dictionary *one, int64_t *bytes)
{
    const hps_config *c = x->config;
    const int64_t tokens = x->found.tokens, a_token = one->select == HPS_SELECT_BATCH_TOPK
                                                          ? larger(one->k, smaller(one->n, THRESHOLD_ROOM))
                                                          : one->k;

    HPS_TRY(models_bytes(x, one, bytes));
    *bytes += larger(hps_decoder_rows_bytes(one->d, x->grid.P),
                     tokens > 0 ? hps_connections_bytes(tokens, a_token, one->n, (int)c->grid.threads) : 0);
    return HPS_OK;
}

/* Dictionaries are matched when all have one size, not too large. */
static void choose_matching(comparison *x, int64_t kept)
{
    const int64_t count = x->list.count, n = x->list.item[0].n, most = x->config->compare.hungarian;
    char *why = x->found.skipped;
    const size_t room = sizeof(x->found.skipped);

    for (int64_t s = 1; s < count; s++) {
        if (x->list.item[s].n != n) {
            snprintf(why, room, "the dictionaries differ in size");
            return;
        }
    }
    if (count < 2) {
        snprintf(why, room, "there is one dictionary");
    } else if (n > most) {
        snprintf(why, room, "%lld latents are more than compare.hungarian, %lld", (long long)n, (long long)most);
    } else if (kept + hps_hungarian_bytes(n, x->list.item[0].d, x->grid.P) > hps_budget(x->config)) {
        snprintf(why, room, "the cosines of all pairs, on one rank, do not fit grid.memory");
    } else {
        x->found.matches = count * (count - 1) / 2;
    }
}

/* The largest panels that fit, and whether anything does. */
static hps_status plan_memory(comparison *x)
{
    const int64_t d = x->list.item[0].d, lde = (d + HPS_LANES - 1) / HPS_LANES * HPS_LANES;
    int64_t kept = 2 * x->found.rows * (int64_t)sizeof(float), loading = 0, peak;
    char what[96];

    for (int64_t s = 0; s < x->list.count; s++) {
        int64_t bytes;
        HPS_TRY(loading_bytes(x, &x->list.item[s], &bytes));
        loading = larger(loading, bytes);
        kept += (x->list.item[s].n / x->grid.P + HPS_BLOCK) * lde * (int64_t)sizeof(float);
        x->n_most = larger(x->n_most, x->list.item[s].n);
    }
    x->panel = smaller(PANEL_MOST, x->n_most);
    for (;;) {
        x->nb = hps_cyclic_block(&x->over, smaller(x->panel, d), x->config->grid.block);
        peak = kept + larger(loading, hps_nearest_bytes(&x->over, x->found.rows, d, x->panel, x->nb));
        if (peak <= hps_budget(x->config) || x->panel <= PANEL_LEAST) {
            break;
        }
        x->panel /= 2;
    }
    snprintf(what, sizeof(what), "%lld dictionaries, together %lld latents by %lld", (long long)x->list.count,
             (long long)x->found.rows, (long long)d);
    choose_matching(x, kept);
    if (x->found.matches > 0) {
        peak = larger(peak, kept + hps_hungarian_bytes(x->n_most, d, x->grid.P));
    }
    return hps_budget_check(x->config, "compare", &x->over, peak, what);
}

static hps_status prepare(comparison *x)
{
    const hps_config *c = x->config;

    HPS_TRY(hps_grid_create(x->world, 1, &x->grid));
    HPS_TRY(hps_matrix_grid(x->world, c, &x->over));
    HPS_TRY(hps_dictionaries_open(&x->grid, &c->compare.dictionaries, &x->list));
    x->found.list = &x->list;
    for (int64_t s = 0; s < x->list.count; s++) {
        x->found.rows += x->list.item[s].n;
    }
    HPS_TRY(choose_tokens(x));
    HPS_TRY(hps_agree(x->world, hps_device_without(c->kernels.backend, &x->kernels)));
    return hps_agree(x->world, plan_memory(x));
}

static hps_status allocate(comparison *x)
{
    HPS_TRY(HPS_ALLOC(&x->rows, x->list.count, "list of dictionaries"));
    HPS_TRY(HPS_ALLOC(&x->found.of, x->list.count, "list of dictionaries"));
    HPS_TRY(HPS_ALLOC(&x->found.match, x->found.matches, "matchings"));
    HPS_TRY(HPS_ALLOC(&x->within, x->found.rows, "nearest rows"));
    return HPS_ALLOC(&x->across, x->found.rows, "nearest rows");
}

static void release(comparison *x)
{
    for (int64_t s = 0; x->rows != NULL && s < x->list.count; s++) {
        hps_decoder_rows_destroy(&x->rows[s]);
    }
    HPS_FREE(&x->rows);
    HPS_FREE(&x->found.of);
    HPS_FREE(&x->found.match);
    HPS_FREE(&x->within);
    HPS_FREE(&x->across);
    hps_dictionaries_close(&x->list);
    hps_dataset_close(&x->dataset);
    hps_process_grid_destroy(&x->over);
    hps_grid_destroy(&x->grid);
}

/* Collective. */
static hps_status connect(comparison *x, int64_t s, hps_model *model, hps_ensemble *ensemble)
{
    const hps_code_options options = {.path = x->list.item[s].name,
                                      .model = model,
                                      .ensemble = ensemble,
                                      .dataset = &x->dataset,
                                      .first = x->first,
                                      .rows = x->found.tokens,
                                      .batch = x->config->compare.batch,
                                      .kernels = x->kernels,
                                      .threads = (int)x->config->grid.threads};
    hps_code_stream stream;

    hps_status status = hps_code_stream_open(&x->grid, &options, &stream);
    if (status == HPS_OK) {
        status = hps_connections_count(&x->grid, &stream, &x->found.of[s].connections);
    }
    hps_code_stream_close(&stream);
    return status;
}

/* Collective.  What is taken from one model, which is then let go. */
static hps_status take_model(comparison *x, int64_t s)
{
    hps_model *model = NULL;

    hps_status status = hps_model_load(&x->grid, x->list.item[s].file, &model);
    if (status == HPS_OK) {
        x->found.of[s].checksum = hps_model_checksum(x->grid.model, model).values;
        status = x->found.tokens > 0 ? connect(x, s, model, NULL) : HPS_OK;
    }
    if (status == HPS_OK) {
        status = hps_decoder_rows_create(&x->grid, model, (int)x->config->grid.threads, &x->rows[s]);
    }
    hps_model_destroy(&model);
    return status;
}

/* Collective.  The same from an ensemble: its rows are those of all members. */
static hps_status take_ensemble(comparison *x, int64_t s)
{
    hps_ensemble *ensemble = NULL;
    hps_model *whole = NULL;
    hps_threshold_run *run = NULL;

    hps_status status = hps_ensemble_load(&x->grid, x->list.item[s].file, &ensemble);
    if (status == HPS_OK) {
        x->found.of[s].checksum = ensemble->checksum;
        status = x->found.tokens > 0 ? connect(x, s, NULL, ensemble) : HPS_OK;
    }
    if (status == HPS_OK) {
        status = hps_ensemble_concatenate(ensemble, &whole, &run);
    }
    if (status == HPS_OK) {
        status = hps_decoder_rows_create(&x->grid, whole, (int)x->config->grid.threads, &x->rows[s]);
    }
    HPS_FREE(&run);
    hps_model_destroy(&whole);
    hps_ensemble_destroy(&ensemble);
    return status;
}

/* Collective. */
static hps_status match_all(comparison *x)
{
    int64_t done = 0;

    for (int64_t a = 0; x->found.matches > 0 && a < x->list.count; a++) {
        for (int64_t b = a + 1; b < x->list.count; b++) {
            hps_match *match = &x->found.match[done++];
            *match = (hps_match){.a = a, .b = b};
            HPS_TRY(hps_hungarian(&x->grid, &x->rows[a], &x->rows[b], (int)x->config->grid.threads, &match->mean));
        }
    }
    return HPS_OK;
}

/* Collective. */
static hps_status measure(comparison *x)
{
    const hps_nearest_options nearest = {.grid = &x->grid,
                                         .over = &x->over,
                                         .count = x->list.count,
                                         .rows = x->rows,
                                         .panel = x->panel,
                                         .nb = x->nb,
                                         .threads = (int)x->config->grid.threads};

    for (int64_t s = 0; s < x->list.count; s++) {
        HPS_TRY(x->list.item[s].members > 0 ? take_ensemble(x, s) : take_model(x, s));
    }
    hps_log("compare", "nearest rows of %lld, %lld x %lld at a time", (long long)x->found.rows, (long long)x->panel,
            (long long)x->panel);
    HPS_TRY(hps_nearest(&nearest, x->within, x->across));
    hps_comparison_sum_up(&x->found, x->within, x->across);
    return match_all(x);
}

static hps_status finish(const comparison *x, bool json)
{
    hps_status status = HPS_OK;

    hps_comparison_log(&x->found);
    hps_budget_tell(x->world, "compare");
    if (x->grid.p == 0) {
        json_t *out = hps_comparison_json(&x->found);
        status = hps_publish(x->config->output, "compare.json", out, json);
        json_decref(out);
    }
    return hps_share_status(x->world, status);
}

hps_status hps_study_compare(MPI_Comm world, const hps_config *config, bool json, bool dry_run)
{
    comparison x = {.world = world, .config = config, .grid.model = MPI_COMM_NULL};

    hps_status status = hps_agree(world, prepare(&x));
    if (status == HPS_OK && !dry_run) {
        status = hps_agree(world, allocate(&x));
        status = status == HPS_OK ? measure(&x) : status;
        status = status == HPS_OK ? finish(&x, json) : status;
    }
    release(&x);
    return status;
}
