/* What a proxy service and a health are in the tests of the admin room: figures to be shown. */
#ifndef TESTS_UNIT_ADMIN_FAKE_BELOW_H
#define TESTS_UNIT_ADMIN_FAKE_BELOW_H

#include "core/worker.h"
#include "health/health.h"
#include "health/names.h"
#include "proxy/proxy.h"

struct proxy_service {
    size_t listeners;
    struct addr listen[2];
    uint64_t open;
    struct stats_service_reading reading;
    const struct proxy_connection *rows; /* what a visit shows, whatever the filter */
    size_t rows_len;
    bool cut_short;                   /* a visit is not complete */
    uint64_t closable;                /* how many a close finds, in all */
    struct proxy_close_filter filter; /* the last one asked with */
};

struct health {
    const char *backend; /* the only one that is checked */
    struct health_result result;
};

/* One name of the first group, which no backend came of. */
struct names {
    struct names_host host;
    uint64_t failures;
};

#endif
