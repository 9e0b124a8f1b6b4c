#include "hpsae/study/refit.h"

#include "code_stream.h"
#include "matrix_budget.h"
#include "normal_equations.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/device.h"
#include "hpsae/model/evaluate.h"
#include "hpsae/study/dictionaries.h"

#include <inttypes.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>

enum { TOKENS_A_LATENT = 16, SLICE_NUMBERS = 1 << 20 };

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    char *path; /* of the model; borrowed */
    hps_grid grid;
    hps_process_grid over;
    hps_dictionaries list; /* of that one */
    hps_dataset dataset;
    const hps_kernels *kernels;
    hps_model *model;
    int64_t first, rows;           /* that are fitted */
    int64_t test_first, test_rows; /* on which ev is measured */
    int64_t nb;
    hps_normal equations;
    double *slice;
    double ridge, ev_before, ev;
} refitting;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static hps_status choose_rows(refitting *r)
{
    const hps_config *c = r->config;
    const int64_t n = r->list.item[0].n;
    int64_t all;

    hps_dataset_rows(&r->dataset, c->refit.rows, &r->first, &all);
    const int64_t wanted = c->refit.tokens == HPS_AUTO_INT ? smaller(all, TOKENS_A_LATENT * n) : c->refit.tokens;
    if (r->first < 0 || all < 1 || wanted > all) {
        return hps_config_fail(c, "refit.tokens", "%lld tokens wanted, and refit.rows leaves %lld of the store's %lld",
                               (long long)(wanted > 1 ? wanted : 1), (long long)(r->first < 0 || all < 0 ? 0 : all),
                               (long long)r->dataset.info->rows);
    }
    r->rows = wanted;
    hps_dataset_rows(&r->dataset, HPS_ROWS_HOLDOUT, &r->test_first, &r->test_rows);
    if (r->test_rows < 1) {
        r->test_first = r->first;
        r->test_rows = r->rows;
    }
    return HPS_OK;
}

static int64_t slice_rows(int64_t d)
{
    return SLICE_NUMBERS / d > 0 ? SLICE_NUMBERS / d : 1;
}

/* What n latents take beside the model. */
static int64_t equations_bytes(const refitting *r, int64_t n, int64_t d)
{
    const int64_t nb = hps_cyclic_block(&r->over, smaller(n, d), r->config->grid.block);

    return hps_normal_bytes(&r->over, n, d, nb) + 8 * slice_rows(d) * d;
}

/* How many latents would fit, the model growing with them. */
static int64_t latents_that_fit(const refitting *r, int64_t d, int64_t coding, int64_t n)
{
    const double budget = (double)hps_budget(r->config);
    int64_t low = 0, high = n;

    while (low + 1 < high) {
        const int64_t middle = (low + high) / 2;
        const double bytes = (double)equations_bytes(r, middle, d) + (double)coding * (double)middle / (double)n;
        if (bytes <= budget) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static hps_status plan_memory(refitting *r)
{
    const hps_dictionary *one = &r->list.item[0];
    const hps_coding_size size = {.n = one->n,
                                  .d = one->d,
                                  .k = one->k,
                                  .select = one->select,
                                  .batch =
                                      smaller(r->config->refit.batch, r->rows > r->test_rows ? r->rows : r->test_rows),
                                  .ranks = r->grid.P,
                                  .threads = (int)r->config->grid.threads,
                                  .kernels = r->kernels,
                                  .encodes = true};
    const int64_t equations = equations_bytes(r, one->n, one->d);
    int64_t coding;
    char what[128];

    HPS_TRY(hps_coding_bytes(&size, &coding));
    snprintf(what, sizeof(what), "the normal equations of %lld latents (about %lld would fit)", (long long)one->n,
             (long long)latents_that_fit(r, one->d, coding, one->n));
    return hps_budget_check(r->config, "refit", &r->over, coding + equations, what);
}

static hps_status prepare(refitting *r)
{
    const hps_config *c = r->config;
    const hps_list names = {.items = &r->path, .count = 1};

    HPS_TRY(hps_grid_create(r->world, 1, &r->grid));
    HPS_TRY(hps_matrix_grid(r->world, c, &r->over));
    HPS_TRY(hps_dictionaries_open(&r->grid, &names, &r->list));
    if (r->list.item[0].members > 0) {
        return hps_fail(HPS_ECONFIG, "%s: an ensemble, of which each member is refitted alone: name one of them",
                        r->path);
    }
    HPS_TRY(hps_dataset_open(r->world, c, &c->refit.store, false, &r->dataset));
    HPS_TRY(hps_dataset_fits(&r->dataset, r->path, r->list.item[0].d));
    HPS_TRY(choose_rows(r));
    HPS_TRY(hps_agree(r->world, hps_device_without(c->kernels.backend, &r->kernels)));
    r->nb = hps_cyclic_block(&r->over, smaller(r->list.item[0].n, r->list.item[0].d), c->grid.block);
    return hps_agree(r->world, plan_memory(r));
}

static void release(refitting *r)
{
    HPS_FREE(&r->slice);
    hps_normal_destroy(&r->equations);
    hps_model_destroy(&r->model);
    hps_dataset_close(&r->dataset);
    hps_dictionaries_close(&r->list);
    hps_process_grid_destroy(&r->over);
    hps_grid_destroy(&r->grid);
}

/* Collective. */
static hps_status open_stream(refitting *r, int64_t first, int64_t rows, hps_code_stream *stream)
{
    const hps_code_options options = {.path = r->path,
                                      .model = r->model,
                                      .dataset = &r->dataset,
                                      .first = first,
                                      .rows = rows,
                                      .batch = r->config->refit.batch,
                                      .kernels = r->kernels,
                                      .threads = (int)r->config->grid.threads};

    return hps_code_stream_open(&r->grid, &options, stream);
}

/* Collective.  ev of the model as it is now. */
static hps_status measure(refitting *r, double *ev)
{
    const hps_evaluate_options options = {.rows = r->test_rows, .pick = hps_pick_in_use(r->model)};
    hps_code_stream stream;
    hps_evaluation found;

    hps_status status = open_stream(r, r->test_first, r->test_rows, &stream);
    if (status == HPS_OK) {
        status = hps_evaluate(stream.forward, stream.feed, &options, NULL, &found);
    }
    hps_code_stream_close(&stream);
    *ev = status == HPS_OK ? found.ev : NAN;
    return status;
}

/* Collective. */
static hps_status add_rows(refitting *r)
{
    hps_code_stream stream;
    int64_t count;

    hps_status status = open_stream(r, r->first, r->rows, &stream);
    for (int64_t done = 0; status == HPS_OK && done < r->rows; done += count) {
        status = hps_code_stream_next(&stream, done, &count);
        if (status == HPS_OK) {
            hps_normal_add(&r->equations, count, &stream.forward->slots, r->model->lde, stream.forward->y,
                           (int)r->config->grid.threads);
        }
    }
    hps_code_stream_close(&stream);
    return status;
}

/* Collective.  The solution's rows, of the latents that fired, into the columns of the decoder that a rank has. */
static void take_solution(refitting *r)
{
    const hps_shard *s = &r->model->shard;
    const int64_t step = slice_rows(s->d);

    for (int64_t first = 0; first < s->n; first += step) {
        const int64_t count = smaller(step, s->n - first);
        hps_cyclic_gather_rows(&r->equations.B, r->equations.b, first, count, r->slice);
        for (int64_t i = 0; i < count; i++) {
            float *row = r->model->role[HPS_VALUE].W_dec + (first + i) * r->model->ldd;
            for (int64_t j = 0; r->equations.diagonal[first + i] > 0 && j < s->w; j++) {
                row[j] = (float)r->slice[i * s->d + s->c0 + j];
            }
        }
    }
}

/* Collective. */
static hps_status fit(refitting *r)
{
    const int64_t n = r->model->shard.n, d = r->model->shard.d;

    hps_status status = hps_normal_create(&r->over, n, d, r->nb, &r->equations);
    status = status == HPS_OK ? HPS_ALLOC(&r->slice, slice_rows(d) * d, "rows of a decoder") : status;
    HPS_TRY(hps_agree(r->world, status));
    HPS_TRY(add_rows(r));
    r->ridge = hps_normal_ridge(&r->equations, r->config->refit.ridge);
    if (r->equations.silent == n) {
        return hps_fail(HPS_ECONFIG, "%s: no latent fires on the %lld rows of refit.rows", r->path, (long long)r->rows);
    }
    hps_log("refit", "solving for %lld latents, %lld of which fired on %lld rows; ridge %.4g", (long long)n,
            (long long)(n - r->equations.silent), (long long)r->rows, r->ridge);
    HPS_TRY(hps_normal_solve(&r->equations));
    take_solution(r);
    return HPS_OK;
}

/* What the file holds: values alone, selected as the codes were. */
static void strip(hps_model *m)
{
    HPS_FREE(&m->fired);
    if (m->prefixes > 0) {
        hps_log("refit", "the whole reconstruction is fitted, not the prefixes of this Matryoshka dictionary");
    }
    if (m->select == HPS_SELECT_GRADIENT) {
        m->select = HPS_SELECT_TOPK;
        m->alpha = 1;
        m->beta = 0;
        hps_log("refit", "the model selected by gradient; the refitted one selects by value, for which it was fitted");
    }
}

/* Rank 0.  The directory of a file to be. */
static hps_status make_parent(const char *path)
{
    char directory[HPS_PATH_MAX];

    if (snprintf(directory, sizeof(directory), "%s", path) >= HPS_PATH_MAX) {
        return hps_fail(HPS_EARG, "refit.output: the path is longer than %d characters", HPS_PATH_MAX - 1);
    }
    return hps_directory_make(dirname(directory));
}

static void print(const refitting *r, uint64_t checksum)
{
    char hex[17];

    snprintf(hex, sizeof(hex), "%016" PRIx64, checksum);
    json_t *out =
        json_pack("{s:s,s:s,s:I,s:I,s:I,s:o,s:I,s:o,s:o,s:s}", "model", r->path, "output", r->config->refit.output,
                  "latents", (json_int_t)r->model->shard.n, "fit_rows", (json_int_t)r->rows, "silent",
                  (json_int_t)r->equations.silent, "ridge", hps_json_real(r->ridge), "rows", (json_int_t)r->test_rows,
                  "ev_before", hps_json_real(r->ev_before), "ev", hps_json_real(r->ev), "checksum", hex);
    json_dumpf(out, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
    printf("\n");
    json_decref(out);
}

/* Collective. */
static hps_status write_model(refitting *r, bool json)
{
    const char *path = r->config->refit.output;

    HPS_TRY(hps_share_status(r->world, r->grid.p == 0 ? make_parent(path) : HPS_OK));
    HPS_TRY(hps_checkpoint_write(r->grid.model, r->model, "", 0, path));
    const uint64_t checksum = hps_model_checksum(r->grid.model, r->model).values;
    hps_log("refit", "ev %.5f, before %.5f: %+.5f on %lld rows", r->ev, r->ev_before, r->ev - r->ev_before,
            (long long)r->test_rows);
    hps_log("refit", "wrote %s: %lld latents refitted, %lld silent ones as they were, checksum %016llx", path,
            (long long)(r->model->shard.n - r->equations.silent), (long long)r->equations.silent,
            (unsigned long long)checksum);
    hps_budget_tell(r->world, "refit");
    if (json && r->grid.p == 0) {
        print(r, checksum);
    }
    return HPS_OK;
}

/* Collective. */
static hps_status work(refitting *r, bool json)
{
    HPS_TRY(hps_model_load(&r->grid, r->list.item[0].file, &r->model));
    strip(r->model);
    HPS_TRY(measure(r, &r->ev_before));
    HPS_TRY(fit(r));
    HPS_TRY(measure(r, &r->ev));
    return write_model(r, json);
}

hps_status hps_study_refit(MPI_Comm world, const hps_config *config, bool json, bool dry_run)
{
    refitting r = {.world = world, .config = config, .grid.model = MPI_COMM_NULL};

    r.path = config->refit.model[0] != '\0' ? config->refit.model : config->output;
    hps_status status = hps_agree(world, prepare(&r));
    if (status == HPS_OK) {
        hps_log("refit", "%s on %lld rows of %s", r.path, (long long)r.rows, r.dataset.info->hook);
        status = dry_run ? HPS_OK : work(&r, json);
    }
    release(&r);
    return status;
}
