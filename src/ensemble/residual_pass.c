#include "residuals.h"
#include "stages.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/residual_file.h"

static const double PROGRESS_SECONDS = 5;

/* One pass over the rows of a store. */
typedef struct {
    hps_ensemble_training *t;
    hps_store *source;
    hps_stages stages;
    float *x; /* [HPS_RESIDUAL_SLAB, lde] */
    int64_t lde, done, all;
    double began, spoke;
} pass;

/* One file of it. */
typedef struct {
    pass *p;
    hps_feed *feed;
    hps_residual_file *file;
    int64_t rows, slabs;
} part;

/* The k-th slab of this data group: that of whose ranks it is the turn to write it. */
static int64_t slab_of(const pass *p, int64_t k)
{
    const hps_grid *g = &p->stages.grid;

    return k / g->P * p->t->size + (int64_t)g->r * g->P + k % g->P;
}

static int64_t rows_of(const part *f, int64_t slab)
{
    const int64_t rest = f->rows - slab * HPS_RESIDUAL_SLAB;

    return rest < HPS_RESIDUAL_SLAB ? rest : HPS_RESIDUAL_SLAB;
}

/* Collective over the data group. */
static hps_status one_slab(part *f, int64_t k)
{
    pass *p = f->p;
    const int64_t slab = slab_of(p, k), next = slab_of(p, k + 1), count = rows_of(f, slab);

    HPS_TRY(hps_feed_batch(f->feed, slab * HPS_RESIDUAL_SLAB, count, p->lde, p->x));
    if (next < f->slabs) {
        hps_feed_begin(f->feed, next * HPS_RESIDUAL_SLAB, rows_of(f, next));
    }
    HPS_TRY(hps_chain_run(p->stages.chain, count, p->stages.to - p->stages.from, p->x));
    return slab % p->t->size == p->t->rank ? hps_residual_write(f->file, slab, p->lde, p->x) : HPS_OK;
}

static void say(pass *p, bool last)
{
    const double now = hps_elapsed(), seconds = now - p->began, rate = (double)p->done / (seconds > 0 ? seconds : 1);
    const double bytes = rate * 4 * (double)p->t->dataset.info->d;
    char text[32];

    if (last) {
        hps_log("ensemble", "residuals: %lld rows in %s, %.0f rows/s, %.4g MB/s written", (long long)p->all,
                hps_duration(seconds, text), (double)p->all / (seconds > 0 ? seconds : 1), 1e-6 * bytes);
    } else if (now - p->spoke >= PROGRESS_SECONDS) {
        hps_log("ensemble", "residuals: %.0f %%, %.0f rows/s, %.4g MB/s written, %s left",
                100 * (double)p->done / (double)p->all, rate, 1e-6 * bytes,
                hps_duration((double)(p->all - p->done) / rate, text));
        p->spoke = now;
    }
}

static hps_status stop(const hps_ensemble_training *t, hps_wish wish, int stage)
{
    if (wish == HPS_STOP_FILE && t->rank == 0) {
        hps_wish_obeyed(&t->job.ends);
    }
    hps_log("ensemble", "stopped in the residuals before stage %d: %s; the same command goes on from here", stage,
            hps_wish_words(wish));
    return hps_fail(HPS_STOPPED, "stopped in the residuals before stage %d: %s", stage, hps_wish_words(wish));
}

/* Collective over world.  All slabs of a file; before each, all ranks learn of a failure or a wish of any. */
static hps_status all_slabs(part *f)
{
    pass *p = f->p;
    const hps_ensemble_training *t = p->t;
    hps_status status = HPS_OK;

    for (int64_t k = 0; k / p->stages.grid.P * t->size < f->slabs; k++) {
        int all[] = {(int)status,
                     (int)hps_wish_now(t->rank, &t->job.ends, t->config->train.max_minutes, 0, hps_elapsed())};
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, all, 2, MPI_INT, MPI_MAX, t->world));
        if (all[0] != HPS_OK) {
            return status;
        }
        if (all[1] > HPS_SAVE) {
            return stop(t, (hps_wish)all[1], p->stages.to + 1);
        }
        const int64_t slab = slab_of(p, k);
        if (slab < f->slabs) {
            status = one_slab(f, k);
            p->done += (int64_t)p->stages.grid.R * rows_of(f, slab);
        }
        say(p, false);
    }
    return status;
}

static hps_status open_feed(part *f, int64_t first)
{
    const pass *p = f->p;
    const bool scaled = p->stages.from == 0; /* residuals are as they enter */
    const hps_feed_options options = {.first = first,
                                      .rows = f->rows,
                                      .batch = HPS_RESIDUAL_SLAB < f->rows ? HPS_RESIDUAL_SLAB : f->rows,
                                      .norm = scaled ? p->stages.change.norm : HPS_NORM_NONE,
                                      .scale = scaled ? p->stages.change.scale : 1};

    return hps_feed_create(&p->stages.grid, p->source, &options, &f->feed);
}

/* Collective over world.  One file, from row `first` of the store on. */
static hps_status write_part(part *f, int64_t first, const char *path, const hps_residual_about *about)
{
    HPS_TRY(hps_residual_create(f->p->t->world, path, about, &f->file));
    hps_status status = hps_agree(f->p->t->world, open_feed(f, first));
    if (status == HPS_OK) {
        status = all_slabs(f);
    }
    hps_feed_destroy(&f->feed);
    return hps_residual_finish(&f->file, status);
}

static hps_status write_parts(pass *p, hps_residual_name *name)
{
    const hps_ensemble_training *t = p->t;
    const hps_store_info *info = t->dataset.info;
    const int to = p->stages.to;
    char path[HPS_PATH_MAX], fingerprint[128];

    for (int64_t i = 0; i < hps_store_files(t->dataset.store); i++) {
        part f = {.p = p};
        int64_t first;
        const char *beside = hps_store_part(t->dataset.store, i, &first, &f.rows);
        HPS_TRY(name(t, to, i, path, fingerprint));
        f.slabs = (f.rows + HPS_RESIDUAL_SLAB - 1) / HPS_RESIDUAL_SLAB;
        int whole = t->rank == 0 && hps_residual_look(path, fingerprint) == HPS_RESIDUAL_WHOLE;
        HPS_MPI(MPI_Bcast(&whole, 1, MPI_INT, 0, t->world));
        if (whole) {
            p->all -= f.rows;
            continue;
        }
        const hps_residual_about about = {.rows = f.rows,
                                          .d = info->d,
                                          .hook = t->member[0]->data.hook,
                                          .model_name = info->model_name,
                                          .shuffled = info->shuffled,
                                          .whitening = info->whitening,
                                          .beside = beside,
                                          .store = t->file.store_identity,
                                          .stage = to,
                                          .config_hash = t->file.member[to - 1].config_hash,
                                          .checksum = t->file.member[to - 1].checksum,
                                          .fingerprint = fingerprint};
        HPS_TRY(write_part(&f, first, path, &about));
    }
    say(p, true);
    return HPS_OK;
}

hps_status hps_residuals_write(hps_ensemble_training *t, hps_store *source, int from, int to, hps_residual_name *name)
{
    const int64_t rows = t->dataset.info->rows, B = HPS_RESIDUAL_SLAB < rows ? HPS_RESIDUAL_SLAB : rows;
    pass p = {.t = t, .source = source, .all = rows};

    HPS_TRY(hps_stages_load(t, from, to, B, &p.stages));
    p.lde = p.stages.model[0]->lde;
    hps_status status = hps_agree(t->world, HPS_ALLOC(&p.x, B * p.lde, "a slab of residuals"));
    if (status == HPS_OK) {
        hps_log("ensemble", "writing the residuals before stage %d, from %s through %d stage%s", to + 1,
                from == 0 ? "the store" : "those of an earlier stage", to - from, to - from == 1 ? "" : "s");
        p.began = p.spoke = hps_elapsed();
        status = write_parts(&p, name);
    }
    HPS_FREE(&p.x);
    hps_stages_destroy(&p.stages);
    return status;
}
