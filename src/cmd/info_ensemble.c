#include "info_ensemble.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/config/config.h"
#include "hpsae/store/hdf5.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *hex(uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    return json_string(text);
}

static json_t *member(const hps_member *m)
{
    return json_pack("{s:s,s:b,s:I,s:I,s:o,s:o}", "directory", m->directory, "complete", m->complete, "n",
                     (json_int_t)m->n, "k", (json_int_t)m->k, "checksum", m->complete ? hex(m->checksum) : json_null(),
                     "ev", hps_json_real(m->ev));
}

void hps_info_ensemble(const char *directory, const hps_ensemble_file *file, json_t *about)
{
    json_t *members = json_array(), *store = json_array();
    int64_t latents = 0, k = 0;
    int complete = 0;

    for (int j = 0; j < file->members; j++) {
        json_array_append_new(members, member(&file->member[j]));
        latents += file->member[j].n;
        k += file->member[j].k;
        complete += file->member[j].complete;
    }
    for (int64_t i = 0; i < file->store.count; i++) {
        json_array_append_new(store, json_string(file->store.items[i]));
    }
    json_object_set_new(about, "kind", json_string("ensemble"));
    json_object_set_new(about, "file", json_string(directory));
    json_object_set_new(about, "method", json_string(hps_config_word("ensemble.method", file->method)));
    json_object_set_new(about, "members", json_integer(file->members));
    json_object_set_new(about, "complete", json_boolean(complete == file->members));
    json_object_set_new(about, "trained", json_integer(complete));
    json_object_set_new(about, "latents", json_integer(latents));
    json_object_set_new(about, "k", json_integer(k));
    json_object_set_new(about, "d", json_integer(file->d));
    json_object_set_new(about, "hook", json_string(file->hook));
    json_object_set_new(about, "store", store);
    json_object_set_new(about, "config_hash", hex(file->config_hash));
    json_object_set_new(about, "member", members);
}

/* The file when it holds residuals, else H5I_INVALID_HID; *complete, *stage. */
static hid_t open_residuals(const char *path, bool *complete, int64_t *stage)
{
    int64_t mark = 0;
    hid_t file;

    if (hps_h5_open(path, &file) != HPS_OK) {
        return H5I_INVALID_HID;
    }
    if (!hps_h5_get_int(file, "parent_stage", stage)) {
        H5Fclose(file);
        return H5I_INVALID_HID;
    }
    *complete = hps_h5_get_int(file, "complete", &mark) && mark == 1;
    return file;
}

void hps_info_residuals(const char *path, json_t *about)
{
    static const struct {
        const char *attribute, *name;
    } facts[] = {{"parent_config_hash", "config_hash"},
                 {"parent_checksum", "stage_checksum"},
                 {"parent_store", "store_identity"},
                 {"parent_store_file", "store_file"},
                 {"fingerprint", "fingerprint"}};
    bool complete;
    int64_t stage;
    char *text;
    const hid_t file = open_residuals(path, &complete, &stage);

    if (file < 0) {
        return;
    }
    json_object_set_new(about, "kind", json_string("residuals"));
    json_object_set_new(about, "complete", json_boolean(complete));
    json_object_set_new(about, "after_stage", json_integer(stage));
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        if (hps_h5_get_text(file, facts[i].attribute, &text)) {
            json_object_set_new(about, facts[i].name, json_string(text));
            HPS_FREE(&text);
        }
    }
    H5Fclose(file);
}

bool hps_info_unfinished_residuals(const char *path)
{
    bool complete = true;
    int64_t stage;
    const hid_t file = open_residuals(path, &complete, &stage);

    if (file >= 0) {
        H5Fclose(file);
    }
    return !complete;
}
