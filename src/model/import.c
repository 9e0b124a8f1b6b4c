#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange.h"
#include "hpsae/model/exchange_format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* An import under way. */
typedef struct {
    const hps_exchange_format *format;
    hps_exchange_config config;
    char weights[HPS_PATH_MAX];
    hps_safetensors *file;
    double *squares; /* [n] of decoder rows, when values are rescaled by their norms */
} incoming;

static bool has_file(const char *folder, const char *name)
{
    char path[HPS_PATH_MAX];

    return hps_path_join(folder, name, path) == HPS_OK && access(path, F_OK) == 0;
}

/* Which program wrote it. */
static hps_status recognise(const char *folder, hps_format *format)
{
    const char *const names[] = {hps_exchange_format_of(HPS_FORMAT_SAELENS)->weights,
                                 hps_exchange_format_of(HPS_FORMAT_SPARSIFY)->weights};
    const bool saelens = has_file(folder, names[0]), sparsify = has_file(folder, names[1]);

    if (!has_file(folder, "cfg.json")) {
        return hps_fail(HPS_EIO,
                        "%s: no cfg.json there; name the folder that holds cfg.json and %s (SAELens) or %s "
                        "(sparsify)",
                        folder, names[0], names[1]);
    }
    if (*format == HPS_FORMAT_AUTO) {
        if (saelens == sparsify) {
            return saelens ? hps_fail(HPS_EFORMAT, "%s: holds both %s and %s; choose by import.format", folder,
                                      names[0], names[1])
                           : hps_fail(HPS_EFORMAT, "%s: holds neither %s nor %s; one is needed", folder, names[0],
                                      names[1]);
        }
        *format = saelens ? HPS_FORMAT_SAELENS : HPS_FORMAT_SPARSIFY;
    }
    return HPS_OK;
}

/* Rank 0. */
static hps_status look(const char *folder, hps_format format, hps_exchange_config *config)
{
    HPS_TRY(recognise(folder, &format));
    return hps_import_config(folder, format, config);
}

/* Local.  Opens the weights; a tensor that nobody asks for may change the function: refuse it. */
static hps_status open_weights(const char *folder, incoming *in)
{
    int64_t count;

    HPS_TRY(hps_path_join(folder, in->format->weights, in->weights));
    HPS_TRY(hps_safetensors_open(in->weights, &in->file));
    const hps_safetensor *list = hps_safetensors_list(in->file, &count);
    for (int64_t i = 0; i < count; i++) {
        bool known = false;
        for (int t = 0; t < HPS_TENSORS; t++) {
            known = known || strcmp(list[i].name, in->format->tensor[t].name) == 0;
        }
        known = known || (in->config.jumprelu && strcmp(list[i].name, hps_exchange_threshold) == 0);
        if (!known) {
            return hps_fail(HPS_EFORMAT, "%s: tensor %.80s is not one of a %s dictionary of %s", in->weights,
                            list[i].name, in->config.jumprelu ? "jumprelu" : "TopK", in->format->program);
        }
    }
    return HPS_OK;
}

static hps_status create_model(const hps_grid *grid, incoming *in, hps_model **model)
{
    const hps_exchange_config *c = &in->config;

    HPS_TRY(hps_model_create(grid, c->n, c->d, c->k, 1u << HPS_VALUE, model));
    (*model)->hook = strdup(c->hook);
    (*model)->model_name = strdup(c->model_name);
    if ((*model)->hook == NULL || (*model)->model_name == NULL) {
        return hps_fail(HPS_ENOMEM, "no memory for names");
    }
    return c->rescale ? HPS_ALLOC(&in->squares, c->n, "norms of decoder rows") : HPS_OK;
}

/* p = <e, x> + b_enc = <e, x - b> + (b_enc + <e, b>). */
static void centre(hps_model *model)
{
    const hps_tensors *v = &model->role[HPS_VALUE];

    for (int64_t q = 0; q < model->shard.own; q++) {
        double sum = (double)v->b_enc[q];
        for (int64_t c = 0; c < model->shard.d; c++) {
            sum += (double)v->W_enc[q * model->lde + c] * (double)v->b[c];
        }
        v->b_enc[q] = (float)sum;
    }
}

/* Values in units of the decoder's rows: encoder row and bias times |w|, decoder row divided by it.  Local. */
static hps_status rescale(hps_model *model, const double *squares, const char *path)
{
    const hps_tensors *v = &model->role[HPS_VALUE];
    const hps_shard *s = &model->shard;

    for (int64_t i = 0; i < s->n; i++) {
        const double norm = sqrt(squares[i]);
        const int64_t q = hps_shard_local(s, i);
        if (norm == 0) {
            return hps_fail(HPS_EFORMAT, "%s: row %lld of W_dec is zero: its values cannot be rescaled by its norm",
                            path, (long long)i);
        }
        for (int64_t c = 0; c < s->w; c++) {
            v->W_dec[i * model->ldd + c] = (float)((double)v->W_dec[i * model->ldd + c] / norm);
        }
        if (q >= 0) {
            v->b_enc[q] = (float)((double)v->b_enc[q] * norm);
            for (int64_t c = 0; c < s->d; c++) {
                v->W_enc[q * model->lde + c] = (float)((double)v->W_enc[q * model->lde + c] * norm);
            }
        }
    }
    return HPS_OK;
}

/* Collective.  jumprelu with one threshold is what BatchTopK is in use. */
static hps_status take_threshold(const hps_grid *grid, const incoming *in, hps_model *model)
{
    double threshold = -1;

    HPS_TRY(hps_share_status(
        grid->model, grid->p == 0 ? hps_import_threshold(in->weights, in->file, in->config.n, &threshold) : HPS_OK));
    HPS_MPI(MPI_Bcast(&threshold, 1, MPI_DOUBLE, 0, grid->model));
    model->select = HPS_SELECT_BATCH_TOPK;
    model->threshold = threshold;
    return HPS_OK;
}

/* Collective. */
static hps_status read_model(const hps_grid *grid, const char *folder, incoming *in, hps_model **model)
{
    HPS_TRY(hps_agree(grid->model, open_weights(folder, in)));
    HPS_TRY(hps_agree(grid->model, create_model(grid, in, model)));
    if (in->config.jumprelu) {
        HPS_TRY(take_threshold(grid, in, *model));
    }
    for (int t = 0; t < HPS_TENSORS; t++) {
        HPS_TRY(hps_import_tensor(grid->model, in->weights, in->file, in->format, (hps_tensor)t, *model, in->squares));
    }
    if (in->config.uncentred) {
        centre(*model);
    }
    return in->config.rescale ? hps_agree(grid->model, rescale(*model, in->squares, in->weights)) : HPS_OK;
}

hps_status hps_import(const hps_grid *grid, const char *folder, hps_format format, hps_model **model)
{
    incoming *in = NULL;

    *model = NULL;
    HPS_TRY(hps_agree(grid->model, HPS_ALLOC(&in, 1, "import")));
    hps_status status = hps_share_status(grid->model, grid->p == 0 ? look(folder, format, &in->config) : HPS_OK);
    if (status == HPS_OK) {
        HPS_MPI(MPI_Bcast(&in->config, sizeof(in->config), MPI_BYTE, 0, grid->model));
        in->format = hps_exchange_format_of(in->config.format);
        status = read_model(grid, folder, in, model);
    }
    if (status != HPS_OK) {
        hps_model_destroy(model);
    }
    hps_safetensors_close(&in->file);
    HPS_FREE(&in->squares);
    HPS_FREE(&in);
    return status;
}
