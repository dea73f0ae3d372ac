/*
 * Prefixes as operators write them, alone and as the lines of a file: what is accepted covers its own
 * address, and nothing else when it is a single one; a set of many answers for any address.
 */
#include "core/prefixes.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_one(const char *text)
{
    struct prefix prefix;
    struct prefixes *set = NULL;
    struct err_text err;
    if (prefix_parse(text, &prefix, &err) == 0 && prefixes_create(&prefix, 1, &set, &err) == 0) {
        FUZZ_CHECK(!prefixes_empty(set));
        FUZZ_CHECK(prefixes_contain(set, &prefix.ip));
        if (prefix.bits == (prefix.ip.family == 4 ? 32u : 128u)) {
            prefix.ip.bytes[0] ^= 1;
            FUZZ_CHECK(!prefixes_contain(set, &prefix.ip));
        }
    }
    prefixes_destroy(set);
}

/* The first bytes of the file are the addresses that are asked for. */
static void check_file(const uint8_t *data, size_t size)
{
    char path[40];
    const char *text = path;
    struct prefixes *set = NULL;
    struct err_text err;
    int fd = memfd_create("prefixes", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "@/proc/self/fd/%d", fd);
    if (prefixes_load(&text, 1, &set, &err) == 0) {
        for (unsigned family = 4; family <= 6; family += 2) {
            struct addr_ip ip = {.family = (uint8_t)family};
            memcpy(ip.bytes, data, size < sizeof(ip.bytes) ? size : sizeof(ip.bytes));
            (void)prefixes_contain(set, &ip);
        }
    }
    prefixes_destroy(set);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    check_one(text);
    check_file(data, size);
    free(text);
    return 0;
}
