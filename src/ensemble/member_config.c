#include "training.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"

#include <string.h>

static hps_status set_text(const char *value, char **text)
{
    HPS_FREE(text);
    HPS_TRY(HPS_ALLOC(text, (int64_t)strlen(value) + 1, "configuration"));
    strcpy(*text, value);
    return HPS_OK;
}

/* 53 bits, which every reader of YAML and JSON takes as they are. */
static int64_t weight_seed(const hps_config *c, int j)
{
    return (int64_t)(hps_random_u64((uint64_t)c->train.seed, HPS_DRAW_MEMBER, 0, (uint64_t)j + 1) >> 11);
}

static void clear_ensemble(hps_config *c)
{
    c->ensemble.method = HPS_ENSEMBLE_NONE;
    c->ensemble.members = 1;
    c->ensemble.latents.count = c->ensemble.k.count = 0;
    HPS_FREE(&c->ensemble.latents.items);
    HPS_FREE(&c->ensemble.k.items);
}

static hps_status fill(const hps_config *ensemble, int j, const char *directory, const hps_store_info *info,
                       hps_config *c)
{
    const hps_ints *latents = &ensemble->ensemble.latents, *k = &ensemble->ensemble.k;
    char path[HPS_PATH_MAX];

    HPS_TRY(hps_path_join(ensemble->output, directory, path));
    HPS_TRY(set_text(path, &c->output));
    HPS_TRY(set_text("auto", &c->train.resume));
    c->model.latents = latents->count > j ? latents->items[j] : c->model.latents;
    c->model.k = k->count > j ? k->items[j] : c->model.k;
    if (j > 0) { /* the first one is the plain dictionary; a seed that is given is that of the first one */
        c->train.weight_seed = weight_seed(ensemble, j);
    }
    if (j > 0 && ensemble->ensemble.method == HPS_ENSEMBLE_BOOSTING) {
        c->data.scale = HPS_SCALE_NONE; /* residuals are in the units of the first stage */
    }
    clear_ensemble(c);
    return hps_config_resolve(c, info->d, info->hook);
}

hps_status hps_member_config(const hps_config *ensemble, int j, const char *directory, const hps_store_info *info,
                             hps_config **member)
{
    HPS_TRY(hps_config_copy(ensemble, member));
    const hps_status status = fill(ensemble, j, directory, info, *member);
    if (status != HPS_OK) {
        hps_config_destroy(member);
    }
    return status;
}
