#include "sweep_read.h"

#include "source.h"

#include "hpsae/base/memory.h"

#include <string.h>

enum { PATH_HERE = 128 };

typedef struct {
    const char *file;
    yaml_document_t *document;
    struct hps_sweep *sweep;
} reader;

/* A key with what stands behind it. */
typedef struct {
    int key;
    const yaml_node_t *name, *node;
} entry;

typedef struct {
    entry *entry; /* [hps_schema_keys] */
    int64_t count;
} entries;

static hps_place place_of(const reader *r, const yaml_node_t *node)
{
    return (hps_place){
        .file = r->file, .line = node->start_mark.line + 1, .column = node->start_mark.column + 1, .given = true};
}

static const yaml_node_t *item_of(const reader *r, const yaml_node_t *list, int64_t i)
{
    return yaml_document_get_node(r->document, list->data.sequence.items.start[i]);
}

static int64_t length_of(const yaml_node_t *list)
{
    return list->data.sequence.items.top - list->data.sequence.items.start;
}

/* Keys of the training alone, but those that belong to the job or to the directory. */
static hps_status check_key(const hps_place *place, const hps_key *key)
{
    static const char *const others[] = {
        "output",    "train.resume",      "train.max_minutes", "grid.threads", "train.calibration",
        "ensemble.", "data.skip_bad_rows"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strncmp(key->path, others[i], strlen(others[i])) == 0) {
            return hps_place_fail(place, key->path,
                                  "is the same for all points; allowed in a sweep: keys of one training");
        }
    }
    if ((key->used & HPS_FOR_TRAIN) == 0) {
        return hps_place_fail(place, key->path,
                              "no training depends on it; allowed in a sweep: keys of 'hpsae train --help-config'");
    }
    return HPS_OK;
}

static hps_status add_entry(const reader *r, const yaml_node_t *name, const yaml_node_t *node, int key, entries *all)
{
    const hps_place place = place_of(r, name);

    HPS_TRY(check_key(&place, &hps_schema[key]));
    for (int64_t i = 0; i < all->count; i++) {
        if (all->entry[i].key == key) {
            return hps_place_fail(&place, hps_schema[key].path, "given twice, first in line %zu; keep one",
                                  all->entry[i].name->start_mark.line + 1);
        }
    }
    all->entry[all->count++] = (entry){key, name, node};
    return HPS_OK;
}

static hps_status refuse_key(const hps_place *place, const char *path)
{
    char near[64], shown[HPS_SHOWN_MAX];
    const char *best = hps_schema_nearest(path, near);

    hps_show(path, strlen(path), shown);
    return best != NULL ? hps_place_fail(place, NULL, "%s: unknown key; did you mean %s?", shown, best)
                        : hps_place_fail(place, NULL,
                                         "%s: unknown key; 'hpsae train --help-config' lists the known ones", shown);
}

/* The keys of a mapping, written with dots or in their sections. */
static hps_status collect(const reader *r, const char *section, const yaml_node_t *mapping, entries *all)
{
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *name = yaml_document_get_node(r->document, pair->key);
        const yaml_node_t *node = yaml_document_get_node(r->document, pair->value);
        const hps_place place = place_of(r, name);
        char path[PATH_HERE];

        if (name->type != YAML_SCALAR_NODE ||
            strlen((const char *)name->data.scalar.value) != name->data.scalar.length) {
            return hps_place_fail(&place, NULL, "a key must be a word");
        }
        snprintf(path, sizeof(path), "%s%s%s", section, section[0] == '\0' ? "" : ".",
                 (const char *)name->data.scalar.value);
        const int key = hps_schema_find(path);
        if (key >= 0) {
            HPS_TRY(add_entry(r, name, node, key, all));
        } else if (hps_schema_section(path) && node->type == YAML_MAPPING_NODE) {
            HPS_TRY(collect(r, path, node, all));
        } else if (hps_schema_section(path)) {
            return hps_place_fail(&place, path, "is a section; allowed: its keys, each with the values to take");
        } else {
            return refuse_key(&place, path);
        }
    }
    return HPS_OK;
}

static hps_status copy_scalar(const reader *r, const hps_key *key, const yaml_node_t *node, hps_scalar *item)
{
    const hps_place place = place_of(r, node);
    char allowed[HPS_ALLOWED_MAX], *text = NULL;

    if (node->type != YAML_SCALAR_NODE) {
        return hps_place_fail(&place, key->path, "a %s, where one value is wanted; allowed: %s",
                              node->type == YAML_SEQUENCE_NODE ? "list" : "section", hps_schema_allowed(key, allowed));
    }
    HPS_TRY(hps_string_copy(&text, (const char *)node->data.scalar.value, node->data.scalar.length));
    *item = (hps_scalar){text, node->data.scalar.length, node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE};
    return HPS_OK;
}

/* Looks at a value by setting it in a configuration that nobody uses. */
static hps_status check_value(const hps_setting *setting)
{
    hps_config nobody = {.output = NULL};

    const hps_status status = hps_value_set(&nobody, &hps_schema[setting->key], &setting->place, setting->items,
                                            setting->count, setting->list);
    hps_value_clear(&nobody, &hps_schema[setting->key]);
    return status;
}

static hps_status read_setting(const reader *r, int key, const yaml_node_t *node, hps_setting *setting)
{
    const bool list = node->type == YAML_SEQUENCE_NODE && hps_schema_many(&hps_schema[key]);
    const int64_t count = list ? length_of(node) : 1;

    *setting = (hps_setting){.key = key, .place = place_of(r, node), .list = list};
    HPS_TRY(HPS_ALLOC(&setting->items, count, "sweep"));
    for (; setting->count < count; setting->count++) {
        HPS_TRY(copy_scalar(r, &hps_schema[key], list ? item_of(r, node, setting->count) : node,
                            &setting->items[setting->count]));
    }
    r->sweep->swept[key] = true;
    return check_value(setting);
}

/* The values of an axis. */
static hps_status check_values(const reader *r, const entry *e)
{
    const hps_place place = place_of(r, e->node);

    if (e->node->type != YAML_SEQUENCE_NODE) {
        return hps_place_fail(&place, hps_schema[e->key].path, "no list; allowed: the values to take, [a, b, ...]");
    }
    if (length_of(e->node) == 0) {
        return hps_place_fail(&place, hps_schema[e->key].path,
                              "an empty list; allowed: the values to take, [a, b, ...]");
    }
    return HPS_OK;
}

/* An axis of the values of `count` entries that go together. */
static hps_status read_axis(const reader *r, const entry *e, int64_t count)
{
    const hps_place place = place_of(r, e[0].name);
    const int64_t length = length_of(e[0].node);
    hps_axis *axis;

    for (int64_t j = 1; j < count; j++) {
        const hps_place here = place_of(r, e[j].node);
        if (length_of(e[j].node) != length) {
            return hps_place_fail(&here, hps_schema[e[j].key].path,
                                  "%lld values, but %s beside it has %lld; allowed in a zip: as many each",
                                  (long long)length_of(e[j].node), hps_schema[e[0].key].path, (long long)length);
        }
    }
    for (int64_t j = 0; j < count; j++) {
        const hps_place here = place_of(r, e[j].name);
        if (r->sweep->swept[e[j].key]) {
            return hps_place_fail(&here, hps_schema[e[j].key].path, "is an axis already; keep one");
        }
    }
    HPS_TRY(hps_sweep_add_axis(r->sweep, &place, &axis));
    HPS_TRY(HPS_ALLOC(&axis->choice, length, "sweep"));
    for (int64_t i = 0; i < length; i++) {
        hps_choice *choice = &axis->choice[axis->count++];
        HPS_TRY(HPS_ALLOC(&choice->set, count, "sweep"));
        choice->count = count;
        for (int64_t j = 0; j < count; j++) {
            HPS_TRY(read_setting(r, e[j].key, item_of(r, e[j].node, i), &choice->set[j]));
        }
    }
    return HPS_OK;
}

static hps_status refuse_kind(const reader *r, const char *path, const yaml_node_t *node, const char *wanted)
{
    const hps_place place = place_of(r, node);

    return hps_place_fail(&place, path, "is not what it must be; allowed: %s", wanted);
}

/* Collects a mapping's keys and has them read. */
static hps_status with_entries(const reader *r, const char *path, const yaml_node_t *node, const char *wanted,
                               hps_status (*read)(const reader *r, const entries *all))
{
    entries all = {.count = 0};

    if (node->type != YAML_MAPPING_NODE) {
        return refuse_kind(r, path, node, wanted);
    }
    HPS_TRY(HPS_ALLOC(&all.entry, hps_schema_keys, "sweep"));
    hps_status status = collect(r, "", node, &all);
    if (status == HPS_OK && all.count == 0) {
        status = refuse_kind(r, path, node, wanted);
    }
    if (status == HPS_OK) {
        status = read(r, &all);
    }
    HPS_FREE(&all.entry);
    return status;
}

static hps_status read_axes(const reader *r, const entries *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        HPS_TRY(check_values(r, &all->entry[i]));
        HPS_TRY(read_axis(r, &all->entry[i], 1));
    }
    return HPS_OK;
}

static hps_status read_zip(const reader *r, const entries *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        HPS_TRY(check_values(r, &all->entry[i]));
    }
    return read_axis(r, all->entry, all->count);
}

static hps_status read_listed(const reader *r, const entries *all)
{
    hps_choice *choice = &r->sweep->list.choice[r->sweep->list.count++];

    HPS_TRY(HPS_ALLOC(&choice->set, all->count, "sweep"));
    choice->count = all->count;
    for (int64_t j = 0; j < all->count; j++) {
        HPS_TRY(read_setting(r, all->entry[j].key, all->entry[j].node, &choice->set[j]));
    }
    return HPS_OK;
}

static hps_status read_zips(const reader *r, const yaml_node_t *node)
{
    static const char wanted[] = "keys with lists of as many values each, {a: [1, 2], b: [3, 4]}, or a list of such";

    if (node->type != YAML_SEQUENCE_NODE) {
        return with_entries(r, "sweep.zip", node, wanted, read_zip);
    }
    for (int64_t i = 0; i < length_of(node); i++) {
        HPS_TRY(with_entries(r, "sweep.zip", item_of(r, node, i), wanted, read_zip));
    }
    return HPS_OK;
}

static hps_status read_list(const reader *r, const yaml_node_t *node)
{
    static const char wanted[] = "a list of points, each the keys with their values, [{a: 1, b: 3}, {a: 2, b: 4}]";

    if (node->type != YAML_SEQUENCE_NODE || length_of(node) == 0 || length_of(node) > HPS_SWEEP_POINTS_MAX) {
        return refuse_kind(r, "sweep.list", node, wanted);
    }
    HPS_TRY(HPS_ALLOC(&r->sweep->list.choice, length_of(node), "sweep"));
    for (int64_t i = 0; i < length_of(node); i++) {
        HPS_TRY(with_entries(r, "sweep.list", item_of(r, node, i), wanted, read_listed));
    }
    return HPS_OK;
}

bool hps_sweep_part(const char *path)
{
    return strcmp(path, "sweep.axes") == 0 || strcmp(path, "sweep.zip") == 0 || strcmp(path, "sweep.list") == 0;
}

hps_status hps_sweep_read(hps_config *config, yaml_document_t *document, const char *path, const yaml_node_t *node)
{
    static const char wanted[] = "keys with lists of values, {model.k: [8, 32]}";

    HPS_TRY(hps_sweep_create(&config->source->sweep));
    const reader r = {config->source->file, document, config->source->sweep};
    if (r.sweep->axes + r.sweep->list.count == 0) {
        r.sweep->place = place_of(&r, node);
    }
    if (strcmp(path, "sweep.axes") == 0) {
        return with_entries(&r, path, node, wanted, read_axes);
    }
    return strcmp(path, "sweep.zip") == 0 ? read_zips(&r, node) : read_list(&r, node);
}
