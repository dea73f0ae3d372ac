/*
 * PROXY headers: what is accepted lies within the input, stays accepted with anything behind it, was not
 * accepted a byte earlier, and says the same when it is written and read again.
 */
#include "core/proxy_protocol.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static int same_ip(const struct addr_ip *a, const struct addr_ip *b)
{
    return a->family == b->family && a->port == b->port && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static int same_text(struct proxy_protocol_text a, struct proxy_protocol_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void check_again(const struct proxy_protocol_header *header)
{
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    struct proxy_protocol_header again;
    const char *why = NULL;
    const unsigned tlvs = PROXY_PROTOCOL_ALPN | PROXY_PROTOCOL_AUTHORITY | PROXY_PROTOCOL_UNIQUE_ID |
                          PROXY_PROTOCOL_SSL | PROXY_PROTOCOL_CRC32C;
    size_t len = proxy_protocol_write(header, tlvs, bytes);
    FUZZ_CHECK(len <= sizeof(bytes));
    FUZZ_CHECK(proxy_protocol_read(bytes, len, &again, &why) == PROXY_PROTOCOL_DONE);
    FUZZ_CHECK(again.length == len && again.version == header->version);
    FUZZ_CHECK(same_ip(&header->source, &again.source) && same_ip(&header->destination, &again.destination));
    if (header->version == 2 && header->alpn.len <= PROXY_PROTOCOL_TEXT_MAX) {
        FUZZ_CHECK(same_text(header->alpn, again.alpn));
        FUZZ_CHECK(same_text(header->unique_id, again.unique_id));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol_header header;
    struct proxy_protocol_header shorter;
    const char *why = NULL;
    enum proxy_protocol_result result = proxy_protocol_read(data, size, &header, &why);
    FUZZ_CHECK((result == PROXY_PROTOCOL_BAD) == (why != NULL));
    if (result == PROXY_PROTOCOL_MORE) {
        FUZZ_CHECK(size < PROXY_PROTOCOL_READ_MAX);
    }
    if (result != PROXY_PROTOCOL_DONE) {
        return 0;
    }
    FUZZ_CHECK(header.length > 0 && header.length <= size);
    FUZZ_CHECK(proxy_protocol_read(data, header.length, &shorter, &why) == PROXY_PROTOCOL_DONE);
    FUZZ_CHECK(proxy_protocol_read(data, header.length - 1, &shorter, &why) == PROXY_PROTOCOL_MORE);
    check_again(&header);
    return 0;
}
