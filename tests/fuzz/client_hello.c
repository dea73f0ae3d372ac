/*
 * ClientHellos: what is accepted lies within the input, was not accepted a byte earlier, says the same with
 * anything behind it, and holds a host name and whole protocols; what is refused stays so; and the bound is
 * kept.
 */
#include "core/client_hello.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_texts(const struct client_hello *hello)
{
    size_t len = strlen(hello->server_name);
    FUZZ_CHECK(len <= CLIENT_HELLO_NAME_MAX);
    FUZZ_CHECK(strspn(hello->server_name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == len);
    FUZZ_CHECK(len == 0 || (hello->server_name[0] != '.' && hello->server_name[len - 1] != '.'));
    size_t at = 0;
    while (at < hello->alpn_len) {
        FUZZ_CHECK(hello->alpn[at] > 0);
        at += 1u + hello->alpn[at];
    }
    FUZZ_CHECK(at == hello->alpn_len && at <= CLIENT_HELLO_ALPN_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_hello hello;
    struct client_hello again;
    const char *why = NULL;
    enum client_hello_result result = client_hello_read(data, size, &hello, &why);
    FUZZ_CHECK((result == CLIENT_HELLO_BAD || result == CLIENT_HELLO_ABSENT) == (why != NULL));
    if (result == CLIENT_HELLO_MORE) {
        FUZZ_CHECK(size < CLIENT_HELLO_READ_MAX);
        return 0;
    }
    if (result != CLIENT_HELLO_DONE) {
        enum client_hello_result before =
            size > 0 ? client_hello_read(data, size - 1, &again, &why) : CLIENT_HELLO_MORE;
        FUZZ_CHECK(before == result || before == CLIENT_HELLO_MORE);
        return 0;
    }
    check_texts(&hello);
    FUZZ_CHECK(hello.length > 0 && hello.length <= size && hello.length <= CLIENT_HELLO_READ_MAX);
    FUZZ_CHECK(client_hello_read(data, hello.length, &again, &why) == CLIENT_HELLO_DONE);
    FUZZ_CHECK(strcmp(hello.server_name, again.server_name) == 0 && hello.alpn_len == again.alpn_len);
    FUZZ_CHECK(memcmp(hello.alpn, again.alpn, hello.alpn_len) == 0);
    FUZZ_CHECK(client_hello_read(data, hello.length - 1, &again, &why) == CLIENT_HELLO_MORE);
    return 0;
}
