/*
 * Builds what the admin room stands on from the rooms below, as the daemon does, without listeners.
 */
#include "tests/unit/admin/support.h"

#include "core/clock.h"
#include "migration/journal.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GROUPS                                                                                               \
    "groups = ( { name = \"old\"; backends = ( { name = \"a\"; address = \"127.0.0.1:1\"; weight = 3; },"    \
    "                                          { name = \"b\"; address = \"unix:/run/b.sock\"; } ); },"      \
    "           { name = \"new\"; balance = \"hash\"; backends = ( { name = \"c\"; address = \"[::1]:3\"; "  \
    "} ); } );"
#define PLAN                                                                                                 \
    "migration = { steps = ( { share = \"1%\"; hold = \"1h\"; }, { share = \"50%\"; hold = \"1h\"; },"       \
    "                        { share = \"100%\"; hold = \"1h\"; } ); };"

static const char settings[] =
    "state_dir = \"/nowhere\"; admin = { socket = \"/nowhere/admin.sock\"; };"
    "services = ( { name = \"api\"; listen = [ \"127.0.0.1:0\" ]; assign = \"client\"; " GROUPS PLAN " },"
    "             { name = \"web\"; listen = [ \"127.0.0.1:0\" ]; " GROUPS PLAN " } );";

static void create_routing(struct support *support, size_t index)
{
    const struct config_service *config = &support->config->services[index];
    struct routing_backend_spec backends[2][2] = {{{.name = NULL}}};
    struct routing_group_spec groups[2];
    struct err_text err;
    for (size_t g = 0; g < 2; g++) {
        const struct config_group *group = &config->groups[g];
        for (size_t b = 0; b < group->backends_len; b++) {
            backends[g][b].name = group->backends[b].name;
            backends[g][b].weight = group->backends[b].weight;
            assert_int_equal(addr_parse(group->backends[b].address, NULL, &backends[g][b].address, &err), 0);
        }
        groups[g] = (struct routing_group_spec){.name = group->name,
                                                .balance = group->balance,
                                                .backends = backends[g],
                                                .backends_len = group->backends_len};
    }
    struct routing_spec spec = {.service = config->name,
                                .assign = config->assign,
                                .prefix_ipv4 = 32,
                                .prefix_ipv6 = 128,
                                .salt = config->name,
                                .fallback = true,
                                .workers = 1,
                                .groups = groups,
                                .groups_len = 2};
    assert_int_equal(routing_create(&spec, &support->routing[index], &err), ERR_OK);
}

static void create_service(struct support *support, size_t index)
{
    struct err_text err;
    create_routing(support, index);
    support->service[index] = (struct admin_service){.name = support->config->services[index].name,
                                                     .config = &support->config->services[index],
                                                     .routing = support->routing[index]};
    struct migration_options options = {.base = support->base,
                                        .routing = support->routing[index],
                                        .config = &support->config->services[index],
                                        .journal = support->journal,
                                        .events = support->events};
    assert_int_equal(migration_create(&options, &support->service[index].migration, &err), ERR_OK);
}

void support_create(struct support *support)
{
    struct config_errors errors;
    struct err_text err;
    *support = (struct support){.folder = "/tmp/shunt-admin-XXXXXX"};
    assert_non_null(mkdtemp(support->folder));
    (void)snprintf(support->socket_path, sizeof(support->socket_path), "%s/admin.sock", support->folder);
    support->base = event_base_new();
    assert_non_null(support->base);
    assert_int_equal(config_load_text(settings, NULL, &support->config, &errors), ERR_OK);
    config_errors_clear(&errors);
    assert_int_equal(journal_open(support->folder, &support->journal, &err), ERR_OK);
    assert_int_equal(events_create(256, &support->events), ERR_OK);
    for (size_t i = 0; i < SUPPORT_SERVICES; i++) {
        create_service(support, i);
    }
    support->admin.options = support_options(support);
    list_init(&support->admin.jobs);
    support->peer =
        (struct admin_peer){.role = COMMAND_ROLE_ADMIN, .actor = "operator:test", .uid = 1000, .pid = 42};
}

struct admin_options support_options(struct support *support)
{
    return (struct admin_options){.base = support->base,
                                  .socket_path = support->socket_path,
                                  .mode = 0600,
                                  .config = support->config,
                                  .events = support->events,
                                  .services = support->service,
                                  .services_len = SUPPORT_SERVICES,
                                  .started_us = clock_mono_us()};
}

void support_destroy(struct support *support)
{
    char path[128];
    for (size_t i = 0; i < SUPPORT_SERVICES; i++) {
        migration_destroy(support->service[i].migration);
        routing_destroy(support->routing[i]);
    }
    journal_close(support->journal);
    events_destroy(support->events);
    config_free(support->config);
    event_base_free(support->base);
    static const char *const left[] = {"admin.sock", "journal", "journal.lock", "lock"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", support->folder, left[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(support->folder), 0);
}

char *support_run(struct support *support, const char *line)
{
    struct dispatch_reply reply;
    char *copy = malloc(strlen(line) + 1);
    assert_non_null(copy);
    memcpy(copy, line, strlen(line) + 1);
    dispatch_line(&support->admin, &support->peer, copy, strlen(line), &reply);
    free(copy);
    assert_non_null(reply.text);
    assert_int_equal(reply.length, strlen(reply.text));
    if (reply.follow.kind == COMMAND_FOLLOW_NONE) {
        /* One empty line, and only at the end. */
        const char *empty = reply.text[0] == '\n' ? reply.text : strstr(reply.text, "\n\n");
        assert_non_null(empty);
        assert_true(empty == reply.text ? reply.length == 1 : empty + 2 == reply.text + reply.length);
    }
    dispatch_unfollow(&reply.follow);
    return reply.text;
}

void support_expect(struct support *support, const char *line, const char *begin)
{
    char *reply = support_run(support, line);
    if (strncmp(reply, begin, strlen(begin)) != 0) {
        fail_msg("%s\n  wanted: %s\n  got:    %s", line, begin, reply);
    }
    free(reply);
}
