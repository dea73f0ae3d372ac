/*
 * The command table: whole, consistent, and denied to whom it does not name.
 */
#include "admin/commands.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &commands_table()[i];
        assert_int_equal(commands_id(command), i);
        assert_ptr_equal(commands_find(command->name), command);
        assert_true(command->role > COMMAND_ROLE_NONE && command->role <= COMMAND_ROLE_ADMIN);
        assert_true(strlen(command->summary) > 0 && command->summary[strlen(command->summary) - 1] != '.');
        /* A reply ends with an empty line, so no help may hold one. */
        assert_null(strstr(command->help, "\n\n"));
        assert_int_equal(command->help[strlen(command->help) - 1], '\n');
        assert_int_equal(command->args[COMMAND_ARGS_MAX - 1].type, COMMAND_ARG_END);
        bool optional = false;
        for (const struct command_arg *arg = command->args; arg->type != COMMAND_ARG_END; arg++) {
            assert_non_null(arg->name);
            assert_true(arg->optional || !optional); /* what must be there comes first */
            assert_int_equal(arg->type == COMMAND_ARG_CHOICE, arg->choices != NULL);
            optional = arg->optional;
        }
    }
    assert_null(commands_find(""));
    assert_null(commands_find("reload-everything"));
}

/* The matrix in full: who may what, written down a second time on purpose. */
static void test_role_matrix(void **state)
{
    static const struct {
        const char *name;
        enum command_role least;
        bool changes;
    } wanted[] = {
        {"help", COMMAND_ROLE_VIEWER, false},        {"status", COMMAND_ROLE_VIEWER, false},
        {"start", COMMAND_ROLE_OPERATOR, true},      {"share", COMMAND_ROLE_OPERATOR, true},
        {"pause", COMMAND_ROLE_OPERATOR, true},      {"resume", COMMAND_ROLE_OPERATOR, true},
        {"skip", COMMAND_ROLE_OPERATOR, true},       {"abort", COMMAND_ROLE_OPERATOR, true},
        {"commit", COMMAND_ROLE_OPERATOR, true},     {"wait", COMMAND_ROLE_VIEWER, false},
        {"watch", COMMAND_ROLE_VIEWER, false},       {"plan", COMMAND_ROLE_VIEWER, false},
        {"events", COMMAND_ROLE_VIEWER, false},      {"backend", COMMAND_ROLE_OPERATOR, true},
        {"weight", COMMAND_ROLE_OPERATOR, true},     {"show", COMMAND_ROLE_VIEWER, false},
        {"connections", COMMAND_ROLE_VIEWER, false}, {"kill", COMMAND_ROLE_ADMIN, true},
        {"top", COMMAND_ROLE_VIEWER, false},         {"reload", COMMAND_ROLE_ADMIN, true},
        {"upgrade", COMMAND_ROLE_ADMIN, true},       {"check", COMMAND_ROLE_OPERATOR, false},
        {"log-level", COMMAND_ROLE_ADMIN, true},     {"report", COMMAND_ROLE_VIEWER, false},
    };
    (void)state;
    assert_int_equal(sizeof(wanted) / sizeof(wanted[0]), COMMAND_COUNT);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = commands_find(wanted[i].name);
        assert_non_null(command);
        assert_int_equal(command->changes, wanted[i].changes);
        for (int role = -1; role <= COMMAND_ROLE_ADMIN + 2; role++) {
            bool known = role > COMMAND_ROLE_NONE && role <= COMMAND_ROLE_ADMIN;
            assert_int_equal(commands_allowed(command, (enum command_role)role),
                             known && role >= (int)wanted[i].least);
        }
        /* A viewer never changes anything, whatever the rows above say. */
        assert_false(command->changes && commands_allowed(command, COMMAND_ROLE_VIEWER));
    }
    assert_false(commands_allowed(NULL, COMMAND_ROLE_ADMIN));
    struct command without_role = {.name = "new"};
    assert_false(commands_allowed(&without_role, COMMAND_ROLE_ADMIN));
}

static void test_usage(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    (void)state;
    assert_non_null(out);
    commands_write_usage(out, commands_find("start"));
    fputc('|', out);
    commands_write_usage(out, commands_find("status"));
    fclose(out);
    assert_string_equal(
        text, "start SERVICE [to GROUP] [from-share PCT] [force] [reason \"TEXT\"]|status [SERVICE]");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_role_matrix),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
