/*
 * Prefixes as operators write them: what is accepted covers its own address, and nothing else when it is a
 * single one.
 */
#include "core/prefixes.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct prefix prefix;
    struct prefixes *set = NULL;
    struct err_text err;
    if (prefix_parse(text, &prefix, &err) == 0 && prefixes_create(&prefix, 1, &set, &err) == 0) {
        FUZZ_CHECK(prefixes_contain(set, &prefix.ip));
        if (prefix.bits == (prefix.ip.family == 4 ? 32u : 128u)) {
            prefix.ip.bytes[0] ^= 1;
            FUZZ_CHECK(!prefixes_contain(set, &prefix.ip));
        }
    }
    prefixes_destroy(set);
    free(text);
    return 0;
}
