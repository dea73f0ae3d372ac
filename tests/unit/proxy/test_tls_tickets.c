/* Keys of tickets: what one key has made others can read, for two changes; exports; what is not an export. */
#include "proxy/tls_tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct tls_tickets *make(void)
{
    struct tls_tickets *tickets = NULL;
    struct err_text err;
    assert_int_equal(tls_tickets_create(NULL, NULL, &tickets, &err), 0);
    return tickets;
}

/* Makes a ticket's name and vector, or looks whether one can be read. */
static int use(struct tls_tickets *tickets, unsigned char name[16], unsigned char iv[16], bool encrypt)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    int rc = tls_tickets_use(tickets, name, iv, cipher, context, encrypt);
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
    EVP_CIPHER_CTX_free(cipher);
    return rc;
}

static void a_ticket_outlives_two_changes(void **state)
{
    (void)state;
    struct tls_tickets *tickets = make();
    unsigned char name[16], iv[16];
    assert_int_equal(use(tickets, name, iv, true), 1);
    assert_int_equal(use(tickets, name, iv, false), 1);
    assert_int_equal(tls_tickets_rotate(tickets), 0);
    assert_int_equal(use(tickets, name, iv, false), 2); /* and a new one is due */
    assert_int_equal(tls_tickets_rotate(tickets), 0);
    assert_int_equal(use(tickets, name, iv, false), 2);
    assert_int_equal(tls_tickets_rotate(tickets), 0);
    assert_int_equal(use(tickets, name, iv, false), 0);
    tls_tickets_destroy(tickets);
}

static void another_process_takes_the_keys_over(void **state)
{
    (void)state;
    struct tls_tickets *one = make();
    struct tls_tickets *other = make();
    uint8_t bytes[TLS_TICKETS_BYTES_MAX];
    unsigned char name[16], iv[16], older[16];
    assert_int_equal(use(one, older, iv, true), 1);
    assert_int_equal(tls_tickets_rotate(one), 0);
    assert_int_equal(use(one, name, iv, true), 1);
    assert_int_equal(use(other, name, iv, false), 0);
    size_t len = tls_tickets_export(one, bytes);
    assert_true(len <= sizeof(bytes));
    assert_int_equal(tls_tickets_import(other, bytes, len), 0);
    assert_int_equal(use(other, name, iv, false), 1);
    assert_int_equal(use(other, older, iv, false), 2);
    for (size_t cut = 0; cut < len; cut++) {
        if (cut == 4 + 80) {
            continue; /* one key less is whole */
        }
        assert_int_equal(tls_tickets_import(other, bytes, cut), ERR_PARSE);
    }
    bytes[0] ^= 1;
    assert_int_equal(tls_tickets_import(other, bytes, len), ERR_PARSE);
    assert_int_equal(use(other, name, iv, false), 1); /* all stayed */
    tls_tickets_destroy(one);
    tls_tickets_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_ticket_outlives_two_changes),
                                       cmocka_unit_test(another_process_takes_the_keys_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
