#include "hpsae/base/disk.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange.h"
#include "hpsae/model/exchange_format.h"
#include "hpsae/store/safetensors_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An export under way. */
typedef struct {
    MPI_Comm comm;
    const hps_exchange_format *format;
    hps_model model; /* the exported one with its biases replaced, and only the latents that go out */
    const hps_export_options *options;
    int runs; /* of thresholds; 0: there are none */
    const hps_threshold_run *run;
    hps_threshold_run own; /* of all latents */
    float *b_enc, *b_dec;  /* [own], [d], scaled; owned */
    char weights[HPS_PATH_MAX], config[HPS_PATH_MAX], temporary[HPS_PATH_MAX + 8];
    int64_t offset[HPS_TENSORS + 1]; /* the threshold's last */
} outgoing;

/* The dictionary for x instead of s x: latents are the same, their values divided by s. */
static hps_status scale_biases(const hps_model *model, outgoing *out)
{
    const double s = model->norm == HPS_NORM_SCALE ? model->scale : 1;
    const hps_tensors *values = &model->role[HPS_VALUE];

    HPS_TRY(HPS_ALLOC(&out->b_enc, model->shard.own, "encoder biases to export"));
    HPS_TRY(HPS_ALLOC(&out->b_dec, model->shard.d, "decoder biases to export"));
    for (int64_t q = 0; q < model->shard.own; q++) {
        out->b_enc[q] = (float)((double)values->b_enc[q] / s);
    }
    for (int64_t c = 0; c < model->shard.d; c++) {
        out->b_dec[c] = (float)((double)values->b[c] / s);
    }
    out->model = *model;
    out->model.role[HPS_VALUE].b_enc = out->b_enc;
    out->model.role[HPS_VALUE].b = out->b_dec;
    return HPS_OK;
}

/* A prefix: as latents are dealt in ascending order, each rank leaves out its last ones. */
static void shorten(hps_model *model, const hps_export_options *options)
{
    hps_shard *shard = &model->shard;

    model->k = hps_export_k(model, options);
    shard->n = hps_export_latents(model, options);
    while (shard->own > 0 && hps_shard_latent(shard, shard->own - 1) >= shard->n) {
        shard->own--;
    }
}

/* Those that the caller names, or the model's for all latents. */
static void choose_thresholds(outgoing *out)
{
    if (out->model.select == HPS_SELECT_BATCH_TOPK) {
        out->own = (hps_threshold_run){.end = out->model.shard.n, .value = hps_export_threshold(&out->model)};
        out->runs = out->options->runs > 0 ? out->options->runs : 1;
        out->run = out->options->runs > 0 ? out->options->run : &out->own;
    }
}

/* sparsify keeps one directory a hook; a hook that is a dataset's path becomes one name. */
static hps_status choose_directory(const hps_model *model, hps_format format, const char *folder, char *directory)
{
    char name[256];

    if (format != HPS_FORMAT_SPARSIFY) {
        return snprintf(directory, HPS_PATH_MAX, "%s", folder) < HPS_PATH_MAX
                   ? HPS_OK
                   : hps_fail(HPS_EARG, "%.60s...: the path is too long", folder);
    }
    const char *hook = model->hook != NULL ? model->hook : "";
    snprintf(name, sizeof(name), "%s", hook + strspn(hook, "/."));
    for (char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash, '/')) {
        *slash = '.';
    }
    return hps_path_join(folder, name[0] != '\0' ? name : "sae", directory);
}

static hps_status write_config(const outgoing *out)
{
    char *text;

    HPS_TRY(hps_export_config(&out->model, out->options, &text));
    const hps_status status = hps_file_replace(out->config, text, strlen(text));
    free(text);
    return status;
}

/* Rank 0.  Room and header of the weights; the threshold, which no rank has more of than another. */
static hps_status start_file(const outgoing *out, const hps_safetensors_plan *plan)
{
    hps_status status = HPS_OK;

    unlink(out->temporary);
    HPS_TRY(hps_disk_reserve(out->temporary, plan->file_bytes));
    const int file = open(out->temporary, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return hps_fail(HPS_EIO, "%s: cannot be opened: %s", out->temporary, strerror(errno));
    }
    if (pwrite(file, plan->header, (size_t)plan->header_bytes, 0) != plan->header_bytes ||
        ftruncate(file, plan->file_bytes) != 0) {
        status = hps_fail(HPS_EIO, "%s: cannot be written: %s", out->temporary, strerror(errno));
    } else if (out->runs > 0) {
        status = hps_export_write_thresholds(file, out->temporary, out->offset[HPS_TENSORS], out->runs, out->run);
    }
    close(file);
    return status;
}

/* Rank 0.  Where the tensors go, and everything but the four. */
static hps_status begin_weights(outgoing *out)
{
    hps_float_tensor tensors[HPS_TENSORS + 1];
    const int count = HPS_TENSORS + (out->runs > 0 ? 1 : 0);
    hps_safetensors_plan plan;

    for (int t = 0; t < HPS_TENSORS; t++) {
        tensors[t].name = out->format->tensor[t].name;
        tensors[t].dimensions =
            hps_exchange_shape(out->format, (hps_tensor)t, out->model.shard.n, out->model.shard.d, tensors[t].shape);
    }
    tensors[HPS_TENSORS] =
        (hps_float_tensor){.name = hps_exchange_threshold, .dimensions = 1, .shape = {out->model.shard.n, 0}};
    HPS_TRY(hps_safetensors_lay_out(count, tensors, &plan));
    for (int t = 0; t < count; t++) {
        out->offset[t] = tensors[t].offset;
    }
    const hps_status status = start_file(out, &plan);
    HPS_FREE(&plan.header);
    return status;
}

/* Collective. */
static hps_status open_weights(const outgoing *out, MPI_File *file)
{
    hps_status status = HPS_OK;
    char reason[MPI_MAX_ERROR_STRING];
    int length;

    if (access(out->temporary, R_OK | W_OK) != 0) {
        status = hps_fail(HPS_EIO, "%s: cannot be opened: %s", out->temporary, strerror(errno));
    }
    HPS_TRY(hps_agree(out->comm, status));
    const int code = MPI_File_open(out->comm, out->temporary, MPI_MODE_WRONLY, MPI_INFO_NULL, file);
    if (code != MPI_SUCCESS) {
        MPI_Error_string(code, reason, &length);
        status = hps_fail(HPS_EIO, "%s: cannot be opened by all ranks: %s", out->temporary, reason);
    }
    status = hps_agree(out->comm, status);
    if (status != HPS_OK && code == MPI_SUCCESS) {
        MPI_File_close(file);
    }
    return status;
}

/* Collective. */
static hps_status write_weights(const outgoing *out)
{
    MPI_File file;

    HPS_TRY(open_weights(out, &file));
    hps_status status = HPS_OK;
    for (int t = 0; t < HPS_TENSORS && status == HPS_OK; t++) {
        const hps_exchange_place place = {(hps_tensor)t, out->format->tensor[t].transposed, out->offset[t]};
        status = hps_export_tensor(out->comm, file, &out->model, &place);
    }
    const bool closed = MPI_File_close(&file) == MPI_SUCCESS;
    if (status == HPS_OK) {
        status = hps_agree(out->comm, closed ? HPS_OK : hps_fail(HPS_EIO, "cannot be closed"));
    }
    return status == HPS_OK ? HPS_OK : hps_fail(status, "%s: %s", out->temporary, hps_status_message());
}

/* Collective.  All but the names: the weights beside the old ones, read back. */
static hps_status prepare(outgoing *out, hps_status status)
{
    const bool root = out->model.shard.p == 0;

    HPS_TRY(hps_share_status(out->comm, root && status == HPS_OK ? begin_weights(out) : status));
    HPS_MPI(MPI_Bcast(out->offset, HPS_TENSORS + 1, MPI_INT64_T, 0, out->comm));
    HPS_TRY(write_weights(out));
    HPS_TRY(hps_export_verify(out->comm, out->temporary, out->format, &out->model));
    return hps_share_status(
        out->comm, root && out->runs > 0 ? hps_export_verify_thresholds(out->temporary, out->runs, out->run) : HPS_OK);
}

/* Rank 0.  The weights get their name first: a cfg.json never stands without them. */
static hps_status give_names(const outgoing *out)
{
    HPS_TRY(hps_disk_commit(out->temporary, out->weights));
    return write_config(out);
}

/* Collective. */
static hps_status export_to(outgoing *out, const char *directory)
{
    const bool root = out->model.shard.p == 0;
    hps_status status = hps_path_join(directory, out->format->weights, out->weights);

    if (status == HPS_OK) {
        status = hps_path_join(directory, "cfg.json", out->config);
    }
    if (root && status == HPS_OK) {
        status = hps_directory_make(directory);
    }
    snprintf(out->temporary, sizeof(out->temporary), "%s.tmp", out->weights);
    status = prepare(out, status);
    if (status == HPS_OK) {
        return hps_share_status(out->comm, root ? give_names(out) : HPS_OK);
    }
    if (root) {
        unlink(out->temporary);
    }
    HPS_MPI(MPI_Barrier(out->comm));
    return status;
}

hps_status hps_export(MPI_Comm comm, const hps_model *model, const hps_export_options *options, const char *folder,
                      char written[HPS_PATH_MAX])
{
    outgoing *out = NULL;

    HPS_TRY(hps_export_check(model, options));
    HPS_TRY(choose_directory(model, options->format, folder, written));
    hps_status status = HPS_ALLOC(&out, 1, "export");
    if (status == HPS_OK) {
        out->comm = comm;
        out->format = hps_exchange_format_of(options->format);
        out->options = options;
        status = scale_biases(model, out);
    }
    status = hps_agree(comm, status);
    if (status == HPS_OK) {
        shorten(&out->model, options);
        choose_thresholds(out);
        status = export_to(out, written);
    }
    if (out != NULL) {
        HPS_FREE(&out->b_enc);
        HPS_FREE(&out->b_dec);
    }
    HPS_FREE(&out);
    return status;
}
