/* Every protocol's replies: good, wrong, cut at every byte, one byte at a time, damaged, megabytes of
 * garbage. */
#include "tests/unit/health/conversation.h"
#include "tests/unit/health/replies.h"

#include "core/random.h"

#define TEXT(text) (char *)(uintptr_t)(text)
#define BYTES(name) name, .len = name##_LEN
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

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

#define HTTP(statuses, text)                                                                                 \
    {                                                                                                        \
        .type = CONFIG_HEALTH_HTTP, .http = {                                                                \
            .method = TEXT("GET"),                                                                           \
            .path = TEXT("/h"),                                                                              \
            .status = TEXT(statuses),                                                                        \
            .body = TEXT(text)                                                                               \
        }                                                                                                    \
    }
#define HTTP_PLAIN                                                                                           \
    {                                                                                                        \
        .type = CONFIG_HEALTH_HTTP, .http = {                                                                \
            .method = TEXT("GET"),                                                                           \
            .path = TEXT("/h"),                                                                              \
            .status = TEXT("200-299,304")                                                                    \
        }                                                                                                    \
    }
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

#define REDIS(wanted)                                                                                        \
    {                                                                                                        \
        .type = CONFIG_HEALTH_REDIS, .redis = {.role = (wanted) }                                            \
    }
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

#define PG_BARE                                                                                              \
    {                                                                                                        \
        .type = CONFIG_HEALTH_POSTGRESQL                                                                     \
    }
#define PG_USER(wanted)                                                                                      \
    {                                                                                                        \
        .type = CONFIG_HEALTH_POSTGRESQL, .postgresql = {.user = TEXT("monitor"), .role = (wanted) }         \
    }
#define PG_TLS                                                                                               \
    {                                                                                                        \
        .type = CONFIG_HEALTH_POSTGRESQL, .tls = {.present = true}, .postgresql = {.user = TEXT("monitor") } \
    }

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

#define MY_BARE                                                                                              \
    {                                                                                                        \
        .type = CONFIG_HEALTH_MYSQL                                                                          \
    }
#define MY_USER                                                                                              \
    {                                                                                                        \
        .type = CONFIG_HEALTH_MYSQL, .mysql = {.user = TEXT("monitor") }                                     \
    }
#define MY_TLS                                                                                               \
    {                                                                                                        \
        .type = CONFIG_HEALTH_MYSQL, .tls = {.present = true}, .mysql = {.user = TEXT("monitor") }           \
    }

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

#define SMTP                                                                                                 \
    {                                                                                                        \
        .type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me") }                                           \
    }
#define SMTP_TLS                                                                                             \
    {                                                                                                        \
        .type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me"), .starttls = true }                         \
    }

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
#define LDAP                                                                                                 \
    {                                                                                                        \
        .type = CONFIG_HEALTH_LDAP                                                                           \
    }
#define LDAP_STARTTLS                                                                                        \
    {                                                                                                        \
        .type = CONFIG_HEALTH_LDAP, .ldap = {.starttls = true }                                              \
    }
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

/* ---- all of them */

static const struct config_health all[] = {
    HTTP("200-399", "ready"),
    HTTP_PLAIN,
    REDIS(CONFIG_REDIS_MASTER),
    PG_USER(CONFIG_POSTGRESQL_STANDBY),
    PG_BARE,
    PG_TLS,
    MY_USER,
    MY_BARE,
    MY_TLS,
    SMTP,
    SMTP_TLS,
    LDAP,
    {.type = CONFIG_HEALTH_AGENT},
};

/* Ends before it has taken in more than the bound, whatever comes. */
/* True when a line of len bytes that comes in parts of part bytes is called endless. */
static bool is_endless(const struct config_health *config, const uint8_t *line, size_t len, size_t part)
{
    struct script_run run;
    const struct script_params params = {.config = config, .host = "h"};
    assert_int_equal(script_create(script_find(config->type), &params, &run), 0);
    enum script_verdict verdict = script_begin(&run);
    for (size_t at = 0; at < len && verdict == SCRIPT_MORE; at += part) {
        verdict = script_feed(&run, line + at, part, false);
    }
    bool endless =
        strstr(run.reason, "without an end") != NULL || strstr(run.reason, "not an agent's line") != NULL;
    script_destroy(&run);
    return endless;
}

/* As long as may be, and one byte longer: whole or byte by byte, the verdict is the same. */
static void long_lines(void **state)
{
    (void)state;
    static const struct {
        struct config_health config;
        const char *begin;
        size_t most;
    } lines[] = {{HTTP_PLAIN, "HTTP/1.1 200 ", 1025},
                 {{.type = CONFIG_HEALTH_REDIS}, "-", 1025},
                 {{.type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me")}}, "220-", 2049},
                 {{.type = CONFIG_HEALTH_AGENT}, "up ", 1025}};
    for (size_t i = 0; i < COUNT(lines); i++) {
        for (size_t len = lines[i].most - 1; len <= lines[i].most + 1; len++) {
            uint8_t line[2050];
            memset(line, ' ', sizeof(line));
            memcpy(line, lines[i].begin, strlen(lines[i].begin));
            line[len - 1] = '\n';
            assert_int_equal(is_endless(&lines[i].config, line, len, len), len > lines[i].most);
            assert_int_equal(is_endless(&lines[i].config, line, len, 1), len > lines[i].most);
        }
    }
}

static void garbage_is_bounded(void **state)
{
    (void)state;
    static uint8_t garbage[4096];
    for (size_t i = 0; i < COUNT(all); i++) {
        for (unsigned seed = 0; seed < 200; seed++) {
            struct random_state random;
            struct script_run run;
            const struct script_params params = {.config = &all[i], .host = "h", .password = "secret"};
            random_seed(&random, seed);
            assert_int_equal(script_create(script_find(all[i].type), &params, &run), 0);
            enum script_verdict verdict = script_begin(&run);
            size_t fed = 0;
            while (verdict == SCRIPT_MORE && fed < (size_t)8 * 1024 * 1024) {
                for (size_t b = 0; b < sizeof(garbage); b++) {
                    /* Random bytes, one byte repeated, printable lines: by the seed. */
                    garbage[b] = seed % 3 == 0   ? (uint8_t)random_below(&random, 256)
                                 : seed % 3 == 1 ? (uint8_t)(seed * 5)
                                                 : (uint8_t)("ab \n"[random_below(&random, 4)]);
                }
                verdict = script_feed(&run, garbage, sizeof(garbage), false);
                fed += sizeof(garbage);
            }
            assert_true(verdict == SCRIPT_FAILED || verdict == SCRIPT_PASSED);
            assert_true(fed <= SCRIPT_TOTAL_MAX);
            assert_true(run.in.room <= 2 * SCRIPT_REPLY_MAX);
            script_destroy(&run);
        }
    }
}

/* What came before the handshake must not count as what came after it. */
static void bytes_ahead_of_tls_are_refused(void **state)
{
    (void)state;
    struct script_run run;
    static const struct config_health config = PG_TLS;
    const struct script_params params = {.config = &config, .host = "h"};
    assert_int_equal(script_create(&script_postgresql, &params, &run), 0);
    assert_int_equal(script_begin(&run), SCRIPT_MORE);
    assert_int_equal(script_feed(&run, (const uint8_t *)"S" PG_READY, 1 + PG_READY_LEN, false),
                     SCRIPT_FAILED);
    assert_string_equal(run.reason, "sent bytes ahead of the TLS handshake");
    script_destroy(&run);
}

/* The salted password is kept, not what belongs to one exchange. */
static void scram_twice(void **state)
{
    (void)state;
    struct script_run run;
    static const struct config_health config = PG_USER(CONFIG_POSTGRESQL_ANY);
    struct script_params params = {.config = &config, .host = "h", .password = "secret"};
    memset(params.nonce, 7, sizeof(params.nonce));
    assert_int_equal(script_create(&script_postgresql, &params, &run), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(script_begin(&run), SCRIPT_MORE);
        assert_int_equal(script_feed(&run, (const uint8_t *)PG_SASL, PG_SASL_LEN, false), SCRIPT_MORE);
        assert_int_equal(script_feed(&run, (const uint8_t *)PG_SASL_CONTINUE, PG_SASL_CONTINUE_LEN, false),
                         SCRIPT_MORE);
        conversation_hear(&run, SCRAM_CLIENT_FINAL);
        assert_int_equal(script_feed(&run, (const uint8_t *)PG_SASL_FINAL_OK, PG_SASL_FINAL_OK_LEN, false),
                         SCRIPT_PASSED);
    }
    script_destroy(&run);
}

/* A secret in what is said is always covered where the exchange is shown. */
static void secrets_are_masked(void **state)
{
    (void)state;
    static const struct config_health config = REDIS(CONFIG_REDIS_ANY);
    static const struct config_health bind = {.type = CONFIG_HEALTH_LDAP, .ldap = {.bind_dn = TEXT("cn=m")}};
    const struct config_health *const saying[] = {&config, &bind};
    for (size_t i = 0; i < COUNT(saying); i++) {
        struct script_run run;
        const struct script_params params = {.config = saying[i], .host = "h", .password = "secret"};
        assert_int_equal(script_create(script_find(saying[i]->type), &params, &run), 0);
        assert_int_equal(script_begin(&run), SCRIPT_MORE);
        assert_non_null(memmem(run.out.data, run.out.len, "secret", 6));
        assert_non_null(run.out_mask);
        assert_null(strstr(run.out_mask, "secret"));
        script_destroy(&run);
    }
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
        cmocka_unit_test(long_lines),
        cmocka_unit_test(garbage_is_bounded),
        cmocka_unit_test(bytes_ahead_of_tls_are_refused),
        cmocka_unit_test(scram_twice),
        cmocka_unit_test(secrets_are_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
