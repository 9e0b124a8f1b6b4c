#include "hpsae/store/residual_file.h"

#include "output.h"
#include "statistics.h"

#include "hpsae/base/background.h"
#include "hpsae/base/memory.h"
#include "hpsae/store/hdf5.h"
#include "hpsae/store/whitening.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hps_residual_file {
    MPI_Comm comm;
    hps_output output;
    hps_statistics statistics;
    char dataset[600];
    int64_t rows, d, slab, count; /* slab: the one in `words` */
    float *words;                 /* [HPS_RESIDUAL_SLAB, d] that the thread writes */
    hps_background writer;
};

hps_residual_state hps_residual_look(const char *path, const char *fingerprint)
{
    hid_t file;
    char *made = NULL;
    int64_t complete = 0;

    hps_h5_start();
    if (access(path, F_OK) != 0) {
        return HPS_RESIDUAL_NONE;
    }
    if (hps_h5_open(path, &file) != HPS_OK) {
        return HPS_RESIDUAL_TORN;
    }
    const bool whole =
        hps_h5_get_int(file, "complete", &complete) && complete == 1 && hps_h5_get_text(file, "fingerprint", &made);
    const bool ours = whole && strcmp(made, fingerprint) == 0;
    HPS_FREE(&made);
    H5Fclose(file);
    return !whole ? HPS_RESIDUAL_TORN : ours ? HPS_RESIDUAL_WHOLE : HPS_RESIDUAL_OTHER;
}

/* The words, the mean among the attributes, and some room for names. */
int64_t hps_residual_bytes(int64_t rows, int64_t d)
{
    return rows * d * (int64_t)sizeof(float) + d * (int64_t)sizeof(double) + (1 << 16);
}

hps_status hps_residual_room(MPI_Comm comm, const char *path, int64_t bytes)
{
    return hps_output_try(comm, path, bytes);
}

static hps_status set_hash(hid_t file, const char *name, uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    return hps_h5_set_text(file, name, text);
}

/* Rank 0.  What the other file has beside its activations, seen through this one; by its full path. */
static hps_status link_groups(hid_t file, const char *beside)
{
    static const char *const groups[] = {"tokens", "labels", "gradients"};
    hid_t other;
    char reason[256];
    hps_status status = HPS_OK;
    char *full = realpath(beside, NULL);

    if (full == NULL) {
        return hps_fail(HPS_EIO, "%s: is no longer there", beside);
    }
    status = hps_h5_open(full, &other);
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && status == HPS_OK; i++) {
        if (H5Lexists(other, groups[i], H5P_DEFAULT) > 0 &&
            H5Lcreate_external(full, groups[i], file, groups[i], H5P_DEFAULT, H5P_DEFAULT) < 0) {
            status = hps_fail(HPS_EIO, "a link to %s cannot be written: %s", full, hps_h5_reason(reason));
        }
    }
    if (other >= 0) {
        H5Fclose(other);
    }
    free(full);
    return status;
}

static hps_status lay_out(hps_residual_file *f, const hps_residual_about *about)
{
    const hid_t file = f->output.file;
    hid_t dataset;
    const char *hook = about->hook[0] == '/' ? about->hook + 1 : about->hook;
    const hps_status status =
        hps_output_add_words(&f->output, f->dataset, HPS_F32, about->rows, about->d, hook, &dataset);

    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    HPS_TRY(status);
    HPS_TRY(hps_h5_set_text(file, "model_name", about->model_name));
    HPS_TRY(hps_h5_set_int(file, "shuffled", about->shuffled ? 1 : 0));
    HPS_TRY(hps_h5_set_text(file, "fingerprint", about->fingerprint));
    HPS_TRY(hps_h5_set_text(file, "parent_store_file", about->beside));
    HPS_TRY(set_hash(file, "parent_store", about->store));
    HPS_TRY(hps_h5_set_int(file, "parent_stage", about->stage));
    HPS_TRY(set_hash(file, "parent_config_hash", about->config_hash));
    HPS_TRY(set_hash(file, "parent_checksum", about->checksum));
    if (about->whitening != 0) {
        HPS_TRY(set_hash(file, "whitening", hps_whitening_of_residuals(about->whitening)));
    }
    return link_groups(file, about->beside);
}

static hps_status allocate(hps_residual_file *f)
{
    HPS_TRY(HPS_ALLOC(&f->words, HPS_RESIDUAL_SLAB * f->d, "a slab of residuals"));
    return hps_statistics_create(f->comm, f->rows, f->d, HPS_F32, HPS_RESIDUAL_SLAB, &f->statistics);
}

static void release(hps_residual_file **file)
{
    hps_statistics_free(&(*file)->statistics);
    HPS_FREE(&(*file)->words);
    HPS_FREE(file);
}

hps_status hps_residual_create(MPI_Comm comm, const char *path, const hps_residual_about *about,
                               hps_residual_file **file)
{
    hps_status status = HPS_ALLOC(file, 1, "a file of residuals");

    if (status == HPS_OK) {
        hps_residual_file *f = *file;
        f->comm = comm;
        f->rows = about->rows;
        f->d = about->d;
        snprintf(f->dataset, sizeof(f->dataset), about->hook[0] == '/' ? "%.590s" : "/activations/%.500s", about->hook);
        status = allocate(f);
    }
    status = hps_agree(comm, status);
    if (status != HPS_OK) {
        if (*file != NULL) {
            release(file);
        }
        return status;
    }
    status = hps_output_create(comm, path, hps_residual_bytes(about->rows, about->d), &(*file)->output);
    if (status == HPS_OK) {
        status = hps_output_open(&(*file)->output, (*file)->output.rank == 0 ? lay_out(*file, about) : HPS_OK);
    }
    if (status != HPS_OK) {
        hps_output_abandon(&(*file)->output);
        release(file);
    }
    return status;
}

/* By the thread. */
static hps_status write_slab(void *context)
{
    hps_residual_file *f = context;

    hps_statistics_begin(&f->statistics, f->slab);
    hps_statistics_add(&f->statistics, f->count, f->words);
    hps_statistics_end(&f->statistics);
    return hps_output_write(&f->output, 0, f->slab * HPS_RESIDUAL_SLAB, f->count, f->words);
}

hps_status hps_residual_write(hps_residual_file *f, int64_t slab, int64_t ld, const float *x)
{
    const int64_t rest = f->rows - slab * HPS_RESIDUAL_SLAB;

    HPS_TRY(hps_background_finish(&f->writer));
    f->slab = slab;
    f->count = rest < HPS_RESIDUAL_SLAB ? rest : HPS_RESIDUAL_SLAB;
    for (int64_t t = 0; t < f->count; t++) {
        memcpy(f->words + t * f->d, x + t * ld, (size_t)f->d * sizeof(*x));
    }
    hps_background_start(&f->writer, write_slab, f);
    return HPS_OK;
}

static hps_status conclude(hps_residual_file *f)
{
    double *mean, mean_sq_norm = 0;

    HPS_TRY(hps_agree(f->comm, HPS_ALLOC(&mean, f->d, "the mean")));
    hps_statistics_finish(f->comm, &f->statistics, mean, &mean_sq_norm);
    const hps_status status = hps_output_finish(&f->output, HPS_OK, f->dataset, f->d, mean, mean_sq_norm);
    HPS_FREE(&mean);
    return status;
}

hps_status hps_residual_finish(hps_residual_file **file, hps_status mine)
{
    const hps_status written = hps_background_finish(&(*file)->writer);

    hps_status status = hps_agree((*file)->comm, mine != HPS_OK ? mine : written);
    if (status == HPS_OK) {
        status = conclude(*file);
    }
    if (status != HPS_OK) {
        hps_output_abandon(&(*file)->output);
    }
    release(file);
    return status;
}
