/* Configurations of checks that the tests of scripts play. */
#ifndef TESTS_UNIT_HEALTH_CHECKS_H
#define TESTS_UNIT_HEALTH_CHECKS_H

#include "core/config.h"

#include <stdint.h>

#define TEXT(text) (char *)(uintptr_t)(text)
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

#define HTTP(statuses, text)                                                                                 \
    {                                                                                                        \
        .type = CONFIG_HEALTH_HTTP, .http = {                                                                \
            .method = TEXT("GET"),                                                                           \
            .path = TEXT("/h"),                                                                              \
            .status = TEXT(statuses),                                                                        \
            .body = TEXT(text)                                                                               \
        }                                                                                                    \
    }
#define HTTP_PLAIN                                                                                           \
    {                                                                                                        \
        .type = CONFIG_HEALTH_HTTP, .http = {                                                                \
            .method = TEXT("GET"),                                                                           \
            .path = TEXT("/h"),                                                                              \
            .status = TEXT("200-299,304")                                                                    \
        }                                                                                                    \
    }
#define REDIS(wanted)                                                                                        \
    {                                                                                                        \
        .type = CONFIG_HEALTH_REDIS, .redis = {.role = (wanted) }                                            \
    }
#define PG_BARE                                                                                              \
    {                                                                                                        \
        .type = CONFIG_HEALTH_POSTGRESQL                                                                     \
    }
#define PG_USER(wanted)                                                                                      \
    {                                                                                                        \
        .type = CONFIG_HEALTH_POSTGRESQL, .postgresql = {.user = TEXT("monitor"), .role = (wanted) }         \
    }
#define PG_TLS                                                                                               \
    {                                                                                                        \
        .type = CONFIG_HEALTH_POSTGRESQL, .tls = {.present = true}, .postgresql = {.user = TEXT("monitor") } \
    }
#define MY_BARE                                                                                              \
    {                                                                                                        \
        .type = CONFIG_HEALTH_MYSQL                                                                          \
    }
#define MY_USER                                                                                              \
    {                                                                                                        \
        .type = CONFIG_HEALTH_MYSQL, .mysql = {.user = TEXT("monitor") }                                     \
    }
#define MY_TLS                                                                                               \
    {                                                                                                        \
        .type = CONFIG_HEALTH_MYSQL, .tls = {.present = true}, .mysql = {.user = TEXT("monitor") }           \
    }
#define SMTP                                                                                                 \
    {                                                                                                        \
        .type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me") }                                           \
    }
#define SMTP_TLS                                                                                             \
    {                                                                                                        \
        .type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me"), .starttls = true }                         \
    }
#define LDAP                                                                                                 \
    {                                                                                                        \
        .type = CONFIG_HEALTH_LDAP                                                                           \
    }
#define LDAP_STARTTLS                                                                                        \
    {                                                                                                        \
        .type = CONFIG_HEALTH_LDAP, .ldap = {.starttls = true }                                              \
    }

#endif
