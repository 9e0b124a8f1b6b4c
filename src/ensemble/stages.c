#include "stages.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "hpsae/model/device.h"

#include <inttypes.h>
#include <stdlib.h>

static hps_status find(const hps_ensemble_training *t, const hps_grid *grid, int j, char **path)
{
    const hps_member *m = &t->file.member[j];
    char directory[HPS_PATH_MAX];
    hps_checkpoint_head head;

    HPS_TRY(hps_path_join(t->config->output, m->directory, directory));
    HPS_TRY(hps_checkpoint_find(grid->model, directory, path));
    if (*path == NULL) {
        return hps_fail(HPS_EFORMAT, "%s: holds no checkpoint, but the stage is complete; restore it, or remove it all",
                        directory);
    }
    HPS_TRY(hps_checkpoint_read_head(grid->model, *path, &head));
    const uint64_t found = head.checksum_values;
    hps_checkpoint_head_free(&head);
    if (found != m->checksum) {
        return hps_fail(HPS_EFORMAT,
                        "%s: its parameters have the checksum %016" PRIx64 ", but the stage ended with %016" PRIx64
                        "; restore the stage's last checkpoint",
                        *path, found, m->checksum);
    }
    return HPS_OK;
}

static hps_status load_one(const hps_ensemble_training *t, const hps_grid *grid, int j, hps_model **model)
{
    char *path = NULL;

    hps_status status = find(t, grid, j, &path);
    if (status == HPS_OK) {
        status = hps_model_load(grid, path, model);
    }
    free(path);
    return status;
}

static hps_status run(void *context, int64_t count, int64_t ld, float *x)
{
    const hps_stages *s = context;

    if (ld != s->model[0]->lde) {
        return hps_fail(HPS_EARG, "rows of %lld floats for a chain of %lld", (long long)ld,
                        (long long)s->model[0]->lde);
    }
    return hps_chain_run(s->chain, count, s->to - s->from, x);
}

static hps_status load(const hps_ensemble_training *t, int64_t B, hps_stages *s)
{
    const hps_kernels *kernels;

    HPS_TRY(hps_grid_create(t->world, (int)t->config->train.groups, &s->grid));
    HPS_TRY(hps_agree(t->world, hps_device_without(t->config->kernels.backend, &kernels)));
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    HPS_TRY(hps_agree(t->world, HPS_ALLOC(&s->model, s->to - s->from, "stages")));
    for (int j = s->from; j < s->to; j++) {
        HPS_TRY(hps_grid_agree(&s->grid, load_one(t, &s->grid, j, &s->model[j - s->from])));
    }
    return hps_grid_agree(&s->grid, hps_chain_create(&s->grid, kernels, s->to - s->from, s->model, B,
                                                     (int)t->config->grid.threads, &s->chain));
}

hps_status hps_stages_load(const hps_ensemble_training *t, int from, int to, int64_t B, hps_stages *stages)
{
    *stages = (hps_stages){.grid.model = MPI_COMM_NULL, .from = from, .to = to};
    const hps_status status = load(t, B, stages);

    if (status != HPS_OK) {
        hps_stages_destroy(stages);
        return status;
    }
    const hps_model *first = stages->model[0];
    stages->change = (hps_feed_change){.norm = first->norm, .scale = first->scale, .run = run, .context = stages};
    return HPS_OK;
}

void hps_stages_destroy(hps_stages *s)
{
    hps_chain_destroy(&s->chain);
    for (int i = 0; s->model != NULL && i < s->to - s->from; i++) {
        hps_model_destroy(&s->model[i]);
    }
    HPS_FREE(&s->model);
    hps_grid_destroy(&s->grid);
}
