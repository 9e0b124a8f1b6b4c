#include "hpsae/study/encode.h"

#include "code_stream.h"
#include "codes_about.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/device.h"

#include <string.h>

static const double every_seconds = 5;

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    const char *path; /* of the model */
    hps_grid grid;
    hps_dataset dataset;
    hps_model *model;       /* of a dictionary; else NULL and */
    hps_ensemble *ensemble; /* of an ensemble */
    double *thresholds;     /* [members] */
    hps_code_stream codes;
    int64_t first, rows;
    hps_codes_file *file; /* of rank 0 */
    double began, said;
} encoding;

static hps_status choose_rows(encoding *e)
{
    const hps_dataset *data = &e->dataset;

    hps_dataset_rows(data, e->config->encode.rows, &e->first, &e->rows);
    if (e->first < 0 || e->rows < 1) {
        return hps_config_fail(e->config, "encode.rows",
                               "there are none: data.holdout is %.15g of a store of %lld rows; "
                               "set data.holdout, or encode.rows to all",
                               e->config->data.holdout, (long long)data->info->rows);
    }
    return HPS_OK;
}

/* Collective. */
static hps_status load(encoding *e)
{
    bool ensemble;

    HPS_TRY(hps_ensemble_is(e->world, e->path, &ensemble));
    if (!ensemble) {
        return hps_model_load(&e->grid, e->path, &e->model);
    }
    HPS_TRY(hps_ensemble_load(&e->grid, e->path, &e->ensemble));
    return hps_agree(e->world, HPS_ALLOC(&e->thresholds, e->ensemble->file.members, "thresholds"));
}

static hps_status prepare(encoding *e)
{
    const hps_config *c = e->config;
    const hps_kernels *kernels;

    HPS_TRY(hps_grid_create(e->world, 1, &e->grid));
    HPS_TRY(hps_device_take(e->world, c->kernels.backend, &kernels));
    HPS_TRY(hps_share_status(e->world, e->grid.p == 0 ? hps_codes_look(c->encode.output) : HPS_OK));
    HPS_TRY(hps_dataset_open(e->world, c, &c->encode.store, false, &e->dataset));
    HPS_TRY(choose_rows(e));
    HPS_TRY(load(e));
    const hps_code_options codes = {.path = e->path,
                                    .model = e->model,
                                    .ensemble = e->ensemble,
                                    .dataset = &e->dataset,
                                    .first = e->first,
                                    .rows = e->rows,
                                    .batch = c->encode.batch,
                                    .kernels = kernels,
                                    .threads = (int)c->grid.threads};
    return hps_code_stream_open(&e->grid, &codes, &e->codes);
}

static void release(encoding *e)
{
    hps_code_stream_close(&e->codes);
    hps_model_destroy(&e->model);
    hps_ensemble_destroy(&e->ensemble);
    HPS_FREE(&e->thresholds);
    hps_dataset_close(&e->dataset);
    hps_grid_destroy(&e->grid);
}

/* Rank 0. */
static hps_status write_batch(encoding *e, int64_t count)
{
    const hps_slots *slots = e->codes.slots;

    for (int64_t t = 0; t < count; t++) {
        HPS_TRY(hps_codes_add(e->file, slots->first[t + 1] - slots->first[t], slots->slot + slots->first[t]));
    }
    return HPS_OK;
}

static void say_progress(encoding *e, int64_t done)
{
    const double now = hps_elapsed(), share = (double)done / (double)e->rows;
    char left[32];

    if (now - e->said < every_seconds || done == e->rows) {
        return;
    }
    e->said = now;
    hps_log("encode", "%.0f %%, %.0f rows/s, %s left", 100 * share, (double)done / (now - e->began),
            hps_duration((now - e->began) * (1 - share) / share, left));
}

/* Collective.  Every rank has the slots of all latents: rank 0 writes them. */
static hps_status encode_rows(encoding *e)
{
    int64_t count;

    for (int64_t done = 0; done < e->rows; done += count) {
        HPS_TRY(hps_code_stream_next(&e->codes, done, &count));
        HPS_TRY(hps_share_status(e->world, e->grid.p == 0 ? write_batch(e, count) : HPS_OK));
        say_progress(e, done + count);
    }
    return HPS_OK;
}

static hps_codes_about about(const encoding *e)
{
    hps_codes_about what = e->ensemble != NULL ? hps_codes_about_ensemble(e->ensemble, e->thresholds)
                                               : hps_codes_about_model(e->grid.model, e->model);

    what.rows = e->rows;
    what.first_row = e->first;
    what.hook = e->dataset.info->hook;
    what.order = e->config->encode.order;
    return what;
}

/* Collective.  Whatever happens on the way, the file is either whole or not there. */
static hps_status encode(encoding *e)
{
    const char *path = e->config->encode.output;
    const hps_codes_about what = about(e);
    int64_t bytes = 0, values = 0;

    hps_status status = hps_share_status(e->world, e->grid.p == 0 ? hps_codes_begin(path, &what, &e->file) : HPS_OK);
    if (status == HPS_OK) {
        status = encode_rows(e);
    }
    values = e->file != NULL ? hps_codes_values(e->file) : 0;
    status = hps_share_status(e->world, e->grid.p == 0 ? hps_codes_finish(&e->file, status, &bytes) : HPS_OK);
    if (status == HPS_OK) {
        hps_log("encode", "wrote %s: %lld rows of %lld latents, %.2f values a row, %.1f MiB", path, (long long)e->rows,
                (long long)what.latents, (double)values / (double)e->rows, (double)bytes / 1048576);
    }
    return status;
}

hps_status hps_study_encode(MPI_Comm world, const hps_config *config, bool dry_run)
{
    encoding e = {.world = world, .config = config, .grid.model = MPI_COMM_NULL};

    e.path = config->encode.model[0] != '\0' ? config->encode.model : config->output;
    hps_status status = hps_agree(world, prepare(&e));
    if (status == HPS_OK) {
        hps_log("encode", "%s on %lld rows of %s", e.path, (long long)e.rows, e.dataset.info->hook);
        e.began = e.said = hps_elapsed();
        status = dry_run ? HPS_OK : encode(&e);
    }
    release(&e);
    return status;
}
