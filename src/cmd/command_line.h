/*
 * The command line: hpsae COMMAND CONFIG.yaml [-s section.key=value]... [--dry-run] [--json].
 */
#ifndef HPSAE_CMD_COMMAND_LINE_H
#define HPSAE_CMD_COMMAND_LINE_H

#include "command.h"

/* A subcommand, as main's table lists it. */
typedef struct {
    const char *name;
    hps_status (*run)(hps_context *context); /* NULL: main runs it before it starts MPI */
    bool configured;  /* takes a configuration, which it cannot do without; else any file, or none */
    const char *does; /* one line */
} hps_command;

extern const hps_command hps_commands[]; /* ended by a NULL name */

typedef enum { HPS_ASKS_NOTHING, HPS_ASKS_HELP, HPS_ASKS_VERSION, HPS_ASKS_KEYS } hps_question;

typedef struct {
    const hps_command *command; /* NULL: none named */
    const char *path;           /* the file; NULL: none named */
    const char **overrides;     /* [count]; owned, free with HPS_FREE */
    int count;
    bool dry_run, json;
    int stage;               /* of train; 0: not given */
    int64_t point;           /* of sweep; -1: not given */
    hps_bench_options bench; /* what is asked of it; output: where --json named a file */
    const char *only_bench;  /* an option that was given and that only bench knows; NULL: none */
    hps_question question;
} hps_command_line;

/*
 * Local.  Parses argv, which may be permuted; prints nothing.  Every rank gets the same result.  Errors: HPS_EARG with
 * what is wrong and what is allowed; HPS_ENOMEM.
 */
hps_status hps_command_line_parse(int argc, char **argv, hps_command_line *line);

/* Local.  Prints what was asked: help (of the command, if one was named), version, or the keys of the configuration. */
void hps_command_line_answer(const hps_command_line *line);

#endif
