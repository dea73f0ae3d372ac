/* What libssl's reasons for a failed handshake mean, and which alerts of a server count as one that come
 * behind it. */
#include "core/openssl.h"
#include "proxy/tls_failure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void reasons_have_counters(void **state)
{
    (void)state;
    assert_int_equal(tls_failure_of(SSL_R_HTTP_REQUEST), STATS_TLS_NOT_TLS);
    assert_int_equal(tls_failure_of(SSL_R_CERTIFICATE_VERIFY_FAILED), STATS_TLS_CERTIFICATE);
    assert_int_equal(tls_failure_of(SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED), STATS_TLS_REFUSED);
    assert_int_equal(tls_failure_of(SSL_R_TLSV1_ALERT_UNKNOWN_CA), STATS_TLS_REFUSED);
    assert_int_equal(tls_failure_of(SSL_R_LENGTH_MISMATCH), STATS_TLS_OTHER);
}

static void alerts_that_refuse(void **state)
{
    (void)state;
    assert_true(tls_failure_is_refusal(SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED));
    assert_true(tls_failure_is_refusal(SSL_R_SSLV3_ALERT_BAD_CERTIFICATE));
    assert_true(tls_failure_is_refusal(SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED));
    assert_true(tls_failure_is_refusal(SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED));
    assert_true(tls_failure_is_refusal(SSL_R_TLSV1_ALERT_UNKNOWN_CA));
    assert_true(tls_failure_is_refusal(SSL_R_TLSV1_ALERT_ACCESS_DENIED));
    assert_true(tls_failure_is_refusal(SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE));
}

/* They may be about what was said later, or are no alerts at all. */
static void others_do_not(void **state)
{
    (void)state;
    assert_false(tls_failure_is_refusal(SSL_R_TLSV1_ALERT_INTERNAL_ERROR));
    assert_false(tls_failure_is_refusal(SSL_R_SSLV3_ALERT_BAD_RECORD_MAC));
    assert_false(tls_failure_is_refusal(SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE));
    assert_false(tls_failure_is_refusal(SSL_R_TLSV1_ALERT_RECORD_OVERFLOW));
    assert_false(tls_failure_is_refusal(SSL_R_TLSV1_ALERT_USER_CANCELLED));
    assert_false(tls_failure_is_refusal(SSL_R_CERTIFICATE_VERIFY_FAILED));
    assert_false(tls_failure_is_refusal(SSL_R_UNEXPECTED_EOF_WHILE_READING));
    assert_false(tls_failure_is_refusal(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons_have_counters),
        cmocka_unit_test(alerts_that_refuse),
        cmocka_unit_test(others_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
