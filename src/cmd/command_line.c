#include "command_line.h"

#include "hpsae/base/build.h"
#include "hpsae/base/memory.h"
#include "hpsae/config/sweep.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_JSON = 256,
    OPTION_KEYS,
    OPTION_COMPARE,
    OPTION_COPIES,
    OPTION_CALIBRATE,
    OPTION_PLAN,
    OPTION_SECONDS,
    OPTION_STAGE,
    OPTION_POINT
};

static const struct argp_option options[] = {
    {"set", 's', "SECTION.KEY=VALUE", 0, "Override a key of the configuration (may be repeated)", 0},
    {"dry-run", 'n', NULL, 0, "Check everything, write nothing", 0},
    {"json", OPTION_JSON, "FILE", OPTION_ARG_OPTIONAL,
     "Print the result as one JSON object on stdout, the log on stderr; bench: or write it to FILE", 0},
    {"stage", OPTION_STAGE, "J", 0, "train: only stage J of a boosted ensemble, from 1", 0},
    {"point", OPTION_POINT, "I", 0, "sweep: only point I, from 0, by all ranks (for job arrays)", 0},
    {"compare", OPTION_COMPARE, NULL, 0, "bench: every backend in turn, on one set of parameters", 0},
    {"copies", OPTION_COPIES, NULL, 0, "bench: all ranks as one job and as independent copies, in turn", 0},
    {"calibrate", OPTION_CALIBRATE, "FILE", 0, "bench: measure many sizes and write what `hpsae plan` reads", 0},
    {"plan", OPTION_PLAN, NULL, 0,
     "bench: beside the step what `plan` expects by train.calibration, or assumed figures", 0},
    {"seconds", OPTION_SECONDS, "S", 0, "bench: about how long each part measures", 0},
    {"help-config", OPTION_KEYS, NULL, 0, "Print every key: default, what is allowed, meaning", 1},
    {"help", 'h', NULL, 0, "Print this help", 1},
    {NULL, '?', NULL, OPTION_ALIAS, NULL, 1},
    {"version", 'V', NULL, 0, "Print version, compiler, libraries", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};

typedef struct {
    hps_command_line *line;
    hps_status status;
    const char *last; /* what was looked at when the parser gave up */
} parsing;

static hps_status refuse_command(const char *name)
{
    char known[128] = "";

    for (const hps_command *command = hps_commands; command->name != NULL; command++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s%s", used > 0 ? " | " : "", command->name);
    }
    return hps_fail(HPS_EARG, "%.40s: unknown command; allowed: %s", name, known);
}

static hps_status take_argument(hps_command_line *line, const char *argument)
{
    if (line->command == NULL) {
        for (const hps_command *command = hps_commands; command->name != NULL; command++) {
            if (strcmp(command->name, argument) == 0) {
                line->command = command;
                return HPS_OK;
            }
        }
        return refuse_command(argument);
    }
    if (line->path != NULL) {
        return hps_fail(HPS_EARG, "%.200s: one file too many after %.200s; allowed: hpsae %s FILE [options]", argument,
                        line->path, line->command->name);
    }
    line->path = argument;
    return HPS_OK;
}

/* An option of bench. */
static hps_status take_bench(hps_command_line *line, int key, char *argument)
{
    hps_bench_options *bench = &line->bench;
    char *end;

    switch (key) {
    case OPTION_COMPARE:
        bench->compare = true;
        line->only_bench = "--compare";
        break;
    case OPTION_COPIES:
        bench->copies = true;
        line->only_bench = "--copies";
        break;
    case OPTION_CALIBRATE:
        bench->calibrate = argument;
        line->only_bench = "--calibrate";
        break;
    case OPTION_PLAN:
        bench->plan = true;
        line->only_bench = "--plan";
        break;
    default:
        bench->seconds = strtod(argument, &end);
        line->only_bench = "--seconds";
        if (*end != '\0' || end == argument || !(bench->seconds > 0 && bench->seconds <= 86400)) {
            return hps_fail(HPS_EARG, "--seconds %.40s: allowed: a number above 0, at most 86400", argument);
        }
    }
    return HPS_OK;
}

static hps_status take_stage(hps_command_line *line, const char *argument)
{
    char *end;
    const long stage = strtol(argument, &end, 10);

    if (*end != '\0' || end == argument || stage < 1 || stage > HPS_MEMBERS_MAX) {
        return hps_fail(HPS_EARG, "--stage %.40s: allowed: a whole number from 1 to %d", argument, HPS_MEMBERS_MAX);
    }
    line->stage = (int)stage;
    return HPS_OK;
}

static hps_status take_point(hps_command_line *line, const char *argument)
{
    char *end;
    const long point = strtol(argument, &end, 10);

    if (*end != '\0' || end == argument || point < 0 || point >= HPS_SWEEP_POINTS_MAX) {
        return hps_fail(HPS_EARG, "--point %.40s: allowed: a whole number from 0 to %d", argument,
                        HPS_SWEEP_POINTS_MAX - 1);
    }
    line->point = point;
    return HPS_OK;
}

static error_t take(int key, char *argument, struct argp_state *state)
{
    parsing *p = state->input;

    switch (key) {
    case 's':
        p->line->overrides[p->line->count++] = argument;
        return 0;
    case 'n':
        p->line->dry_run = true;
        return 0;
    case OPTION_JSON:
        p->line->json = true;
        p->line->bench.output = argument;
        p->line->only_bench = argument != NULL ? "--json=FILE" : p->line->only_bench;
        return 0;
    case OPTION_COMPARE:
    case OPTION_COPIES:
    case OPTION_CALIBRATE:
    case OPTION_PLAN:
    case OPTION_SECONDS:
        p->status = take_bench(p->line, key, argument);
        return p->status == HPS_OK ? 0 : EINVAL;
    case OPTION_STAGE:
        p->status = take_stage(p->line, argument);
        return p->status == HPS_OK ? 0 : EINVAL;
    case OPTION_POINT:
        p->status = take_point(p->line, argument);
        return p->status == HPS_OK ? 0 : EINVAL;
    case OPTION_KEYS:
        p->line->question = HPS_ASKS_KEYS;
        return 0;
    case 'h':
    case '?':
        p->line->question = HPS_ASKS_HELP;
        return 0;
    case 'V':
        p->line->question = HPS_ASKS_VERSION;
        return 0;
    case ARGP_KEY_ARG:
        p->status = take_argument(p->line, argument);
        return p->status == HPS_OK ? 0 : EINVAL;
    case ARGP_KEY_ERROR:
        p->last = state->next > 0 ? state->argv[state->next - 1] : "";
        return ARGP_ERR_UNKNOWN;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {options, take, NULL, NULL, NULL, NULL, NULL};

static hps_status check(const hps_command_line *line)
{
    if (line->question != HPS_ASKS_NOTHING) {
        return HPS_OK;
    }
    if (line->command == NULL) {
        return hps_fail(HPS_EARG, "no command; 'hpsae --help' lists them");
    }
    if (line->command->run == NULL) {
        return hps_fail(HPS_EARG, "%s comes first; usage: hpsae %s CONFIG.yaml [options]", line->command->name,
                        line->command->name);
    }
    const bool bench = strcmp(line->command->name, "bench") == 0;
    if (line->only_bench != NULL && !bench) {
        return hps_fail(HPS_EARG, "%s: only 'hpsae bench' takes it", line->only_bench);
    }
    if (line->stage > 0 && strcmp(line->command->name, "train") != 0) {
        return hps_fail(HPS_EARG, "--stage: only 'hpsae train' takes it");
    }
    if (line->point >= 0 && strcmp(line->command->name, "sweep") != 0) {
        return hps_fail(HPS_EARG, "--point: only 'hpsae sweep' takes it");
    }
    if (line->path == NULL && line->command->configured && !bench) {
        return hps_fail(HPS_EARG, "no configuration; usage: hpsae %s CONFIG.yaml [-s section.key=value]...",
                        line->command->name);
    }
    if (line->count > 0 && !line->command->configured) {
        return hps_fail(HPS_EARG, "-s: '%s' takes no configuration to override", line->command->name);
    }
    return HPS_OK;
}

hps_status hps_command_line_parse(int argc, char **argv, hps_command_line *line)
{
    parsing p = {line, HPS_OK, ""};

    memset(line, 0, sizeof(*line));
    line->point = -1;
    HPS_TRY(HPS_ALLOC(&line->overrides, argc, "command line"));
    const error_t error = argp_parse(&parser, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT, NULL, &p);
    if (p.status != HPS_OK) {
        return p.status;
    }
    if (error != 0) {
        return hps_fail(HPS_EARG, "%.200s: unknown option, or its value is missing or not wanted; see 'hpsae --help'",
                        p.last);
    }
    return check(line);
}

static void print_version(void)
{
    hps_fact facts[HPS_BUILD_FACTS];

    hps_build_facts(facts);
    printf("hpsae %s\n", facts[0].text);
    for (int i = 1; i < HPS_BUILD_FACTS; i++) {
        printf("  %-13s %s\n", facts[i].name, facts[i].text);
    }
}

static void print_help(const hps_command *only)
{
    struct argp help = parser;
    char name[64] = "hpsae",
         text[2048] = "Sparse autoencoders trained on stored activations, exactly, on many ranks.\v";

    help.args_doc = "COMMAND CONFIG.yaml";
    help.doc = text;
    if (only != NULL) {
        snprintf(name, sizeof(name), "hpsae %s", only->name);
        help.args_doc = strcmp(only->name, "bench") == 0 ? "[CONFIG.yaml]"
                        : only->configured               ? "CONFIG.yaml"
                                                         : "[FILE]";
        snprintf(text, sizeof(text), "%s", only->does);
    } else {
        strcat(text, "Commands:\n");
        for (const hps_command *command = hps_commands; command->name != NULL; command++) {
            const size_t used = strlen(text);
            snprintf(text + used, sizeof(text) - used, "  %-8s %s\n", command->name, command->does);
        }
        strcat(text, "\nExit status: 0 done, 1 a fault of the program or the machine, 2 something to mend, "
                     "75 stopped early with a checkpoint.\n'hpsae COMMAND --help-config' prints the keys of its "
                     "configuration.");
    }
    argp_help(&help, stdout, ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC, name);
}

void hps_command_line_answer(const hps_command_line *line)
{
    switch (line->question) {
    case HPS_ASKS_HELP:
        print_help(line->command);
        break;
    case HPS_ASKS_VERSION:
        print_version();
        break;
    case HPS_ASKS_KEYS:
        hps_config_help(stdout, line->command != NULL && line->command->configured ? line->command->name : NULL);
        break;
    case HPS_ASKS_NOTHING:
        break;
    }
}
