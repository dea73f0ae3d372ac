/*
 * Roles by user and group: who is named gets the most that a name gives, everybody else the default, and
 * names that this system does not know are refused.
 */
#include "admin/admin_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICES                                                                                             \
    "services = ( { name = \"s\"; listen = [ \"127.0.0.1:0\" ]; groups = ( { name = \"a\"; backends = ( "    \
    "{ address = \"127.0.0.1:1\"; } ); } ); } );"

/* The code of roles_create. */
static int create(const char *admin, struct roles **out, struct err_text *err)
{
    char text[1000];
    struct config *config = NULL;
    struct config_errors errors;
    (void)snprintf(text, sizeof(text), "admin = { %s };" SERVICES, admin);
    assert_int_equal(config_load_text(text, NULL, &config, &errors), ERR_OK);
    config_errors_clear(&errors);
    int code = roles_create(config, out, err);
    config_free(config);
    return code;
}

static void test_without_roles(void **state)
{
    struct roles *roles;
    struct err_text err;
    const gid_t gid = 7;
    (void)state;
    assert_int_equal(create("default_role = \"viewer\";", &roles, &err), ERR_OK);
    assert_null(roles);
    assert_int_equal(roles_of(NULL, 1, &gid, 1), COMMAND_ROLE_ADMIN);
}

static void test_named(void **state)
{
    struct roles *roles;
    struct err_text err;
    const gid_t none[] = {5000};
    const gid_t some[] = {5000, 77, 78};
    (void)state;
    assert_int_equal(create("roles = ( { user = \"1234\"; role = \"operator\"; }, { group = \"77\"; role = "
                            "\"viewer\"; }, { group = \"78\"; role = \"admin\"; }, { user = \"root\"; role = "
                            "\"none\"; } );",
                            &roles, &err),
                     ERR_OK);
    assert_int_equal(roles_of(roles, 1234, none, 1), COMMAND_ROLE_OPERATOR);
    assert_int_equal(roles_of(roles, 1234, some, 2), COMMAND_ROLE_OPERATOR); /* the most of both */
    assert_int_equal(roles_of(roles, 9, some, 2), COMMAND_ROLE_VIEWER);
    assert_int_equal(roles_of(roles, 9, some, 3), COMMAND_ROLE_ADMIN);
    assert_int_equal(roles_of(roles, 9, none, 1), COMMAND_ROLE_NONE); /* default deny */
    assert_int_equal(roles_of(roles, 0, none, 1), COMMAND_ROLE_NONE);
    assert_int_equal(roles_of(roles, 9, NULL, 0), COMMAND_ROLE_NONE);
    assert_int_equal(roles_of(roles, (uid_t)-1, NULL, 0), COMMAND_ROLE_NONE);
    roles_destroy(roles);
}

static void test_default(void **state)
{
    struct roles *roles;
    struct err_text err;
    const gid_t gid = 5000;
    (void)state;
    assert_int_equal(
        create("default_role = \"viewer\"; roles = ( { user = \"1234\"; role = \"none\"; } );", &roles, &err),
        ERR_OK);
    assert_int_equal(roles_of(roles, 9, &gid, 1), COMMAND_ROLE_VIEWER);
    assert_int_equal(roles_of(roles, 1234, &gid, 1), COMMAND_ROLE_NONE); /* named, and with less */
    roles_destroy(roles);
}

static void test_refused(void **state)
{
    static const char *const bad[][2] = {
        {"roles = ( { user = \"nobody-of-this-name\"; role = \"admin\"; } );", "this system has no user"},
        {"roles = ( { group = \"no-such-group\"; role = \"admin\"; } );", "this system has no group"},
        {"roles = ( { user = \"4294967295\"; role = \"admin\"; } );", "this system has no user"},
        {"roles = ( { role = \"admin\"; } );", "say either user or group"},
        {"roles = ( { user = \"0\"; group = \"0\"; role = \"admin\"; } );", "say either user or group"},
    };
    struct roles *roles;
    struct err_text err;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(create(bad[i][0], &roles, &err), ERR_INVALID);
        if (strstr(err.text, bad[i][1]) == NULL) {
            fail_msg("%s: %s", bad[i][0], err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_roles),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
