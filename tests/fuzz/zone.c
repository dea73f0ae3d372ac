/*
 * Files of time zones (TZif, RFC 8536): what is accepted answers for any moment within a day.
 */
#include "core/zone.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t moments[] = {-(INT64_C(1) << 40), -(INT64_C(1) << 33), -1, 0, 1000000000, 1700000000,
                                      INT64_C(1) << 33,    INT64_C(1) << 40};
    struct zone *zone = NULL;
    struct err_text err;
    if (zone_parse(data, size, &zone, &err) != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        int32_t offset_s = zone_offset_s(zone, moments[i]);
        FUZZ_CHECK(offset_s > -8 * 86400 && offset_s < 8 * 86400);
    }
    zone_destroy(zone);
    return 0;
}
