/* Every protocol's replies: good, wrong, cut at every byte, one byte at a time, damaged. */
#include "tests/unit/health/checks.h"
#include "tests/unit/health/conversation.h"
#include "tests/unit/health/replies.h"

#define BYTES(name) name, .len = name##_LEN

static void check_all(const struct conversation *list, size_t len)
{
    conversation_check_all(list, len);
    for (size_t i = 0; i < len; i++) {
        conversation_damage(&list[i]);
    }
}

/* ---- send/expect */

static void send_expect(void **state)
{
    (void)state;
    static struct config_health_step ping[] = {{.send = TEXT("PING\\r\\n"), .expect = TEXT("+PONG\\x0d\n")}};
    static struct config_health_step three[] = {{.expect = TEXT("hello")},
                                                {.send = TEXT("a\\0b")},
                                                {.send = TEXT("c"), .expect = TEXT("d")},
                                                {.send = TEXT("bye")}};
    static struct config_health_step only_send[] = {{.send = TEXT("x")}};
#define STEPS(list)                                                                                          \
    {                                                                                                        \
        .type = CONFIG_HEALTH_SEND_EXPECT, .send_expect = {.steps = (list), .steps_len = COUNT(list) }       \
    }
    static const struct conversation list[] = {
        {.config = STEPS(ping),
         .turns = {{.hear = "PING\r\n", .say = "noise\r\n+PONG\r\nmore"}},
         .verdict = SCRIPT_PASSED,
         .reason = "as expected in 1 of 1 steps"},
        {.config = STEPS(ping),
         .turns = {{.hear = "PING\r\n", .say = "-ERR no\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "not what step 1 expects: -ERR no\\r\\n"},
        {.config = STEPS(three),
         .turns = {{.say = "oh hello you"}, {.hear = "a", .say = "d"}},
         .verdict = SCRIPT_PASSED,
         .reason = "as expected in 4 of 4 steps"},
        {.config = STEPS(only_send),
         .turns = {{.hear = "x", .say = "anything"}},
         .verdict = SCRIPT_PASSED,
         .reason = "said all of 1 steps"},
    };
    check_all(list, COUNT(list));
}

/* ---- HTTP */

#define REQUEST "GET /h HTTP/1.1\r\nHost: 10.0.0.1:80\r\n"

static void http_status(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = HTTP_PLAIN,
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 200 OK\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "status 200"},
        {.config = HTTP_PLAIN,
         .turns = {{.hear = REQUEST, .say = "HTTP/1.0 304\r\n\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "status 304"},
        {.config = HTTP_PLAIN,
         .turns = {{.hear = REQUEST,
                    .say = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 "
                           "No\r\n\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "status 204"},
        {.config = HTTP_PLAIN,
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 503 Service Unavailable\r\n\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "wrong status: 503 Service Unavailable"},
        {.config = HTTP_PLAIN,
         .turns = {{.hear = REQUEST, .say = "SSH-2.0-OpenSSH\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "not HTTP: S"},
        {.config = HTTP_PLAIN,
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 2000 OK\r\n\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "not HTTP: HTTP/1.1 2000 OK"},
    };
    conversation_check_all(list, 4);
    char reason[SCRIPT_REASON_MAX];
    for (size_t i = 0; i < COUNT(list); i++) {
        assert_int_equal(conversation_run(&list[i], 1, SIZE_MAX, reason), list[i].verdict);
        assert_string_equal(reason, list[i].reason);
        conversation_damage(&list[i]);
    }
}

static void http_body(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = HTTP("200-399", "\"ready\""),
         .turns = {{.hear = REQUEST,
                    .say = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"st\": \"ready\"}\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "status 200, body as expected"},
        {.config = HTTP("200-399", "ready"),
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrest ready"}},
         .verdict = SCRIPT_FAILED,
         .reason = "status 200, but the body lacks the text"},
        {.config = HTTP("200-399", "ready"),
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "status 200, but the body lacks the text"},
        {.config = HTTP("200-399", "ready"),
         .turns = {{.hear = REQUEST,
                    .say = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"
                           "2;x=y\r\nre\r\n3\r\nady\r\n0\r\n\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "status 200, body as expected"},
        {.config = HTTP("200-399", "ready"),
         .turns = {{.hear = REQUEST,
                    .say = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nred\r\n0\r\n\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "status 200, but the body lacks the text"},
        {.config = HTTP("200-399", "ready"),
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "status 200, but its chunks are broken"},
        {.config = HTTP("200-399", "ready"),
         .turns = {{.hear = REQUEST, .say = "HTTP/1.1 200 OK\r\n\r\nnot yet ready, until the end"}},
         .verdict = SCRIPT_PASSED,
         .reason = "status 200, body as expected"},
    };
    check_all(list, COUNT(list));
}

/* ---- Redis */

#define PING "*1\r\n$4\r\nPING\r\n"
#define ROLE "*1\r\n$4\r\nROLE\r\n"
#define ROLE_MASTER "*3\r\n$6\r\nmaster\r\n:100\r\n*0\r\n"
#define ROLE_SLAVE "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:100\r\n"

static void redis(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = REDIS(CONFIG_REDIS_ANY),
         .turns = {{.hear = PING, .say = "+PONG\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "PONG"},
        {.config = REDIS(CONFIG_REDIS_ANY),
         .turns = {{.hear = PING, .say = "-NOAUTH Authentication required.\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: NOAUTH Authentication required."},
        {.config = REDIS(CONFIG_REDIS_ANY),
         .turns = {{.hear = PING, .say = "-LOADING Redis is loading the dataset in memory\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: LOADING Redis is loading the dataset in memory"},
        {.config = REDIS(CONFIG_REDIS_ANY),
         .password = "secret",
         .turns = {{.hear = "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n", .say = "+OK\r\n"},
                   {.hear = PING, .say = "+PONG\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "PONG"},
        {.config = {.type = CONFIG_HEALTH_REDIS, .redis = {.user = TEXT("mon")}},
         .password = "secret",
         .turns = {{.hear = "*3\r\n$4\r\nAUTH\r\n$3\r\nmon\r\n$6\r\nsecret\r\n",
                    .say = "-WRONGPASS invalid username-password pair\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: WRONGPASS invalid username-password pair"},
        {.config = REDIS(CONFIG_REDIS_MASTER),
         .turns = {{.hear = PING, .say = "+PONG\r\n"}, {.hear = ROLE, .say = ROLE_MASTER}},
         .verdict = SCRIPT_PASSED,
         .reason = "role master"},
        {.config = REDIS(CONFIG_REDIS_REPLICA),
         .turns = {{.hear = PING, .say = "+PONG\r\n"}, {.hear = ROLE, .say = ROLE_SLAVE}},
         .verdict = SCRIPT_PASSED,
         .reason = "role replica"},
        {.config = REDIS(CONFIG_REDIS_MASTER),
         .turns = {{.hear = PING, .say = "+PONG\r\n"}, {.hear = ROLE, .say = ROLE_SLAVE}},
         .verdict = SCRIPT_FAILED,
         .reason = "not a master but: slave"},
        {.config = REDIS(CONFIG_REDIS_REPLICA),
         .turns = {{.hear = PING, .say = "+PONG\r\n"}, {.hear = ROLE, .say = "+fine\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "not as Redis answers: +fine"},
        {.config = REDIS(CONFIG_REDIS_ANY),
         .turns = {{.hear = PING, .say = "+PING\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "not as Redis answers: +PING"},
    };
    check_all(list, COUNT(list));
}

/* ---- PostgreSQL */

static void postgresql_reachable(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = PG_BARE,
         .turns = {{.hear = "user", .say = BYTES(PG_SASL)}},
         .verdict = SCRIPT_PASSED,
         .reason = "answers, asks for a login"},
        {.config = PG_BARE,
         .turns = {{.hear = "user", .say = BYTES(PG_READY)}},
         .verdict = SCRIPT_PASSED,
         .reason = "answers"},
        {.config = PG_BARE,
         .turns = {{.hear = "user", .say = BYTES(PG_NO_ROLE)}},
         .verdict = SCRIPT_PASSED,
         .reason = "answers"},
        {.config = PG_BARE,
         .turns = {{.hear = "user", .say = BYTES(PG_STARTING)}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: the database system is starting up"},
    };
    check_all(list, COUNT(list));
}

static void postgresql_login(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .turns = {{.hear = "user", .say = BYTES(PG_READY)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .turns = {{.hear = "user", .say = BYTES(PG_MD5)}},
         .verdict = SCRIPT_FAILED,
         .reason = "asks for a password"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_MD5)}, {.hear = PG_MD5_ANSWER, .say = BYTES(PG_READY)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_MD5)},
                   {.hear = PG_MD5_ANSWER, .say = BYTES(PG_BAD_PASSWORD)}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: password authentication failed for user \"monitor\""},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_CLEAR)}},
         .verdict = SCRIPT_FAILED,
         .reason = "asks for the password in clear text without TLS"},
        {.config = PG_USER(CONFIG_POSTGRESQL_READ_WRITE),
         .turns = {{.hear = "user", .say = BYTES(PG_READY)},
                   {.hear = "SELECT pg_catalog.pg_is_in_recovery()", .say = BYTES(PG_ROW_F)}},
         .verdict = SCRIPT_PASSED,
         .reason = "read-write"},
        {.config = PG_USER(CONFIG_POSTGRESQL_READ_WRITE),
         .turns = {{.hear = "user", .say = BYTES(PG_READY)},
                   {.hear = "SELECT pg_catalog.pg_is_in_recovery()", .say = BYTES(PG_ROW_T)}},
         .verdict = SCRIPT_FAILED,
         .reason = "in recovery: not read-write"},
        {.config = PG_USER(CONFIG_POSTGRESQL_STANDBY),
         .turns = {{.hear = "user", .say = BYTES(PG_READY)},
                   {.hear = "SELECT pg_catalog.pg_is_in_recovery()", .say = BYTES(PG_ROW_T)}},
         .verdict = SCRIPT_PASSED,
         .reason = "standby"},
        {.config = PG_USER(CONFIG_POSTGRESQL_STANDBY),
         .turns = {{.hear = "user", .say = BYTES(PG_READY)},
                   {.hear = "SELECT pg_catalog.pg_is_in_recovery()", .say = BYTES(PG_READY)}},
         .verdict = SCRIPT_FAILED,
         .reason = "logs in twice"},
        {.config = PG_TLS,
         .turns = {{.hear = "\004\322\026/", .say = "S", .secure = true}, {.say = BYTES(PG_READY)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = PG_TLS,
         .turns = {{.hear = "\004\322\026/", .say = "N"}},
         .verdict = SCRIPT_FAILED,
         .reason = "does not speak TLS"},
    };
    for (size_t i = 0; i < COUNT(list); i++) {
        if (list[i].turns[0].secure) {
            char reason[SCRIPT_REASON_MAX];
            assert_int_equal(conversation_run(&list[i], 1, 1, reason), SCRIPT_FAILED);
        }
    }
    check_all(list, 9);
    conversation_check_all(list + 10, 1);
}

static void postgresql_scram(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_SASL)},
                   {.hear = "n,,n=,r=BwcHBwcHBwcHBwcHBwcHBwcH", .say = BYTES(PG_SASL_CONTINUE)},
                   {.hear = SCRAM_CLIENT_FINAL, .say = BYTES(PG_SASL_FINAL_OK)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_SASL)},
                   {.hear = "n,,n=,r=", .say = BYTES(PG_SASL_CONTINUE)},
                   {.hear = SCRAM_CLIENT_FINAL, .say = BYTES(PG_SASL_FINAL_BAD)}},
         .verdict = SCRIPT_FAILED,
         .reason = "does not prove that it knows the password"},
        /* A server that waves us through without proof is not the one. */
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_SASL)}, {.hear = "n,,n=,r=", .say = BYTES(PG_READY)}},
         .verdict = SCRIPT_FAILED,
         .reason = "does not prove that it knows the password"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_SASL)},
                   {.hear = "n,,n=,r=", .say = BYTES(PG_MANY_ROUNDS)}},
         .verdict = SCRIPT_FAILED,
         .reason = "asks for too many SCRAM rounds"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_SASL)},
                   {.hear = "n,,n=,r=", .say = BYTES(PG_FOREIGN_NONCE)}},
         .verdict = SCRIPT_FAILED,
         .reason = "broken SCRAM message"},
        {.config = PG_USER(CONFIG_POSTGRESQL_ANY),
         .password = "secret",
         .turns = {{.hear = "user", .say = BYTES(PG_SASL_CONTINUE)}},
         .verdict = SCRIPT_FAILED,
         .reason = "broken SCRAM message"},
    };
    conversation_check_all(list, COUNT(list));
    conversation_damage(&list[0]);
}

/* ---- MySQL */

static void mysql(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = MY_BARE,
         .turns = {{.say = BYTES(MY_GREET_NATIVE)}},
         .verdict = SCRIPT_PASSED,
         .reason = "greets"},
        {.config = MY_BARE,
         .turns = {{.say = BYTES(MY_TOO_MANY)}},
         .verdict = SCRIPT_FAILED,
         .reason = "error 1040: Too many connections"},
        {.config = MY_USER,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_NATIVE)}, {.hear = MY_ANSWER_NATIVE, .say = BYTES(MY_OK_2)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = MY_USER,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_NATIVE)}, {.hear = "monitor", .say = BYTES(MY_DENIED)}},
         .verdict = SCRIPT_FAILED,
         .reason = "error 1045: Access denied for user 'monitor'"},
        {.config = MY_USER,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_SHA2)},
                   {.hear = MY_ANSWER_SHA2, .say = BYTES(MY_SWITCH_NATIVE)},
                   {.hear = MY_ANSWER_NATIVE, .say = BYTES(MY_OK_4)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = MY_USER,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_NATIVE)}, {.hear = "monitor", .say = BYTES(MY_SWITCH_ED25519)}},
         .verdict = SCRIPT_FAILED,
         .reason = "asks for a login not known here: client_ed25519"},
        {.config = MY_USER,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_SHA2)},
                   {.hear = MY_ANSWER_SHA2, .say = BYTES(MY_FULL_2)},
                   {.hear = "\002", .say = BYTES(MY_KEY_4)},
                   {.hear = "", .say = BYTES(MY_OK_6)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
        {.config = MY_USER,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_SHA2)},
                   {.hear = MY_ANSWER_SHA2, .say = BYTES(MY_FULL_2)},
                   {.hear = "\002", .say = BYTES(MY_BAD_KEY_4)}},
         .verdict = SCRIPT_FAILED,
         .reason = "its public key cannot be used"},
        {.config = MY_TLS,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_NO_TLS)}},
         .verdict = SCRIPT_FAILED,
         .reason = "does not speak TLS"},
        {.config = MY_TLS,
         .password = "secret",
         .turns = {{.say = BYTES(MY_GREET_SHA2), .secure = true},
                   {.hear = MY_ANSWER_SHA2, .say = BYTES(MY_FULL_3)},
                   {.hear = "secret", .say = BYTES(MY_OK_5)}},
         .verdict = SCRIPT_PASSED,
         .reason = "logged in"},
    };
    check_all(list, COUNT(list));
}

static void mysql_fast(void **state)
{
    (void)state;
    char reply[MY_FAST_2_LEN + MY_OK_3_LEN];
    const char *const parts[] = {MY_FAST_2, MY_OK_3};
    for (size_t i = 0; i < sizeof(reply); i++) {
        reply[i] = *(i < MY_FAST_2_LEN ? &parts[0][i] : &parts[1][i - MY_FAST_2_LEN]);
    }
    const struct conversation one = {.config = MY_USER,
                                     .password = "secret",
                                     .turns = {{.say = BYTES(MY_GREET_SHA2)},
                                               {.hear = MY_ANSWER_SHA2, .say = reply, .len = sizeof(reply)}},
                                     .verdict = SCRIPT_PASSED,
                                     .reason = "logged in"};
    conversation_check(&one);
    conversation_damage(&one);
}

/* ---- SMTP, LDAP, agent */

static void smtp(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = SMTP,
         .turns = {{.say = "220-mail\r\n220 ready\r\n"},
                   {.hear = "EHLO me\r\n", .say = "250-mail\r\n250-SIZE 1\r\n250 HELP\r\n"},
                   {.hear = "QUIT\r\n", .say = "221 bye\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "greets and answers"},
        {.config = SMTP,
         .turns = {{.say = "220 old\n"},
                   {.hear = "EHLO me\r\n", .say = "502 what?\r\n"},
                   {.hear = "HELO me\r\n", .say = "250\r\n"},
                   {.hear = "QUIT\r\n", .say = "221 bye\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "greets and answers"},
        {.config = SMTP,
         .turns = {{.say = "421 too busy\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: 421 too busy"},
        {.config = SMTP,
         .turns = {{.say = "220 mail\r\n"}, {.hear = "EHLO me\r\n", .say = "550 go away\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: 550 go away"},
        {.config = SMTP_TLS,
         .turns = {{.say = "220 mail\r\n"},
                   {.hear = "EHLO me\r\n", .say = "250 STARTTLS\r\n"},
                   {.hear = "STARTTLS\r\n", .say = "220 go\r\n", .secure = true},
                   {.hear = "EHLO me\r\n", .say = "250 fine\r\n"},
                   {.hear = "QUIT\r\n", .say = "221 bye\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "greets and answers"},
        {.config = SMTP_TLS,
         .turns = {{.say = "220 mail\r\n"},
                   {.hear = "EHLO me\r\n", .say = "250 nothing\r\n"},
                   {.hear = "STARTTLS\r\n", .say = "454 not now\r\n"}},
         .verdict = SCRIPT_FAILED,
         .reason = "refused: 454 not now"},
        {.config = SMTP, .turns = {{.say = "22\r\n"}}, .verdict = SCRIPT_FAILED, .reason = "not SMTP: 22"},
    };
    check_all(list, COUNT(list) - 1);
}

static void ldap(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = LDAP,
         .turns = {{.hear = "0", .say = BYTES(LDAP_OK)}},
         .verdict = SCRIPT_PASSED,
         .reason = "bound"},
        {.config = LDAP,
         .turns = {{.hear = "0", .say = BYTES(LDAP_OK_LONG)}},
         .verdict = SCRIPT_PASSED,
         .reason = "bound"},
        {.config = {.type = CONFIG_HEALTH_LDAP, .ldap = {.bind_dn = TEXT("cn=mon")}},
         .password = "secret",
         .turns = {{.hear = "secret", .say = BYTES(LDAP_INVALID)}},
         .verdict = SCRIPT_FAILED,
         .reason = "invalid credentials (49)"},
        {.config = LDAP,
         .turns = {{.hear = "0", .say = BYTES(LDAP_ANON)}},
         .verdict = SCRIPT_FAILED,
         .reason = "anonymous bind refused (48): anonymous bind disallowed"},
        {.config = LDAP,
         .turns = {{.hear = "0", .say = BYTES(LDAP_OTHER)}},
         .verdict = SCRIPT_FAILED,
         .reason = "not a bind reply"},
        {.config = LDAP_STARTTLS,
         .turns = {{.hear = "1.3.6.1.4.1.1466.20037", .say = BYTES(LDAP_TLS), .secure = true},
                   {.hear = "\002\001\002", .say = BYTES(LDAP_OK_2)}},
         .verdict = SCRIPT_PASSED,
         .reason = "bound"},
        {.config = LDAP_STARTTLS,
         .turns = {{.hear = "1.3.6.1.4.1.1466.20037", .say = BYTES(LDAP_NO_TLS)}},
         .verdict = SCRIPT_FAILED,
         .reason = "StartTLS: not understood (2): unsupported."},
        {.config = LDAP_STARTTLS,
         .turns = {{.hear = "1.3.6.1.4.1.1466.20037", .say = BYTES(LDAP_OK)}},
         .verdict = SCRIPT_FAILED,
         .reason = "not a StartTLS reply"},
    };
    check_all(list, COUNT(list));
    static const struct conversation bad[] = {
        {.config = LDAP, .turns = {{.hear = "0", .say = BYTES(LDAP_INDEFINITE)}}, .verdict = SCRIPT_FAILED},
        {.config = LDAP, .turns = {{.hear = "0", .say = BYTES(LDAP_HUGE)}}, .verdict = SCRIPT_FAILED},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        char reason[SCRIPT_REASON_MAX];
        assert_int_equal(conversation_run(&bad[i], 0, SIZE_MAX, reason), SCRIPT_FAILED);
        assert_memory_equal(reason, "not LDAP", 8);
    }
}

static void agent(void **state)
{
    (void)state;
    static const struct conversation list[] = {
        {.config = {.type = CONFIG_HEALTH_AGENT},
         .turns = {{.say = "75% up\r\n"}},
         .verdict = SCRIPT_PASSED,
         .reason = "agent: 75% up"},
    };
    char reason[SCRIPT_REASON_MAX];
    for (size_t part = 0; part < 3; part++) {
        assert_int_equal(conversation_run(&list[0], part, SIZE_MAX, reason), SCRIPT_PASSED);
        assert_string_equal(reason, "agent: 75% up");
    }
    conversation_damage(&list[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send_expect),
        cmocka_unit_test(http_status),
        cmocka_unit_test(http_body),
        cmocka_unit_test(redis),
        cmocka_unit_test(postgresql_reachable),
        cmocka_unit_test(postgresql_login),
        cmocka_unit_test(postgresql_scram),
        cmocka_unit_test(mysql),
        cmocka_unit_test(mysql_fast),
        cmocka_unit_test(smtp),
        cmocka_unit_test(ldap),
        cmocka_unit_test(agent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
