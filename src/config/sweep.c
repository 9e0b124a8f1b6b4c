#include "sweep.h"

#include "source.h"

#include "hpsae/base/file.h"
#include "hpsae/base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

hps_status hps_sweep_create(struct hps_sweep **sweep)
{
    if (*sweep != NULL) {
        return HPS_OK;
    }
    HPS_TRY(HPS_ALLOC(sweep, 1, "sweep"));
    HPS_TRY(HPS_ALLOC(&(*sweep)->axis, HPS_SWEEP_AXES_MAX, "sweep"));
    return HPS_ALLOC(&(*sweep)->swept, hps_schema_keys, "sweep");
}

static void clear_choice(hps_choice *choice)
{
    for (int64_t s = 0; choice->set != NULL && s < choice->count; s++) {
        for (int64_t i = 0; choice->set[s].items != NULL && i < choice->set[s].count; i++) {
            HPS_FREE(&choice->set[s].items[i].text);
        }
        HPS_FREE(&choice->set[s].items);
    }
    HPS_FREE(&choice->set);
}

static void clear_axis(hps_axis *axis)
{
    for (int64_t c = 0; axis->choice != NULL && c < axis->count; c++) {
        clear_choice(&axis->choice[c]);
    }
    HPS_FREE(&axis->choice);
}

void hps_sweep_destroy(struct hps_sweep **sweep)
{
    struct hps_sweep *old = *sweep;

    if (old == NULL) {
        return;
    }
    for (int64_t a = 0; old->axis != NULL && a < old->axes; a++) {
        clear_axis(&old->axis[a]);
    }
    clear_axis(&old->list);
    HPS_FREE(&old->axis);
    HPS_FREE(&old->swept);
    HPS_FREE(sweep);
}

hps_status hps_sweep_add_axis(struct hps_sweep *sweep, const hps_place *place, hps_axis **axis)
{
    if (sweep->axes == HPS_SWEEP_AXES_MAX) {
        return hps_place_fail(place, "sweep.axes", "one axis too many; allowed: at most %d", HPS_SWEEP_AXES_MAX);
    }
    *axis = &sweep->axis[sweep->axes++];
    return HPS_OK;
}

/* Points of the grid, at most one more than the most allowed. */
static int64_t grid_points(const struct hps_sweep *sweep)
{
    int64_t points = sweep->axes > 0 ? 1 : 0;

    for (int64_t a = 0; a < sweep->axes && points <= HPS_SWEEP_POINTS_MAX; a++) {
        points *= sweep->axis[a].count;
        points = points > HPS_SWEEP_POINTS_MAX ? HPS_SWEEP_POINTS_MAX + 1 : points;
    }
    return points;
}

int64_t hps_sweep_points(const hps_config *config)
{
    const struct hps_sweep *sweep = config->source->sweep;

    return sweep == NULL ? 0 : grid_points(sweep) + sweep->list.count;
}

/* The settings of point i, in the order of the file, into set [hps_schema_keys]; returns their number. */
static int64_t settings_of(const struct hps_sweep *sweep, int64_t i, const hps_setting **set)
{
    const int64_t grid = grid_points(sweep);
    int64_t count = 0, rest = i, stride = grid;

    if (i >= grid) {
        const hps_choice *choice = &sweep->list.choice[i - grid];
        for (int64_t s = 0; s < choice->count; s++) {
            set[count++] = &choice->set[s];
        }
        return count;
    }
    for (int64_t a = 0; a < sweep->axes; a++) {
        stride /= sweep->axis[a].count;
        const hps_choice *choice = &sweep->axis[a].choice[rest / stride];
        rest %= stride;
        for (int64_t s = 0; s < choice->count; s++) {
            set[count++] = &choice->set[s];
        }
    }
    return count;
}

/* The last part of a key's path, or all of it where another swept key ends alike. */
static const char *short_path(const struct hps_sweep *sweep, int key)
{
    const char *path = hps_schema[key].path, *dot = strrchr(path, '.');

    for (int other = 0; dot != NULL && other < hps_schema_keys; other++) {
        const char *end = strrchr(hps_schema[other].path, '.');
        if (other != key && sweep->swept[other] && end != NULL && strcmp(end, dot) == 0) {
            return path;
        }
    }
    return dot == NULL ? path : dot + 1;
}

static uint64_t fnv1a(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Appends "k8", "objective-plain"; true when the value had to be changed for it. */
static bool append(const char *path, const char *text, char *name, size_t size)
{
    static const char fit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+_";
    const bool number = text[0] >= '0' && text[0] <= '9';
    size_t used = strlen(name);
    bool changed = false;

    snprintf(name + used, size - used, "%s%s%s", used > 0 ? "_" : "", path, number ? "" : "-");
    for (used = strlen(name); *text != '\0' && used + 1 < size; text++) {
        const bool good = strchr(fit, *text) != NULL;
        const bool again = !good && name[used - 1] == '-';
        changed = changed || again || (!good && *text != '-');
        if (!again) {
            name[used++] = *text;
            name[used - 1] = good ? *text : '-';
        }
    }
    used -= name[used - 1] == '-';
    name[used] = '\0';
    return changed || *text != '\0' || used + 1 >= size;
}

static void name_point(const struct hps_sweep *sweep, const int *key, hps_sweep_point *point)
{
    enum { LONGEST = HPS_SWEEP_NAME - 20 };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    bool changed = false;

    point->name[0] = '\0';
    for (int64_t s = 0; s < point->count; s++) {
        changed = append(short_path(sweep, key[s]), point->set[s].text, point->name, LONGEST) || changed;
        hash = fnv1a(fnv1a(fnv1a(hash, point->set[s].path), "="), point->set[s].text);
        hash = fnv1a(hash, "\n");
    }
    if (changed) {
        const size_t used = strlen(point->name);
        snprintf(point->name + used, sizeof(point->name) - used, "-%08" PRIx32, (uint32_t)(hash ^ hash >> 32));
    }
}

/* A key's value as used.yaml writes it. */
static hps_status value_text(const hps_config *config, int key, char **text)
{
    char *buffer = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&buffer, &length);

    if (file == NULL) {
        return hps_fail(HPS_ENOMEM, "no memory for a value of the sweep");
    }
    hps_value_write(config, &hps_schema[key], file);
    const bool bad = fclose(file) != 0;
    const hps_status status =
        bad ? hps_fail(HPS_ENOMEM, "no memory for a value of the sweep") : hps_string_copy(text, buffer, length);
    free(buffer);
    return status;
}

static hps_status place_output(const hps_config *config, hps_sweep_point *point)
{
    char below[HPS_SWEEP_NAME + 8], path[HPS_PATH_MAX];

    snprintf(below, sizeof(below), "points/%s", point->name);
    HPS_TRY(hps_path_join(config->output, below, path));
    HPS_TRY(hps_string_copy(&point->config->output, path, strlen(path)));
    HPS_TRY(hps_string_copy(&point->config->train.resume, "auto", 4));
    return hps_string_copy(&point->config->eval.model, "", 0);
}

static hps_status make(const hps_config *config, int64_t i, const hps_setting **set, int *key, hps_sweep_point *point)
{
    const struct hps_sweep *sweep = config->source->sweep;
    const int64_t count = settings_of(sweep, i, set);

    HPS_TRY(hps_config_copy(config, &point->config));
    HPS_TRY(HPS_ALLOC(&point->set, count, "sweep"));
    for (; point->count < count; point->count++) {
        const hps_setting *s = set[point->count];
        HPS_TRY(hps_value_set(point->config, &hps_schema[s->key], &s->place, s->items, s->count, s->list));
        point->config->source->place[s->key] = s->place;
        point->set[point->count].path = hps_schema[s->key].path;
        HPS_TRY(value_text(point->config, s->key, &point->set[point->count].text));
        key[point->count] = s->key;
    }
    name_point(sweep, key, point);
    return place_output(config, point);
}

hps_status hps_sweep_point_make(const hps_config *config, int64_t i, hps_sweep_point *point)
{
    const hps_setting **set = NULL;
    int *key = NULL;

    *point = (hps_sweep_point){.count = 0};
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): a list of pointers */
    hps_status status = HPS_ALLOC(&set, hps_schema_keys, "sweep");
    if (status == HPS_OK) {
        status = HPS_ALLOC(&key, hps_schema_keys, "sweep");
    }
    if (status == HPS_OK) {
        status = make(config, i, set, key, point);
    }
    HPS_FREE(&set);
    HPS_FREE(&key);
    if (status != HPS_OK) {
        hps_sweep_point_release(point);
    }
    return status;
}

void hps_sweep_point_release(hps_sweep_point *point)
{
    for (int64_t s = 0; point->set != NULL && s < point->count; s++) {
        HPS_FREE(&point->set[s].text);
    }
    HPS_FREE(&point->set);
    hps_config_destroy(&point->config);
    point->count = 0;
}

hps_status hps_sweep_point_blame(const hps_sweep_point *point, hps_status status)
{
    char words[HPS_MESSAGE_MAX];

    snprintf(words, sizeof(words), "%s", hps_status_message());
    return status == HPS_OK
               ? HPS_OK
               : hps_fail(status, "%.*s (point %s)", HPS_MESSAGE_MAX - HPS_SWEEP_NAME - 16, words, point->name);
}

/* As train and eval look at it. */
static hps_status check_as_commands(hps_config *config)
{
    static const char *const commands[] = {"train", "eval"};

    if (config->train.groups == HPS_AUTO_INT) {
        return hps_config_fail(
            config, "train.groups",
            "auto, but the bits of a point must not depend on the ranks that it gets; allowed: a number");
    }
    for (int i = 0; i < 2; i++) {
        config->source->command = hps_schema_command(commands[i]);
        HPS_TRY(hps_config_check(config, commands[i]));
    }
    return HPS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Checks point i; its name into `name`. */
static hps_status check_point(const hps_config *config, int64_t i, char *name)
{
    hps_sweep_point point;

    HPS_TRY(hps_sweep_point_make(config, i, &point));
    strcpy(name, point.name);
    const hps_status status = hps_sweep_point_blame(&point, check_as_commands(point.config));
    hps_sweep_point_release(&point);
    return status;
}

static hps_status check_points(const hps_config *config, char (*name)[HPS_SWEEP_NAME], char **order)
{
    const int64_t count = hps_sweep_points(config);

    for (int64_t i = 0; i < count; i++) {
        HPS_TRY(check_point(config, i, name[i]));
        order[i] = name[i];
    }
    qsort(order, (size_t)count, sizeof(*order), by_name);
    for (int64_t i = 1; i < count; i++) {
        if (strcmp(order[i], order[i - 1]) == 0) {
            return hps_place_fail(&config->source->sweep->place, "sweep", "the point %s is given twice; keep one",
                                  order[i]);
        }
    }
    return HPS_OK;
}

static hps_status check_overrides(const hps_config *config)
{
    const struct hps_sweep *sweep = config->source->sweep;

    for (int key = 0; key < hps_schema_keys; key++) {
        if (sweep->swept[key] && config->source->place[key].said != NULL) {
            return hps_config_fail(config, hps_schema[key].path,
                                   "the sweep takes values of its own for it; leave one of the two out");
        }
    }
    return HPS_OK;
}

static hps_status check_base(const hps_config *config, int64_t count)
{
    const hps_place *place = &config->source->sweep->place;

    if (count > HPS_SWEEP_POINTS_MAX) {
        return hps_place_fail(place, "sweep", "more points than can be; allowed: at most %d", HPS_SWEEP_POINTS_MAX);
    }
    if (strcmp(config->train.resume, "auto") != 0) {
        return hps_config_fail(config, "train.resume", "a sweep goes on where it stopped; allowed: auto");
    }
    if (config->ensemble.method != HPS_ENSEMBLE_NONE) {
        return hps_config_fail(config, "ensemble.method",
                               "a point of a sweep is one dictionary; allowed: none, and sweep train.weight_seed");
    }
    return check_overrides(config);
}

hps_status hps_sweep_check(const hps_config *config)
{
    const int64_t count = hps_sweep_points(config);
    char(*name)[HPS_SWEEP_NAME] = NULL;
    char **order = NULL;

    if (count == 0) {
        return hps_place_fail(&config->source->place[hps_schema_find("sweep.ranks")], "sweep.axes",
                              "missing, and 'sweep' needs it, or sweep.zip or sweep.list; allowed: keys with lists of "
                              "values, {model.k: [8, 32]}");
    }
    HPS_TRY(check_base(config, count));
    hps_status status = HPS_ALLOC(&name, count, "names of points");
    if (status == HPS_OK) {
        status = HPS_ALLOC(&order, count, "names of points");
    }
    if (status == HPS_OK) {
        status = check_points(config, name, order);
    }
    HPS_FREE(&name);
    HPS_FREE(&order);
    return status;
}
