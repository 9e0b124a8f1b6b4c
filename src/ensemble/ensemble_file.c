#include "hpsae/ensemble/ensemble_file.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/comm/sums.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_MAX = 4 << 20 };

static const char format[] = "hpsae-ensemble";
static const char *const methods[] = {
    [HPS_ENSEMBLE_NONE] = "none", [HPS_ENSEMBLE_BAGGING] = "bagging", [HPS_ENSEMBLE_BOOSTING] = "boosting"};

hps_status hps_ensemble_create(hps_ensemble_method method, int members, hps_ensemble_file *file)
{
    *file = (hps_ensemble_file){.method = method, .members = members, .variance = NAN};
    HPS_TRY(HPS_ALLOC(&file->member, members, "members of an ensemble"));
    for (int j = 0; j < members; j++) {
        snprintf(file->member[j].directory, sizeof(file->member[j].directory), "%s-%d",
                 method == HPS_ENSEMBLE_BAGGING ? "member" : "stage", j + 1);
        file->member[j].ev = NAN;
    }
    return HPS_OK;
}

void hps_ensemble_free(hps_ensemble_file *file)
{
    for (int64_t i = 0; i < file->store.count; i++) {
        HPS_FREE(&file->store.items[i]);
    }
    HPS_FREE(&file->store.items);
    HPS_FREE(&file->member);
    HPS_FREE(&file->hook);
    *file = (hps_ensemble_file){.method = HPS_ENSEMBLE_NONE};
}

static json_t *hex(uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    return json_string(text);
}

static json_t *member_json(const hps_member *m)
{
    return json_pack("{s:s,s:b,s:o,s:I,s:I,s:o,s:o}", "directory", m->directory, "complete", m->complete, "checksum",
                     m->complete ? hex(m->checksum) : json_null(), "n", (json_int_t)m->n, "k", (json_int_t)m->k,
                     "config_hash", hex(m->config_hash), "ev", hps_json_real(m->ev));
}

static json_t *file_json(const hps_ensemble_file *f)
{
    json_t *members = json_array(), *store = json_array();

    for (int j = 0; j < f->members; j++) {
        json_array_append_new(members, member_json(&f->member[j]));
    }
    for (int64_t i = 0; i < f->store.count; i++) {
        json_array_append_new(store, json_string(f->store.items[i]));
    }
    return json_pack("{s:s,s:i,s:s,s:i,s:I,s:s,s:o,s:o,s:o,s:o,s:o}", "format", format, "format_version", 1, "method",
                     methods[f->method], "members", f->members, "d", (json_int_t)f->d, "hook",
                     f->hook != NULL ? f->hook : "", "store", store, "store_identity", hex(f->store_identity),
                     "config_hash", hex(f->config_hash), "variance", hps_json_real(f->variance), "member", members);
}

hps_status hps_ensemble_write(const char *directory, const hps_ensemble_file *file)
{
    char path[HPS_PATH_MAX];

    HPS_TRY(hps_path_join(directory, "ensemble.json", path));
    json_t *json = file_json(file);
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(json);
    if (text == NULL) {
        return hps_fail(HPS_ENOMEM, "%s: no memory for it", path);
    }
    const size_t length = strlen(text);
    text[length] = '\n'; /* in the place of the closing zero */
    const hps_status status = hps_file_replace(path, text, length + 1);
    free(text);
    return status;
}

/* Rank 0's text of the file, *length 0 when there is none. */
static hps_status slurp(const char *path, char *text, int64_t *length)
{
    FILE *file = fopen(path, "re");

    *length = 0;
    if (file == NULL) {
        return errno == ENOENT || errno == ENOTDIR
                   ? HPS_OK
                   : hps_fail(HPS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    *length = (int64_t)fread(text, 1, TEXT_MAX, file);
    const bool bad = ferror(file) != 0;
    fclose(file);
    if (bad) {
        return hps_fail(HPS_EIO, "%s: cannot be read: %s", path, strerror(EIO));
    }
    return *length > 0
               ? HPS_OK
               : hps_fail(HPS_EFORMAT, "%s: torn: it is empty; remove it: what is trained is found again", path);
}

static bool take_hex(const json_t *object, const char *key, uint64_t *value)
{
    const char *text = json_string_value(json_object_get(object, key));
    char *end = NULL;

    if (text == NULL || strlen(text) != 16) {
        return false;
    }
    *value = strtoull(text, &end, 16);
    return *end == '\0';
}

static double take_real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool take_int(const json_t *object, const char *key, int64_t low, int64_t high, int64_t *value)
{
    const json_t *item = json_object_get(object, key);

    *value = json_integer_value(item);
    return json_is_integer(item) && *value >= low && *value <= high;
}

static bool take_member(const json_t *object, hps_member *m)
{
    const json_t *complete = json_object_get(object, "complete");
    const char *directory = json_string_value(json_object_get(object, "directory"));

    m->complete = json_is_true(complete);
    m->ev = take_real(object, "ev");
    return directory != NULL && strcmp(directory, m->directory) == 0 && json_is_boolean(complete) &&
           (!m->complete || take_hex(object, "checksum", &m->checksum)) && take_int(object, "n", 1, INT32_MAX, &m->n) &&
           take_int(object, "k", 1, INT32_MAX, &m->k) && take_hex(object, "config_hash", &m->config_hash);
}

static hps_status copy_text(const char *text, char **copy)
{
    HPS_TRY(HPS_ALLOC(copy, (int64_t)strlen(text) + 1, "names of an ensemble"));
    strcpy(*copy, text);
    return HPS_OK;
}

static hps_status take_names(const json_t *json, hps_ensemble_file *f)
{
    const json_t *store = json_object_get(json, "store");
    const char *hook = json_string_value(json_object_get(json, "hook"));

    HPS_TRY(copy_text(hook != NULL ? hook : "", &f->hook));
    HPS_TRY(HPS_ALLOC(&f->store.items, (int64_t)json_array_size(store), "names of an ensemble"));
    for (size_t i = 0; i < json_array_size(store); i++) {
        const char *path = json_string_value(json_array_get(store, i));
        HPS_TRY(copy_text(path != NULL ? path : "", &f->store.items[i]));
        f->store.count++;
    }
    return HPS_OK;
}

static hps_status wrong(const char *path, const char *key)
{
    return hps_fail(HPS_EFORMAT, "%s: \"%s\" is missing or cannot be; remove the file: what is trained is found again",
                    path, key);
}

static hps_status take_members(const char *path, const json_t *json, hps_ensemble_file *f)
{
    const json_t *members = json_object_get(json, "member");

    if (!json_is_array(members) || json_array_size(members) != (size_t)f->members) {
        return wrong(path, "member");
    }
    for (int j = 0; j < f->members; j++) {
        if (!take_member(json_array_get(members, (size_t)j), &f->member[j])) {
            return wrong(path, f->member[j].directory);
        }
    }
    return HPS_OK;
}

static hps_status take_all(const char *path, const json_t *json, hps_ensemble_file *f)
{
    const char *is = json_string_value(json_object_get(json, "format"));
    const char *method = json_string_value(json_object_get(json, "method"));
    hps_ensemble_method m = HPS_ENSEMBLE_BOOSTING;
    int64_t version, members;

    if (is == NULL || strcmp(is, format) != 0 || !take_int(json, "format_version", 1, 1, &version)) {
        return hps_fail(HPS_EFORMAT, "%s: is not an ensemble of this program: format %s; choose another output", path,
                        is != NULL ? is : "not said");
    }
    while (m > HPS_ENSEMBLE_NONE && (method == NULL || strcmp(method, methods[m]) != 0)) {
        m--;
    }
    if (m == HPS_ENSEMBLE_NONE) {
        return wrong(path, "method");
    }
    if (!take_int(json, "members", 1, HPS_MEMBERS_MAX, &members)) {
        return wrong(path, "members");
    }
    HPS_TRY(hps_ensemble_create(m, (int)members, f));
    if (!take_int(json, "d", 1, INT32_MAX, &f->d) || !take_hex(json, "config_hash", &f->config_hash) ||
        !take_hex(json, "store_identity", &f->store_identity)) {
        return wrong(path, "d\", \"config_hash\" or \"store_identity");
    }
    f->variance = take_real(json, "variance");
    HPS_TRY(take_members(path, json, f));
    return take_names(json, f);
}

static hps_status parse(const char *path, const char *text, int64_t length, hps_ensemble_file *file)
{
    json_error_t error;
    json_t *json = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);

    if (!json_is_object(json)) {
        json_decref(json);
        return hps_fail(HPS_EFORMAT, "%s:%d:%d: torn, or not JSON; remove it: what is trained is found again", path,
                        json == NULL ? error.line : 1, json == NULL ? error.column : 1);
    }
    const hps_status status = take_all(path, json, file);
    json_decref(json);
    return status;
}

hps_status hps_ensemble_read(MPI_Comm comm, const char *directory, hps_ensemble_file *file)
{
    char path[HPS_PATH_MAX], *text = NULL;
    int64_t length = 0;
    int rank;

    *file = (hps_ensemble_file){.method = HPS_ENSEMBLE_NONE};
    HPS_MPI(MPI_Comm_rank(comm, &rank));
    HPS_TRY(hps_path_join(directory, "ensemble.json", path));
    hps_status status = hps_agree(comm, HPS_ALLOC(&text, TEXT_MAX, "ensemble.json"));
    if (status == HPS_OK) {
        status = hps_share_status(comm, rank == 0 ? slurp(path, text, &length) : HPS_OK);
    }
    if (status == HPS_OK) {
        HPS_MPI(MPI_Bcast(&length, 1, MPI_INT64_T, 0, comm));
        HPS_MPI(MPI_Bcast(text, hps_count(length), MPI_CHAR, 0, comm));
        status = length > 0 ? hps_agree(comm, parse(path, text, length, file)) : HPS_OK;
    }
    HPS_FREE(&text);
    if (status != HPS_OK) {
        hps_ensemble_free(file);
    }
    return status;
}
