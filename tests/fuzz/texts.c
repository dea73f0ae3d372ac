/*
 * The small texts that operators write: addresses, durations, shares, sizes, numbers, ranges, escapes, hours
 * of the week. The first byte says which; what is accepted and has a canonical text must be read back the
 * same.
 */
#include "core/addr.h"
#include "core/bytes.h"
#include "core/calendar.h"
#include "core/clock.h"
#include "core/units.h"
#include "core/zone.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

/* What is taken of an address for lists and limits of clients. */
static void try_ip(const struct addr *addr, unsigned prefix)
{
    struct addr_ip ip;
    struct addr_ip masked;
    char shown[ADDR_TEXT_MAX];
    addr_ip_from(addr, &ip);
    FUZZ_CHECK((ip.family == 0) == addr_is_unix(addr) && ip.port == addr_port(addr));
    addr_ip_format(&ip, shown, sizeof(shown));
    FUZZ_CHECK(shown[0] != '\0');
    masked = ip;
    addr_ip_mask(&masked, prefix % 33, prefix % 129);
    FUZZ_CHECK(masked.family == ip.family && masked.port == 0);
    addr_ip_mask(&ip, prefix % 33, prefix % 129);
    FUZZ_CHECK(memcmp(ip.bytes, masked.bytes, sizeof(ip.bytes)) == 0);
}

static void try_host(const char *text)
{
    char host[64];
    uint16_t port = 0;
    struct err_text err;
    if (addr_split_host(text, host, sizeof(host), &port, &err) == 0) {
        FUZZ_CHECK(host[0] != '\0' && strstr(text, host) != NULL);
    }
}

static void try_addr(const char *text)
{
    struct addr addr;
    struct addr again;
    struct err_text err;
    char canonical[ADDR_TEXT_MAX];
    try_host(text);
    if (addr_parse(text, "/base", &addr, &err) != 0) {
        FUZZ_CHECK(strlen(err.text) > 0);
        return;
    }
    addr_format(&addr, canonical, sizeof(canonical));
    FUZZ_CHECK(addr_equal(&addr, &addr));
    try_ip(&addr, (unsigned)strlen(text) * 7);
    if (!addr_is_unix(&addr)) { /* a path may hold what no line shows as it is */
        FUZZ_CHECK(addr_parse(canonical, NULL, &again, &err) == 0 && addr_equal(&addr, &again));
    }
}

static void try_share(const char *text)
{
    uint32_t bp = 0;
    uint32_t again = 0;
    char canonical[16];
    if (units_parse_share(text, 1, &bp) != 0) {
        return;
    }
    FUZZ_CHECK(bp <= UNITS_BP_FULL);
    units_format_share(bp, canonical, sizeof(canonical));
    FUZZ_CHECK(units_parse_share(canonical, 0, &again) == 0 && again == bp);
}

static void try_numbers(const char *text)
{
    uint64_t number = 0;
    struct bytes_ranges ranges;
    if (units_parse_duration(text, &number) == 0) {
        FUZZ_CHECK(text[strspn(text, "0123456789.usmhd")] == '\0');
    }
    if (units_parse_size(text, &number) == 0) {
        FUZZ_CHECK(text[strspn(text, "0123456789KMGTiB")] == '\0');
    }
    if (units_parse_count(text, 70000, &number) == 0) {
        FUZZ_CHECK(number <= 70000);
    }
    if (bytes_ranges_parse(text, 100, 599, &ranges) == 0) {
        FUZZ_CHECK(ranges.len >= 1 && ranges.len <= BYTES_RANGES_MAX);
        for (size_t i = 0; i < ranges.len; i++) {
            FUZZ_CHECK(bytes_ranges_have(&ranges, ranges.list[i].first));
            FUZZ_CHECK(ranges.list[i].first >= 100 && ranges.list[i].last <= 599);
        }
    }
}

static void try_escapes(const char *text, size_t size)
{
    size_t len = 0;
    size_t again = 0;
    char shown[64];
    bytes_escape(text, size, shown, sizeof(shown));
    FUZZ_CHECK(strlen(shown) < sizeof(shown));
    for (const char *c = shown; *c != '\0'; c++) {
        FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
    }
    if (bytes_unescape(text, NULL, 0, &len) == 0 && len > 0) {
        uint8_t *out = malloc(len);
        FUZZ_CHECK(out == NULL || (bytes_unescape(text, out, len, &again) == 0 && again == len));
        free(out);
    }
}

/* A window that is open at all opens within eight days, and is open then. */
static void try_window(const struct calendar_window *window, const struct zone *zone)
{
    for (uint64_t wall_us = 0; wall_us < UINT64_C(8000000000000000); wall_us += UINT64_C(1700000000000000)) {
        uint64_t opens_us = calendar_next_open_us(window, zone, wall_us);
        FUZZ_CHECK(opens_us >= wall_us);
        FUZZ_CHECK(opens_us == CLOCK_NEVER || calendar_is_open(window, zone, opens_us));
        FUZZ_CHECK(opens_us != CLOCK_NEVER || window->from_min == window->to_min);
    }
}

static void try_calendar(const char *text)
{
    struct zone *zone = NULL;
    struct calendar_window window;
    struct err_text err;
    const char *blank = strchr(text, ' ');
    FUZZ_CHECK(zone_load("UTC", &zone, &err) == 0);
    if (calendar_parse(text, NULL, &window, &err) == 0) {
        FUZZ_CHECK(window.from_min < 1440 && window.to_min <= 1440);
        try_window(&window, zone);
    }
    if (calendar_parse(NULL, blank != NULL ? blank + 1 : text, &window, &err) == 0) {
        FUZZ_CHECK(window.weekdays > 0 && window.weekdays < 128);
        try_window(&window, zone);
    }
    zone_destroy(zone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *text = fuzz_text(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        try_addr(text);
        break;
    case 1:
        try_share(text);
        break;
    case 2:
        try_numbers(text);
        break;
    case 3:
        try_escapes(text, size - 1);
        break;
    default:
        try_calendar(text);
        break;
    }
    free(text);
    return 0;
}
