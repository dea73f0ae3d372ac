/*
 * Files of time zones (TZif, RFC 8536): what is accepted answers for any moment within a day. And their
 * names, which lead to files of the database and nowhere else.
 */
#include "core/zone.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void try_zone(struct zone *zone)
{
    static const int64_t moments[] = {-(INT64_C(1) << 40), -(INT64_C(1) << 33), -1, 0, 1000000000, 1700000000,
                                      INT64_C(1) << 33,    INT64_C(1) << 40};
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        int32_t offset_s = zone_offset_s(zone, moments[i]);
        FUZZ_CHECK(offset_s > -8 * 86400 && offset_s < 8 * 86400);
    }
    zone_destroy(zone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zone *zone = NULL;
    struct err_text err;
    if (zone_parse(data, size, &zone, &err) == 0) {
        try_zone(zone);
    }
    char *name = fuzz_text(data, size);
    int rc = zone_load(name, &zone, &err);
    FUZZ_CHECK(rc == 0 || err.text[0] != '\0');
    if (rc == 0) {
        FUZZ_CHECK(strchr(name, '.') == NULL && name[0] != '/');
        try_zone(zone);
    }
    free(name);
    return 0;
}
