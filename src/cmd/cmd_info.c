#include "command.h"
#include "info_file.h"

#include "hpsae/base/build.h"
#include "hpsae/kernels/kernels.h"

#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The names, each once, in the order in which the instruction sets grow. */
static json_t *backends(int count, const hps_kernels *const *all)
{
    json_t *names = json_array();

    for (int i = 0; i < count; i++) {
        if (i == 0 || strcmp(all[i]->name, all[0]->name) != 0) {
            json_array_append_new(names, json_string(all[i]->name));
        }
    }
    if (hps_kernels_device() != NULL) {
        json_array_append_new(names, json_string(hps_kernels_device()->name));
    }
    return names;
}

static hps_status about_program(const hps_context *context, json_t **about)
{
    const hps_kernels *kernels;
    const hps_kernels *all[HPS_KERNELS_MAX];
    hps_fact facts[HPS_BUILD_FACTS];

    HPS_TRY(hps_kernels_choose(HPS_BACKEND_AUTO, &kernels));
    *about = json_object();
    hps_build_facts(facts);
    for (int i = 0; i < HPS_BUILD_FACTS; i++) {
        json_object_set_new(*about, facts[i].name, json_string(facts[i].text));
    }
    json_object_set_new(*about, "backend", json_string(kernels->name));
    json_object_set_new(*about, "backends", backends(hps_kernels_all(all), all));
    json_object_set_new(*about, "ranks", json_integer(context->size));
    json_object_set_new(*about, "threads", json_integer(omp_get_max_threads()));
    return HPS_OK;
}

static void print_value(const json_t *value)
{
    if (json_is_string(value)) {
        printf("%s\n", json_string_value(value));
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("%s\n", text == NULL ? "?" : text);
        free(text);
    }
}

/* For people: one pair a line; for programs: one object. */
static void print(const json_t *about, bool json)
{
    const char *name;
    json_t *value;

    if (json) {
        json_dumpf(about, stdout, JSON_PRESERVE_ORDER | JSON_COMPACT);
        printf("\n");
        return;
    }
    json_object_foreach ((json_t *)(uintptr_t)about, name, value) {
        printf("%-13s ", name);
        print_value(value);
    }
}

hps_status hps_cmd_info(hps_context *context)
{
    json_t *about = NULL;

    HPS_TRY(context->path != NULL ? hps_info_file(context, &about) : about_program(context, &about));
    if (context->rank == 0) {
        print(about, context->json);
    }
    json_decref(about);
    return HPS_OK;
}
