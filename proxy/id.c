/*
 * How operators see and type the id of a connection: the worker it lives on and its number there. Pure; any
 * thread.
 */
#include "core/units.h"
#include "proxy/proxy_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void proxy_id_format(uint64_t id, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%" PRIu64 "-%" PRIu64, id >> CONN_ID_WORKER_SHIFT,
                   id & ((UINT64_C(1) << CONN_ID_WORKER_SHIFT) - 1));
}

int proxy_id_parse(const char *text, uint64_t *out)
{
    char worker_text[8];
    uint64_t worker = 0;
    uint64_t number = 0;
    const char *dash = strchr(text, '-');
    if (dash == NULL || (size_t)(dash - text) >= sizeof(worker_text)) {
        return ERR_PARSE;
    }
    (void)snprintf(worker_text, sizeof(worker_text), "%.*s", (int)(dash - text), text);
    if (units_parse_count(worker_text, UINT16_MAX, &worker) != ERR_OK ||
        units_parse_count(dash + 1, (UINT64_C(1) << CONN_ID_WORKER_SHIFT) - 1, &number) != ERR_OK ||
        number == 0) {
        return ERR_PARSE;
    }
    *out = (worker << CONN_ID_WORKER_SHIFT) | number;
    return ERR_OK;
}
