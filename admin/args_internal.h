/*
 * What args.c (words in their places) and args_options.c (options, and the values that filter connections)
 * share. Control thread.
 */
#ifndef ADMIN_ARGS_INTERNAL_H
#define ADMIN_ARGS_INTERNAL_H

#include "admin/admin_internal.h"

/* One reading: the words that are left, and what was made of those before. */
struct args_reader {
    struct admin *admin;
    const struct command *command;
    const char *word[TOKENS_MAX];
    size_t len, at;
    const char *option[COMMAND_ARGS_MAX]; /* by argument: the value given; NULL: none */
    struct command_values *out;
    struct err_text *err;
};

/* "usage: start SERVICE …: what is wrong". Returns ERR_INVALID. */
int args_refuse_usage(struct args_reader *reader, const char *what, const char *word);
/* All: 0, or a code with err set. The service is known. */
MUST_CHECK int args_read_group(struct args_reader *reader, const char *word);
/* SERVICE/GROUP/BACKEND. */
MUST_CHECK int args_read_backend(struct args_reader *reader, const char *word);
MUST_CHECK int args_read_value(struct args_reader *reader, const struct command_arg *arg, const char *word);

/* Takes the options with their values out of the words, wherever they stand. */
MUST_CHECK int args_take_options(struct args_reader *reader);
/* Reads what was taken; after the other arguments, which some options lean on. */
MUST_CHECK int args_read_options(struct args_reader *reader);
bool args_is_option(const struct command_arg *arg);
/* The types that say which connections are meant. */
MUST_CHECK int args_read_filter(struct args_reader *reader, const struct command_arg *arg, const char *word);

#endif
