#include "source.h"
#include "sweep_read.h"
#include "value.h"

#include "hpsae/base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { PATH_MAX_HERE = 128 };

typedef struct {
    hps_config *config;
    yaml_document_t *document;
} reader;

static hps_place place_of(const reader *r, const yaml_node_t *node)
{
    return (hps_place){
        .file = r->config->source->file, .line = node->start_mark.line + 1, .column = node->start_mark.column + 1};
}

static const char *text_of(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* A scalar that YAML 1.2 reads as null. */
static bool null_scalar(const yaml_node_t *node)
{
    static const char *const forms[] = {"", "~", "null", "Null", "NULL"};

    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return false;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (strcmp(text_of(node), forms[i]) == 0) {
            return true;
        }
    }
    return false;
}

static hps_status refuse_unknown(const hps_place *place, const char *path)
{
    char near[64], shown[HPS_SHOWN_MAX];
    const char *best = hps_schema_nearest(path, near);

    hps_show(path, strlen(path), shown);
    if (best != NULL) {
        return hps_place_fail(place, NULL, "%.*s: unknown key; did you mean %s?", (int)strlen(shown) - 2, shown + 1,
                              best);
    }
    return hps_place_fail(place, NULL, "%.*s: unknown key; 'hpsae train --help-config' lists the known ones",
                          (int)strlen(shown) - 2, shown + 1);
}

static hps_status scalar_of(const reader *r, const hps_key *key, const yaml_node_t *node, hps_scalar *scalar)
{
    const hps_place place = place_of(r, node);
    char allowed[HPS_ALLOWED_MAX];

    hps_schema_allowed(key, allowed);
    if (node->type != YAML_SCALAR_NODE) {
        return hps_place_fail(&place, key->path, "a %s, where one value is wanted; allowed: %s",
                              node->type == YAML_SEQUENCE_NODE ? "list" : "section", allowed);
    }
    if (null_scalar(node)) {
        return hps_place_fail(&place, key->path, "has no value; allowed: %s", allowed);
    }
    *scalar = (hps_scalar){text_of(node), node->data.scalar.length, node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE};
    return HPS_OK;
}

static hps_status set_sequence(const reader *r, const hps_key *key, const yaml_node_t *node)
{
    const hps_place place = place_of(r, node);
    const yaml_node_item_t *first = node->data.sequence.items.start;
    const int64_t count = node->data.sequence.items.top - first;
    hps_scalar *items;
    hps_status status = HPS_OK;

    HPS_TRY(HPS_ALLOC(&items, count, "configuration"));
    for (int64_t i = 0; i < count && status == HPS_OK; i++) {
        status = scalar_of(r, key, yaml_document_get_node(r->document, first[i]), &items[i]);
    }
    if (status == HPS_OK) {
        status = hps_value_set(r->config, key, &place, items, count, true);
    }
    HPS_FREE(&items);
    return status;
}

static hps_status set_key(const reader *r, int number, const yaml_node_t *name, const yaml_node_t *node)
{
    const hps_key *key = &hps_schema[number];
    hps_place *known = &r->config->source->place[number];
    const hps_place here = place_of(r, name);
    hps_scalar scalar;

    if (known->given) {
        return hps_place_fail(&here, key->path, "given twice, first in line %zu; keep one", known->line);
    }
    if (hps_schema_many(key) && node->type == YAML_SEQUENCE_NODE) {
        HPS_TRY(set_sequence(r, key, node));
    } else {
        const hps_place place = place_of(r, node);
        HPS_TRY(scalar_of(r, key, node, &scalar));
        HPS_TRY(hps_value_set(r->config, key, &place, &scalar, 1, false));
    }
    *known = place_of(r, node);
    known->given = true;
    return HPS_OK;
}

/* Keys that are not given are missed at the place of their section. */
static void remember_section(const reader *r, const char *section, const yaml_node_t *name)
{
    const size_t length = strlen(section);

    for (int i = 0; i < hps_schema_keys; i++) {
        if (strncmp(hps_schema[i].path, section, length) == 0 && hps_schema[i].path[length] == '.') {
            r->config->source->place[i] = place_of(r, name);
        }
    }
}

static bool seen_before(const reader *r, const yaml_node_t *mapping, const yaml_node_pair_t *pair)
{
    const yaml_node_t *name = yaml_document_get_node(r->document, pair->key);

    for (const yaml_node_pair_t *earlier = mapping->data.mapping.pairs.start; earlier < pair; earlier++) {
        if (strcmp(text_of(yaml_document_get_node(r->document, earlier->key)), text_of(name)) == 0) {
            return true;
        }
    }
    return false;
}

static hps_status read_section(const reader *r, const char *section, const yaml_node_t *mapping);

/* One "name: value" of a section ("" is the top). */
static hps_status read_pair(const reader *r, const char *section, const yaml_node_t *mapping,
                            const yaml_node_pair_t *pair)
{
    const yaml_node_t *name = yaml_document_get_node(r->document, pair->key);
    const yaml_node_t *node = yaml_document_get_node(r->document, pair->value);
    const hps_place place = place_of(r, name);
    char path[PATH_MAX_HERE];

    if (name->type != YAML_SCALAR_NODE || strlen(text_of(name)) != name->data.scalar.length) {
        return hps_place_fail(&place, section[0] == '\0' ? NULL : section, "a key must be a word");
    }
    snprintf(path, sizeof(path), "%s%s%s", section, section[0] == '\0' ? "" : ".", text_of(name));
    if (strchr(text_of(name), '.') != NULL && hps_schema_find(path) >= 0) {
        return hps_place_fail(&place, path, "a key with a dot; write the last part inside its section");
    }
    if (hps_schema_find(path) >= 0) {
        return set_key(r, hps_schema_find(path), name, node);
    }
    if (hps_sweep_part(path)) {
        return seen_before(r, mapping, pair) ? hps_place_fail(&place, path, "given twice; keep one")
                                             : hps_sweep_read(r->config, r->document, path, node);
    }
    if (!hps_schema_section(path) || strchr(text_of(name), '.') != NULL) {
        return refuse_unknown(&place, path);
    }
    if (seen_before(r, mapping, pair)) {
        return hps_place_fail(&place, path, "given twice; put all its keys into one section");
    }
    remember_section(r, path, name);
    if (null_scalar(node)) {
        return HPS_OK;
    }
    if (node->type != YAML_MAPPING_NODE) {
        const hps_place wrong = place_of(r, node);
        return hps_place_fail(&wrong, path, "is a section; allowed: its keys, indented below it");
    }
    return read_section(r, path, node);
}

static hps_status read_section(const reader *r, const char *section, const yaml_node_t *mapping)
{
    const yaml_node_pair_t *end = mapping->data.mapping.pairs.top;

    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < end; pair++) {
        HPS_TRY(read_pair(r, section, mapping, pair));
    }
    return HPS_OK;
}

static hps_status read_root(const reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(r->document);
    hps_place start = {.file = r->config->source->file, .line = 1, .column = 1};

    if (root == NULL || null_scalar(root)) {
        return hps_place_fail(&start, NULL, "the file is empty; see configs/ for examples");
    }
    if (root->type != YAML_MAPPING_NODE) {
        start = place_of(r, root);
        return hps_place_fail(&start, NULL, "no configuration; sections with their keys are wanted, see configs/");
    }
    return read_section(r, "", root);
}

hps_status hps_document_read(hps_config *config, const char *text, size_t length)
{
    const char *file = config->source->file;
    yaml_parser_t parser;
    yaml_document_t document;
    hps_status status = HPS_OK;

    HPS_TRY(hps_document_scan(file, text, length));
    if (yaml_parser_initialize(&parser) == 0) {
        return hps_fail(HPS_ENOMEM, "%s: no memory to read it", file);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    if (yaml_parser_load(&parser, &document) == 0) {
        /* The scan found nothing wrong with it. */
        status = hps_fail(HPS_ENOMEM, "%s: no memory to read it", file);
    } else {
        status = read_root(&(reader){config, &document});
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return status;
}
