#include "source.h"

#include <yaml.h>

/* A configuration is three sections deep; libyaml takes quadratic time over what is nested without end. */
enum { DEPTH_MAX = 8 };

/* Line and column of a byte, for errors of which libyaml tells the offset only. */
static hps_place place_of_byte(const char *file, const char *text, size_t offset)
{
    hps_place place = {.file = file, .line = 1, .column = 1};

    for (size_t i = 0; i < offset; i++) {
        place.column++;
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        }
    }
    return place;
}

static hps_status refuse_yaml(const char *file, const yaml_parser_t *parser, const char *text, size_t length)
{
    hps_place place = {.file = file, .line = parser->problem_mark.line + 1, .column = parser->problem_mark.column + 1};

    if (parser->error == YAML_MEMORY_ERROR) {
        return hps_fail(HPS_ENOMEM, "%s: no memory to read it", file);
    }
    if (parser->error == YAML_READER_ERROR) {
        place = place_of_byte(file, text, parser->problem_offset < length ? parser->problem_offset : length);
    }
    return hps_place_fail(&place, NULL, "not YAML: %s; see configs/ for examples",
                          parser->problem == NULL ? "cannot be read" : parser->problem);
}

/* What has been met so far. */
typedef struct {
    const char *file;
    int depth, documents;
    bool ended;
} progress;

/* What a node carries beyond its value: refused, since it buys nothing here. */
static hps_status check_plain(const hps_place *place, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        return hps_place_fail(place, NULL, "an anchor; write the value out where it is wanted");
    }
    if (tag != NULL) {
        return hps_place_fail(place, NULL, "a tag; write the value alone");
    }
    return HPS_OK;
}

static hps_status check_depth(const hps_place *place, progress *so_far)
{
    so_far->depth++;
    return so_far->depth > DEPTH_MAX ? hps_place_fail(place, NULL, "nested too deeply; see configs/ for examples")
                                     : HPS_OK;
}

static hps_status check_event(const yaml_event_t *event, progress *so_far)
{
    const hps_place place = {
        .file = so_far->file, .line = event->start_mark.line + 1, .column = event->start_mark.column + 1};

    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        so_far->documents++;
        return so_far->documents > 1 ? hps_place_fail(&place, NULL, "a second document; one file holds one") : HPS_OK;
    case YAML_ALIAS_EVENT:
        return hps_place_fail(&place, NULL, "an alias; write the value out");
    case YAML_SCALAR_EVENT:
        return check_plain(&place, event->data.scalar.anchor, event->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        HPS_TRY(check_plain(&place, event->data.sequence_start.anchor, event->data.sequence_start.tag));
        return check_depth(&place, so_far);
    case YAML_MAPPING_START_EVENT:
        HPS_TRY(check_plain(&place, event->data.mapping_start.anchor, event->data.mapping_start.tag));
        return check_depth(&place, so_far);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        so_far->depth--;
        return HPS_OK;
    case YAML_STREAM_END_EVENT:
        so_far->ended = true;
        return HPS_OK;
    default:
        return HPS_OK;
    }
}

hps_status hps_document_scan(const char *file, const char *text, size_t length)
{
    progress so_far = {.file = file};
    hps_status status = HPS_OK;
    yaml_parser_t parser;

    if (yaml_parser_initialize(&parser) == 0) {
        return hps_fail(HPS_ENOMEM, "%s: no memory to read it", file);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    while (status == HPS_OK && !so_far.ended) {
        yaml_event_t event;
        if (yaml_parser_parse(&parser, &event) == 0) {
            status = refuse_yaml(file, &parser, text, length);
        } else {
            status = check_event(&event, &so_far);
            yaml_event_delete(&event);
        }
    }
    yaml_parser_delete(&parser);
    return status;
}
