/*
 * Arguments by the table: words in, typed values out, so that a handler never sees text that was not
 * checked. A refusal names the nearest name that exists, or lists what there is. Control thread. Roles and
 * audit are left to admin/dispatch.c.
 */
#include "admin/args_internal.h"
#include "core/clock.h"
#include "core/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LISTED_MAX 12u /* names in a message; the rest becomes "…" */

typedef const char *name_fn(const void *context, size_t index);

static const char *service_name_at(const void *context, size_t index)
{
    return ((const struct admin *)context)->options.services[index].name;
}

static const char *group_name_at(const void *context, size_t index)
{
    const struct routing *routing = context;
    return routing_group_is_gone(routing, index) ? NULL : routing_group_name(routing, index);
}

static const char *command_name_at(const void *context, size_t index)
{
    (void)context;
    return commands_table()[index].name;
}

struct group_of_routing {
    const struct routing *routing;
    size_t group;
};

static const char *backend_name_at(const void *context, size_t index)
{
    const struct group_of_routing *of = context;
    return backend_name(routing_backend_at(of->routing, of->group, index));
}

/* "no service "wbe" (did you mean "web"?)", or the list of names when none is near. Returns ERR_NOT_FOUND. */
static int refuse_unknown(struct err_text *err, const char *what, const char *text, name_fn *name,
                          const void *context, size_t n)
{
    const char **names = calloc(n + 1, sizeof(*names));
    if (names == NULL) {
        return err_set(err, ERR_NOT_FOUND, "no %s \"%.100s\"", what, text);
    }
    size_t all = n;
    n = 0;
    for (size_t i = 0; i < all; i++) {
        names[n] = name(context, i); /* NULL: not there any more */
        n += names[n] != NULL;
    }
    const char *near = units_nearest(text, names, n);
    char list[300] = "";
    size_t used = 0;
    for (size_t i = 0; i < n && i < LISTED_MAX && used < sizeof(list) - 1; i++) {
        int wrote = snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "", names[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    free(names);
    if (near != NULL) {
        return err_set(err, ERR_NOT_FOUND, "no %s \"%.100s\" (did you mean \"%s\"?)", what, text, near);
    }
    return err_set(err, ERR_NOT_FOUND, "no %s \"%.100s\"; there %s: %s%s", what, text, n == 1 ? "is" : "are",
                   list, n > LISTED_MAX || used >= sizeof(list) ? ", …" : "");
}

int args_find_service(const struct admin *admin, const char *name, const struct admin_service **out,
                      struct err_text *err)
{
    for (size_t i = 0; i < admin->options.services_len; i++) {
        if (strcmp(admin->options.services[i].name, name) == 0) {
            *out = &admin->options.services[i];
            return ERR_OK;
        }
    }
    return refuse_unknown(err, "service", name, service_name_at, admin, admin->options.services_len);
}

int args_find_command(const char *name, const struct command **out, struct err_text *err)
{
    *out = commands_find(name);
    if (*out != NULL) {
        return ERR_OK;
    }
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = command_name_at(NULL, i);
    }
    const char *near = units_nearest(name, names, COMMAND_COUNT);
    if (near != NULL) {
        return err_set(err, ERR_NOT_FOUND, "unknown command \"%.100s\" (did you mean \"%s\"?)", name, near);
    }
    return err_set(err, ERR_NOT_FOUND, "unknown command \"%.100s\"; help lists them", name);
}

/* "usage: start SERVICE …: what is wrong". Returns ERR_INVALID. */
int args_refuse_usage(struct args_reader *reader, const char *what, const char *word)
{
    char usage[200] = "";
    FILE *out = fmemopen(usage, sizeof(usage), "w");
    if (out != NULL) {
        commands_write_usage(out, reader->command);
        (void)fclose(out);
    }
    return err_set(reader->err, ERR_INVALID, "usage: %s: %s%.100s", usage, what, word);
}

int args_read_group(struct args_reader *reader, const char *word)
{
    struct routing *routing = reader->out->service->routing;
    reader->out->group = routing_find_group(routing, word);
    if (reader->out->group != ROUTING_NONE) {
        return ERR_OK;
    }
    return refuse_unknown(reader->err, "group", word, group_name_at, routing, routing_groups(routing));
}

/* A host name of the configuration is none of the backends that it stands for. */
static bool is_host(const struct admin_service *service, const char *group, const char *word)
{
    for (size_t i = 0; service->names != NULL && i < names_count(service->names); i++) {
        if (strcmp(names_backend(service->names, i), word) == 0 &&
            strcmp(names_group(service->names, i), group) == 0) {
            return true;
        }
    }
    return false;
}

/* SERVICE/GROUP/BACKEND; the backend's name may hold slashes (a Unix path), the others cannot. */
int args_read_backend(struct args_reader *reader, const char *word)
{
    char service[ROUTING_NAME_MAX];
    char group[ROUTING_NAME_MAX];
    const char *first = strchr(word, '/');
    const char *second = first != NULL ? strchr(first + 1, '/') : NULL;
    if (second == NULL || second[1] == '\0' || (size_t)(first - word) >= sizeof(service) ||
        (size_t)(second - first) > sizeof(group)) {
        return err_set(reader->err, ERR_PARSE, "\"%.100s\" is not SERVICE/GROUP/BACKEND; status shows them",
                       word);
    }
    (void)snprintf(service, sizeof(service), "%.*s", (int)(first - word), word);
    (void)snprintf(group, sizeof(group), "%.*s", (int)(second - first - 1), first + 1);
    int code = args_find_service(reader->admin, service, &reader->out->service, reader->err);
    if (code == ERR_OK) {
        code = args_read_group(reader, group);
    }
    if (code != ERR_OK) {
        return code;
    }
    struct group_of_routing of = {reader->out->service->routing, reader->out->group};
    reader->out->backend = routing_find_backend(of.routing, of.group, second + 1);
    if (reader->out->backend != NULL) {
        return ERR_OK;
    }
    if (is_host(reader->out->service, group, second + 1)) {
        return err_set(
            reader->err, ERR_NOT_FOUND,
            "\"%.100s\" is a host name: say which of its addresses, %.60s/%.60s/%.100s@ADDRESS; status "
            "shows them",
            second + 1, service, group, second + 1);
    }
    return refuse_unknown(reader->err, "backend", second + 1, backend_name_at, &of,
                          routing_backends(of.routing, of.group));
}

static int read_choice(struct args_reader *reader, const struct command_arg *arg, const char *word)
{
    for (unsigned i = 0; arg->choices[i] != NULL; i++) {
        if (strcmp(arg->choices[i], word) == 0) {
            reader->out->choice = i;
            reader->out->choice_given = true;
            return ERR_OK;
        }
    }
    return err_set(reader->err, ERR_PARSE, "\"%.100s\" is not one of %s", word, arg->name);
}

/* The numbers: one message each, since what is accepted differs. */
static int read_number(struct args_reader *reader, const struct command_arg *arg, const char *word)
{
    struct command_values *out = reader->out;
    uint64_t value = 0;
    int code = ERR_OK;
    switch (arg->type) {
    case COMMAND_ARG_SHARE:
        code = units_parse_share(word, true, &out->share_bp);
        out->share_given = true;
        return code == ERR_OK
                   ? code
                   : err_set(reader->err, code,
                             "\"%.100s\" is not a share: 0%% to 100%%, at most two decimals", word);
    case COMMAND_ARG_WEIGHT:
        code = units_parse_count(word, ROUTING_WEIGHT_MAX, &value);
        out->weight = (uint32_t)value;
        return code == ERR_OK ? code
                              : err_set(reader->err, code, "\"%.100s\" is not a weight: 0 to %u", word,
                                        ROUTING_WEIGHT_MAX);
    case COMMAND_ARG_DURATION:
        code = units_parse_duration(word, &out->duration_us);
        return code == ERR_OK
                   ? code
                   : err_set(reader->err, code, "\"%.100s\" is not a duration: as 500ms, 30s, 5m, 1h", word);
    default:
        code = units_parse_count(word, COMMAND_COUNT_MAX, &out->count);
        if (code == ERR_OK && out->count > 0) {
            return code;
        }
        return err_set(reader->err, code == ERR_OK ? ERR_RANGE : code,
                       "\"%.100s\" is not a number from 1 to %u", word, COMMAND_COUNT_MAX);
    }
}

int args_read_value(struct args_reader *reader, const struct command_arg *arg, const char *word)
{
    switch (arg->type) {
    case COMMAND_ARG_SERVICE:
        return args_find_service(reader->admin, word, &reader->out->service, reader->err);
    case COMMAND_ARG_GROUP:
        return args_read_group(reader, word);
    case COMMAND_ARG_BACKEND:
        return args_read_backend(reader, word);
    case COMMAND_ARG_CHOICE:
        return read_choice(reader, arg, word);
    case COMMAND_ARG_COMMAND:
        return args_find_command(word, &reader->out->command, reader->err);
    case COMMAND_ARG_SHARE:
    case COMMAND_ARG_WEIGHT:
    case COMMAND_ARG_DURATION:
    case COMMAND_ARG_COUNT:
    case COMMAND_ARG_FORCE:
    case COMMAND_ARG_MIGRATION:
    case COMMAND_ARG_END:
        break;
    case COMMAND_ARG_VICTIM:
    case COMMAND_ARG_OLDER:
    case COMMAND_ARG_LAST:
    case COMMAND_ARG_STEP:
    case COMMAND_ARG_AT:
    case COMMAND_ARG_IDLE:
    case COMMAND_ARG_CLIENT:
    case COMMAND_ARG_PLACE:
    case COMMAND_ARG_RATE:
    case COMMAND_ARG_LIMIT:
        return args_read_filter(reader, arg, word);
    }
    return read_number(reader, arg, word);
}

/* `events 5`: a word that is no service but a good value for the argument behind it belongs to that one. */
static bool belongs_to_next(struct args_reader *reader, const struct command_arg *arg, const char *word)
{
    uint64_t ignored;
    return arg->optional && arg->type == COMMAND_ARG_SERVICE && arg[1].type == COMMAND_ARG_COUNT &&
           units_parse_count(word, UINT64_MAX, &ignored) != ERR_PARSE &&
           args_find_service(reader->admin, word, &reader->out->service, NULL) != ERR_OK;
}

static int read_argument(struct args_reader *reader, const struct command_arg *arg)
{
    const char *word = reader->at < reader->len ? reader->word[reader->at] : NULL;
    if (word != NULL && arg->keyword != NULL) {
        if (strcmp(word, arg->keyword) != 0) {
            return arg->optional ? ERR_OK : args_refuse_usage(reader, "missing ", arg->keyword);
        }
        reader->at++;
        if (reader->at == reader->len) {
            return args_refuse_usage(reader, "a value must follow ", arg->keyword);
        }
        word = reader->word[reader->at];
    }
    if (word == NULL) {
        return arg->optional ? ERR_OK : args_refuse_usage(reader, "missing ", arg->name);
    }
    if (arg->type == COMMAND_ARG_MIGRATION) {
        reader->out->migration = word;
        reader->at++;
        return ERR_OK;
    }
    if (arg->type == COMMAND_ARG_FORCE) {
        reader->out->force = strcmp(word, arg->name) == 0;
        reader->at += reader->out->force ? 1 : 0;
        return ERR_OK;
    }
    if (belongs_to_next(reader, arg, word)) {
        return ERR_OK;
    }
    reader->at++;
    return args_read_value(reader, arg, word);
}

/* Takes --json and reason "TEXT" out of the words. */
static int read_options(struct args_reader *reader, const struct tokens *tokens)
{
    size_t len = tokens->len;
    if (reader->command->changes && len >= 2 && strcmp(tokens->word[len - 2], "reason") == 0) {
        reader->out->reason = tokens->word[len - 1];
        if (strlen(reader->out->reason) > COMMAND_REASON_MAX) {
            return err_set(reader->err, ERR_RANGE, "the reason is longer than %u bytes", COMMAND_REASON_MAX);
        }
        len -= 2;
    }
    for (size_t i = 1; i < len; i++) {
        if (strcmp(tokens->word[i], "--json") != 0) {
            reader->word[reader->len++] = tokens->word[i];
        } else if (reader->command->changes) {
            return args_refuse_usage(reader, "--json is for commands that show something; see ",
                                     "status --json");
        } else {
            reader->out->json = true;
        }
    }
    return ERR_OK;
}

int args_read(struct admin *admin, const struct command *command, const struct tokens *tokens,
              struct command_values *out, struct err_text *err)
{
    struct args_reader reader = {.admin = admin, .command = command, .out = out, .err = err};
    *out = (struct command_values){.group = ROUTING_NONE, .duration_us = CLOCK_NEVER};
    int code = read_options(&reader, tokens);
    if (code == ERR_OK) {
        code = args_take_options(&reader);
    }
    for (const struct command_arg *arg = command->args; code == ERR_OK && arg->type != COMMAND_ARG_END;
         arg++) {
        code = args_is_option(arg) ? ERR_OK : read_argument(&reader, arg);
    }
    if (code == ERR_OK) {
        code = args_read_options(&reader);
    }
    if (code == ERR_OK && reader.at < reader.len) {
        const char *word = reader.word[reader.at];
        if (strcmp(word, "reason") == 0 && command->changes) {
            return args_refuse_usage(&reader, "the reason is one word in double quotes, at the end", "");
        }
        return args_refuse_usage(&reader, "too much: ", word);
    }
    return code;
}
