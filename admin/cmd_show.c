/*
 * The commands that tell about the program and its past: help, events, watch, show. Control thread. Status
 * is in cmd_status.c.
 */
#include "admin/admin_internal.h"
#include "core/confinement.h"
#include "core/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENTS_DEFAULT 20u

static json_t *json_of_command(const struct command *command)
{
    char usage[200] = "";
    FILE *out = fmemopen(usage, sizeof(usage), "w");
    if (out == NULL) {
        return NULL;
    }
    commands_write_usage(out, command);
    (void)fclose(out);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b}", "name", command->name, "usage", usage, "summary",
                     command->summary, "help", command->help, "role", commands_role_name(command->role),
                     "changes", (int)command->changes);
}

int cmd_help(struct command_call *call, struct err_text *err)
{
    (void)err;
    const struct command *one = call->values.command;
    if (!call->values.json && one != NULL) {
        commands_write_help(call->reply, one);
        return ERR_OK;
    }
    if (!call->values.json) {
        commands_write_list(call->reply, call->peer->role);
        return ERR_OK;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &commands_table()[i];
        if (one != NULL ? command == one : commands_allowed(command, call->peer->role)) {
            (void)json_array_append_new(list, json_of_command(command));
        }
    }
    return render_json_write(call->reply, json_pack("{s:o}", "commands", list));
}

/* The newest n events of a service (NULL: all), oldest first; owned by the caller. */
static struct events_entry *read_events(const struct admin *admin, const char *service, size_t n, size_t *got)
{
    struct events_entry *entries = calloc(n, sizeof(*entries));
    if (entries != NULL) {
        *got = events_latest(admin->options.events, service, entries, n);
    }
    return entries;
}

int cmd_events(struct command_call *call, struct err_text *err)
{
    size_t n = call->values.count != 0 ? call->values.count : EVENTS_DEFAULT;
    const char *service = call->values.service != NULL ? call->values.service->name : NULL;
    size_t got = 0;
    struct events_entry *entries = read_events(call->admin, service, n, &got);
    if (entries == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for %zu events", n);
    }
    int code = ERR_OK;
    if (call->values.json) {
        json_t *list = json_array();
        for (size_t i = 0; i < got; i++) {
            (void)json_array_append_new(list, render_json_event(&entries[i]));
        }
        code = render_json_write(call->reply, json_pack("{s:o}", "events", list));
    } else {
        for (size_t i = 0; i < got; i++) {
            render_event(call->reply, &entries[i]);
        }
    }
    free(entries);
    return code;
}

int cmd_watch(struct command_call *call, struct err_text *err)
{
    (void)err;
    const struct admin_service *service = call->values.service;
    call->follow->kind = COMMAND_FOLLOW_WATCH;
    call->follow->json = call->values.json;
    call->follow->seen = events_last_number(call->admin->options.events);
    if (service != NULL) {
        (void)snprintf(call->follow->service, sizeof(call->follow->service), "%s", service->name);
    }
    /* It begins with where things stand; with --json every line is an event, so there it does not. */
    for (size_t i = 0; i < call->admin->options.services_len && !call->values.json; i++) {
        if (service == NULL || service == &call->admin->options.services[i]) {
            render_service_line(call->reply, &call->admin->options.services[i]);
        }
    }
    return ERR_OK;
}

bool cmd_watch_step(struct admin *admin, struct command_followed *follow, FILE *reply)
{
    uint64_t last = events_last_number(admin->options.events);
    const char *service = follow->service[0] != '\0' ? follow->service : NULL;
    size_t got = 0;
    if (last == follow->seen) {
        return false;
    }
    uint64_t fresh = last - follow->seen;
    if (fresh > COMMAND_COUNT_MAX) {
        fresh = COMMAND_COUNT_MAX;
    }
    struct events_entry *entries = read_events(admin, service, (size_t)fresh, &got);
    for (size_t i = 0; entries != NULL && i < got; i++) {
        if (entries[i].number <= follow->seen) {
            continue;
        }
        if (!follow->json) {
            render_event(reply, &entries[i]);
        } else if (render_json_write(reply, render_json_event(&entries[i])) != ERR_OK) {
            break;
        }
    }
    follow->seen = entries != NULL ? last : follow->seen;
    free(entries);
    return false;
}

/* `show settings --json`: the lines "path = value  # default: …" as one object. */
static json_t *json_of_settings(char *lines)
{
    json_t *object = json_object();
    char *rest = NULL;
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *value = strstr(line, " = ");
        if (value == NULL) {
            continue;
        }
        char *end = value;
        while (end > line && end[-1] == ' ') {
            end--;
        }
        char *comment = strstr(value, "  #");
        if (comment != NULL) {
            *comment = '\0';
        }
        *end = '\0';
        (void)json_object_set_new(object, line, render_json_text(value + 3));
    }
    return json_pack("{s:o}", "settings", object);
}

static int show_settings(struct command_call *call, struct err_text *err)
{
    int code = ERR_OK;
    const struct admin *admin = call->admin;
    char *text = admin->settings != NULL ? strdup(admin->settings) : config_show(admin->options.config);
    if (text == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the settings");
    }
    if (call->values.json) {
        code = render_json_write(call->reply, json_of_settings(text));
    } else {
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
            fprintf(call->reply, "%s\n", line); /* an empty line would end the reply */
        }
    }
    free(text);
    return code;
}

static int show_metrics(struct command_call *call, struct err_text *err)
{
    size_t length = 0;
    int code = ERR_OK;
    char *text = metrics_format(call->admin, &length);
    if (text == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the metrics");
    }
    if (call->values.json) {
        code = render_json_write(call->reply, json_pack("{s:o}", "metrics", render_json_text(text)));
    } else {
        (void)fwrite(text, 1, length, call->reply);
    }
    free(text);
    return code;
}

static int show_confinement(struct command_call *call)
{
    struct confinement confinement;
    if (call->values.json) {
        return render_json_write(call->reply, render_json_confinement());
    }
    confinement_read(&confinement);
    fprintf(call->reply,
            "user               %s\ncapabilities       %s\nno new privileges  %s\nseccomp            %s\n"
            "landlock           %s\n",
            confinement.user, confinement.capabilities, confinement.no_new_privileges ? "yes" : "no",
            confinement.workers   ? "on, stricter for workers"
            : confinement.seccomp ? "on"
                                  : "off",
            confinement.landlock);
    return ERR_OK;
}

int cmd_log_level(struct command_call *call, struct err_text *err)
{
    (void)err;
    enum log_level before = log_threshold();
    /* The order of the choices in the table is that of enum log_level. */
    log_set_level((enum log_level)call->values.choice);
    fprintf(call->reply, "log level is %s (before: %s)\n", log_level_name(log_threshold()),
            log_level_name(before));
    return ERR_OK;
}

int cmd_show(struct command_call *call, struct err_text *err)
{
    if (call->values.choice == 0) {
        return show_settings(call, err);
    }
    if (call->values.choice == 1) {
        return show_metrics(call, err);
    }
    if (call->values.choice == 3) {
        return show_confinement(call);
    }
    if (call->values.json) {
        return render_json_write(call->reply,
                                 json_pack("{s:s,s:i}", "version", SHUNT_VERSION, "pid", (int)getpid()));
    }
    fprintf(call->reply, "shuntd %s pid %d\n", SHUNT_VERSION, (int)getpid());
    return ERR_OK;
}
