#include "value.h"

#include "number.h"

#include "hpsae/base/memory.h"

#include <string.h>

static void *field_of(const hps_config *config, const hps_key *key)
{
    return (char *)(uintptr_t)config + key->offset;
}

hps_status hps_string_copy(char **field, const char *text, size_t length)
{
    char *copy;

    HPS_TRY(HPS_ALLOC(&copy, (int64_t)length + 1, "configuration"));
    memcpy(copy, text, length);
    HPS_FREE(field);
    *field = copy;
    return HPS_OK;
}

static void clear_list(hps_list *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        HPS_FREE(&list->items[i]);
    }
    HPS_FREE(&list->items);
    list->count = 0;
}

void hps_value_clear(hps_config *config, const hps_key *key)
{
    if (key->type == HPS_KEY_STRING) {
        HPS_FREE(field_of(config, key));
    } else if (key->type == HPS_KEY_LIST) {
        clear_list(field_of(config, key));
    } else if (key->type == HPS_KEY_INTS) {
        hps_ints *ints = field_of(config, key);
        HPS_FREE(&ints->items);
        ints->count = 0;
    }
}

/* "WHAT; allowed: ..." */
static hps_status refuse(const hps_key *key, const hps_place *place, const char *what)
{
    char allowed[HPS_ALLOWED_MAX];

    return hps_place_fail(place, key->path, "%s; allowed: %s", what, hps_schema_allowed(key, allowed));
}

static hps_status refuse_text(const hps_key *key, const hps_place *place, const hps_scalar *item, const char *what)
{
    char shown[HPS_SHOWN_MAX], words[HPS_SHOWN_MAX + 64];

    snprintf(words, sizeof(words), "%s %s", hps_show(item->text, item->length, shown), what);
    return refuse(key, place, words);
}

static bool is(const hps_scalar *item, const char *word)
{
    return strcmp(item->text, word) == 0;
}

static hps_status set_string(const hps_key *key, const hps_place *place, const hps_scalar *item, char **field)
{
    if (hps_printable(item->text, item->length) != item->length) {
        return refuse_text(key, place, item, "holds a control character or is not UTF-8");
    }
    if (item->length == 0 && key->fallback == NULL) {
        return refuse(key, place, "is empty");
    }
    return hps_string_copy(field, item->text, item->length);
}

static hps_status set_list(const hps_key *key, const hps_place *place, const hps_scalar *items, int64_t count,
                           hps_list *field)
{
    hps_list list = {.count = 0};

    if (count == 0 && key->fallback == NULL) {
        return refuse(key, place, "an empty list");
    }
    HPS_TRY(HPS_ALLOC(&list.items, count, "configuration"));
    hps_status status = HPS_OK;
    while (list.count < count && status == HPS_OK) {
        const hps_scalar *item = &items[list.count];
        status = item->length == 0 ? refuse(key, place, "an empty path")
                                   : set_string(key, place, item, &list.items[list.count]);
        list.count++;
    }
    if (status != HPS_OK) {
        clear_list(&list);
        return status;
    }
    clear_list(field);
    *field = list;
    return HPS_OK;
}

static bool within(const hps_key *key, double value)
{
    return (key->above ? value > key->lowest : value >= key->lowest) &&
           (key->below ? value < key->highest : value <= key->highest);
}

static hps_status set_integer(const hps_key *key, const hps_place *place, const hps_scalar *item, int64_t *field)
{
    int64_t value = HPS_AUTO_INT;

    if (!(key->automatic && is(item, "auto"))) {
        const hps_number_fault fault = item->quoted ? HPS_NUMBER_BAD : hps_number_integer(item->text, &value);
        if (fault == HPS_NUMBER_BAD) {
            return refuse_text(key, place, item, "is not an integer");
        }
        if (fault == HPS_NUMBER_RANGE || !within(key, (double)value)) {
            return refuse_text(key, place, item, "is out of range");
        }
    }
    *field = value;
    return HPS_OK;
}

static hps_status set_ints(const hps_key *key, const hps_place *place, const hps_scalar *items, int64_t count,
                           hps_ints *field)
{
    hps_ints ints = {.count = count};
    hps_status status = HPS_OK;

    HPS_TRY(HPS_ALLOC(&ints.items, count, "configuration"));
    for (int64_t i = 0; i < count && status == HPS_OK; i++) {
        status = set_integer(key, place, &items[i], &ints.items[i]);
    }
    if (status != HPS_OK) {
        HPS_FREE(&ints.items);
        return status;
    }
    HPS_FREE(&field->items);
    *field = ints;
    return HPS_OK;
}

static hps_status set_real(const hps_key *key, const hps_place *place, const hps_scalar *item, double *field)
{
    double value = HPS_AUTO_REAL;

    if (!(key->automatic && is(item, "auto"))) {
        const hps_number_fault fault = item->quoted ? HPS_NUMBER_BAD : hps_number_real(item->text, &value);
        if (fault == HPS_NUMBER_BAD) {
            return refuse_text(key, place, item, "is not a number");
        }
        if (fault == HPS_NUMBER_RANGE || !within(key, value)) {
            return refuse_text(key, place, item, "is out of range");
        }
    }
    *field = value;
    return HPS_OK;
}

static hps_status set_bool(const hps_key *key, const hps_place *place, const hps_scalar *item, bool *field)
{
    if (item->quoted || !(is(item, "true") || is(item, "false"))) {
        return refuse_text(key, place, item, "is not known");
    }
    *field = is(item, "true");
    return HPS_OK;
}

static hps_status set_word(const hps_key *key, const hps_place *place, const hps_scalar *item, void *field)
{
    for (const hps_word *word = key->words; word->text != NULL; word++) {
        if (is(item, word->text)) {
            memcpy(field, &word->value, sizeof(word->value));
            return HPS_OK;
        }
    }
    return refuse_text(key, place, item, "is not known");
}

hps_status hps_value_set(hps_config *config, const hps_key *key, const hps_place *place, const hps_scalar *items,
                         int64_t count, bool list)
{
    void *field = field_of(config, key);

    if (key->type == HPS_KEY_LIST) {
        return set_list(key, place, items, count, field);
    }
    if (key->type == HPS_KEY_INTS) {
        return set_ints(key, place, items, count, field);
    }
    if (list) {
        return refuse(key, place, "a list, where one value is wanted");
    }
    if (strlen(items->text) != items->length) {
        return refuse_text(key, place, items, "holds a NUL character");
    }
    switch (key->type) {
    case HPS_KEY_INT:
        return set_integer(key, place, items, field);
    case HPS_KEY_REAL:
        return set_real(key, place, items, field);
    case HPS_KEY_BOOL:
        return set_bool(key, place, items, field);
    case HPS_KEY_WORD:
        return set_word(key, place, items, field);
    default:
        return set_string(key, place, items, field);
    }
}

hps_status hps_value_default(hps_config *config, const hps_key *key)
{
    static const hps_place schema = {.file = "src/config/schema.c"};
    const char *text = key->fallback;

    if (key->type == HPS_KEY_STRING && text == NULL) {
        return hps_string_copy(field_of(config, key), "", 0);
    }
    if (text == NULL || key->type == HPS_KEY_LIST || key->type == HPS_KEY_INTS) {
        return HPS_OK;
    }
    const hps_scalar item = {text, strlen(text), false};
    return hps_value_set(config, key, &schema, &item, 1, false);
}

/* Letters that need no quotes, unless the whole reads as something else than text. */
static bool plain(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-";
    static const char *const others[] = {"", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(text, others[i]) == 0) {
            return false;
        }
    }
    return text[strspn(text, letters)] == '\0' && text[0] != '-' && (text[0] != '.' || text[1] == '/');
}

static void write_string(const char *text, FILE *file)
{
    if (plain(text)) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', file);
        }
        fputc(*text, file);
    }
    fputc('"', file);
}

static void write_list(const hps_list *list, FILE *file)
{
    if (list->count == 1) {
        write_string(list->items[0], file);
        return;
    }
    fputc('[', file);
    for (int64_t i = 0; i < list->count; i++) {
        fputs(i > 0 ? ", " : "", file);
        write_string(list->items[i], file);
    }
    fputc(']', file);
}

static void write_ints(const hps_ints *ints, FILE *file)
{
    char text[HPS_NUMBER_MAX];

    fputc('[', file);
    for (int64_t i = 0; i < ints->count; i++) {
        fprintf(file, "%s%s", i > 0 ? ", " : "", hps_number_of_integer(ints->items[i], text));
    }
    fputc(']', file);
}

static void write_word(const hps_key *key, const void *field, FILE *file)
{
    unsigned value;

    memcpy(&value, field, sizeof(value));
    for (const hps_word *word = key->words; word->text != NULL; word++) {
        if (word->value == value) {
            fputs(word->text, file);
        }
    }
}

void hps_value_write(const hps_config *config, const hps_key *key, FILE *file)
{
    const void *field = field_of(config, key);
    char text[HPS_NUMBER_MAX];

    switch (key->type) {
    case HPS_KEY_STRING:
        write_string(*(char *const *)field, file);
        break;
    case HPS_KEY_LIST:
        write_list(field, file);
        break;
    case HPS_KEY_INTS:
        write_ints(field, file);
        break;
    case HPS_KEY_INT:
        fputs(*(const int64_t *)field == HPS_AUTO_INT ? "auto" : hps_number_of_integer(*(const int64_t *)field, text),
              file);
        break;
    case HPS_KEY_REAL:
        fputs(*(const double *)field == HPS_AUTO_REAL ? "auto" : hps_number_of_real(*(const double *)field, text),
              file);
        break;
    case HPS_KEY_BOOL:
        fputs(*(const bool *)field ? "true" : "false", file);
        break;
    case HPS_KEY_WORD:
        write_word(key, field, file);
        break;
    }
}
