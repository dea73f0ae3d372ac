/*
 * Replies of servers as bytes, and what a client with the password "secret" must answer, computed apart from
 * the code under test (Python's hashlib). The nonce of the tests is 18 times 7; MySQL's scramble is 1 to 20.
 */
#ifndef TESTS_HEALTH_REPLIES_H
#define TESTS_HEALTH_REPLIES_H

/* clang-format off: each is one line, however long */
#define PG_SASL "R\000\000\000*\000\000\000\012SCRAM-SHA-256-PLUS\000SCRAM-SHA-256\000\000"
#define PG_SASL_LEN 43u
#define PG_SASL_CONTINUE                                                                                     \
    "R\000\000\000J\000\000\000\013r=BwcHBwcHBwcHBwcHBwcHBwcHSERVER,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096"
#define PG_SASL_CONTINUE_LEN 75u
#define PG_SASL_FINAL_OK                                                                                     \
    "R\000\000\0006\000\000\000\014v=gVViEg65qaZ5YYNvEFr5dSbEuLGJH/"                                         \
    "FdGXtL8IM0jaU=R\000\000\000\010\000\000\000\000S\000\000\000\026server_"                                \
    "version\00015\000K\000\000\000\01412345678Z\000\000\000\005I"
#define PG_SASL_FINAL_OK_LEN 106u
#define PG_SASL_FINAL_BAD "R\000\000\0006\000\000\000\014v=gFViEg65qaZ5YYNvEFr5dSbEuLGJH/FdGXtL8IM0jaU="
#define PG_SASL_FINAL_BAD_LEN 55u
#define PG_MANY_ROUNDS                                                                                       \
    "R\000\000\000N\000\000\000\013r=BwcHBwcHBwcHBwcHBwcHBwcHSERVER,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=99999999"
#define PG_MANY_ROUNDS_LEN 79u
#define PG_FOREIGN_NONCE "R\000\000\0001\000\000\000\013r=other,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096"
#define PG_FOREIGN_NONCE_LEN 50u
#define SCRAM_CLIENT_FINAL                                                                                   \
    "c=biws,r=BwcHBwcHBwcHBwcHBwcHBwcHSERVER,p=rfH3XTd7mrjxLnYpXBvCxvehtz2bRXbQG/S8cdWK2j0="
#define PG_MD5_ANSWER "md5fa34c4308967fcc888933bdce8889b36"
#define PG_MD5 "R\000\000\000\014\000\000\000\005salt"
#define PG_MD5_LEN 13u
#define PG_CLEAR "R\000\000\000\010\000\000\000\003"
#define PG_CLEAR_LEN 9u
#define PG_READY                                                                                             \
    "R\000\000\000\010\000\000\000\000N\000\000\000\015SNOTICE\000\000S\000\000\000\010a\000b\000Z\000\000"  \
    "\000\005I"
#define PG_READY_LEN 38u
#define PG_ROW_T                                                                                             \
    "T\000\000\000*\000\001pg_is_in_"                                                                        \
    "recovery\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000D\000\000\000\013"  \
    "\000\001\000\000\000\001tC\000\000\000\015SELECT 1\000Z\000\000\000\005I"
#define PG_ROW_T_LEN 75u
#define PG_ROW_F                                                                                             \
    "T\000\000\000*\000\001pg_is_in_"                                                                        \
    "recovery\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000D\000\000\000\013"  \
    "\000\001\000\000\000\001fC\000\000\000\015SELECT 1\000Z\000\000\000\005I"
#define PG_ROW_F_LEN 75u
#define PG_STARTING "E\000\000\0007SFATAL\000C57P03\000Mthe database system is starting up\000\000"
#define PG_STARTING_LEN 56u
#define PG_NO_ROLE "E\000\000\0000SFATAL\000C28000\000Mrole \042shunt\042 does not exist\000\000"
#define PG_NO_ROLE_LEN 49u
#define PG_BAD_PASSWORD                                                                                      \
    "E\000\000\000FSFATAL\000C28P01\000Mpassword authentication failed for user \042monitor\042\000\000"
#define PG_BAD_PASSWORD_LEN 71u
#define MY_GREET_NATIVE                                                                                      \
    "J\000\000\000\0128.0.36\000\007\000\000\000\001\002\003\004\005\006\007\010\000\377\377-"               \
    "\002\000\377\377\025\000\000\000\000\000\000\000\000\000\000\011\012\013\014\015\016\017\020\021\022"   \
    "\023\024\000mysql_native_password\000"
#define MY_GREET_NATIVE_LEN 78u
#define MY_GREET_SHA2                                                                                        \
    "J\000\000\000\0128.0.36\000\007\000\000\000\001\002\003\004\005\006\007\010\000\377\377-"               \
    "\002\000\377\377\025\000\000\000\000\000\000\000\000\000\000\011\012\013\014\015\016\017\020\021\022"   \
    "\023\024\000caching_sha2_password\000"
#define MY_GREET_SHA2_LEN 78u
#define MY_GREET_NO_TLS                                                                                      \
    "J\000\000\000\0128.0.36\000\007\000\000\000\001\002\003\004\005\006\007\010\000\377\367-"               \
    "\002\000\377\377\025\000\000\000\000\000\000\000\000\000\000\011\012\013\014\015\016\017\020\021\022"   \
    "\023\024\000mysql_native_password\000"
#define MY_GREET_NO_TLS_LEN 78u
#define MY_ANSWER_NATIVE "\263+\263\245\203\3414\014\012\021\010\325\213\033\344\227\201\255\214/"
#define MY_ANSWER_NATIVE_LEN 20u
#define MY_ANSWER_SHA2 "tn\276 ]V\240pz\313>yn\203N\015\327\261\326\027C\262k\325 ,zb20\307\311"
#define MY_ANSWER_SHA2_LEN 32u
#define MY_TOO_MANY "\027\000\000\000\377\020\004Too many connections"
#define MY_TOO_MANY_LEN 27u
#define MY_OK_2 "\007\000\000\002\000\000\000\002\000\000\000"
#define MY_OK_2_LEN 11u
#define MY_OK_3 "\007\000\000\003\000\000\000\002\000\000\000"
#define MY_OK_3_LEN 11u
#define MY_OK_4 "\007\000\000\004\000\000\000\002\000\000\000"
#define MY_OK_4_LEN 11u
#define MY_OK_5 "\007\000\000\005\000\000\000\002\000\000\000"
#define MY_OK_5_LEN 11u
#define MY_OK_6 "\007\000\000\006\000\000\000\002\000\000\000"
#define MY_OK_6_LEN 11u
#define MY_DENIED ")\000\000\002\377\025\004#28000Access denied for user 'monitor'"
#define MY_DENIED_LEN 45u
#define MY_SWITCH_NATIVE                                                                                     \
    ",\000\000\002\376mysql_native_"                                                                         \
    "password\000\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020\021\022\023\024\000"
#define MY_SWITCH_NATIVE_LEN 48u
#define MY_SWITCH_ED25519                                                                                    \
    "%\000\000\002\376client_"                                                                               \
    "ed25519\000\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020\021\022\023\024\000"
#define MY_SWITCH_ED25519_LEN 41u
#define MY_FAST_2 "\002\000\000\002\001\003"
#define MY_FAST_2_LEN 6u
#define MY_FULL_2 "\002\000\000\002\001\004"
#define MY_FULL_2_LEN 6u
#define MY_FULL_3 "\002\000\000\003\001\004"
#define MY_FULL_3_LEN 6u
#define MY_KEY_4                                                                                             \
    "\304\001\000\004\001-----BEGIN PUBLIC "                                                                 \
    "KEY-----\012MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqR66jY2rW4LRGjYHK5gM\012ZEckoL/"                \
    "d5XQDMXmhSxibbtrGBTw95rl30HvHQrw7Xy+MgA24//WKhzGges/tADh8\012ex3CbyXYRmHI9JAIWswohILpmmm/"              \
    "iAIClhQ8PIzCC+xMjQJrXT0nw0ooZzQttlx7\012+u3W2s9v/g/IrWg/Ad5216q1GP41w/NVWGZx/"                          \
    "vtln0MS59pYzjUydzHtPoAGfGWh\012fl7fzWDqYOac5j+5g/"                                                      \
    "5qCO8spZ7CctYczAA34FtiT8KG9AF69jKI7kPYhUK0qbOK\012aporCbNVWvJl6gF0WiQmIEmpIv+/"                         \
    "Gb3vkoiJll1Ly6bhWuhDq4dwFhph7NyRKwMz\012XQIDAQAB\012-----END PUBLIC KEY-----\012"
#define MY_KEY_4_LEN 456u
#define MY_BAD_KEY_4 ":\000\000\004\001-----BEGIN PUBLIC KEY-----\012AAAA\012-----END PUBLIC KEY-----\012"
#define MY_BAD_KEY_4_LEN 62u
#define LDAP_OK "0\014\002\001\001a\007\012\001\000\004\000\004\000"
#define LDAP_OK_LEN 14u
#define LDAP_INVALID "0\014\002\001\001a\007\012\0011\004\000\004\000"
#define LDAP_INVALID_LEN 14u
#define LDAP_ANON "0%\002\001\001a \012\0010\004\000\004\031anonymous bind disallowed"
#define LDAP_ANON_LEN 39u
#define LDAP_OK_LONG "0\204\000\000\000\014\002\001\001a\007\012\001\000\004\000\004\000"
#define LDAP_OK_LONG_LEN 18u
#define LDAP_TLS "0\014\002\001\001x\007\012\001\000\004\000\004\000"
#define LDAP_TLS_LEN 14u
#define LDAP_NO_TLS "0\030\002\001\001x\023\012\001\002\004\000\004\014unsupported."
#define LDAP_NO_TLS_LEN 26u
#define LDAP_OK_2 "0\014\002\001\002a\007\012\001\000\004\000\004\000"
#define LDAP_OK_2_LEN 14u
#define LDAP_OTHER "0\014\002\001\002a\007\012\001\000\004\000\004\000"
#define LDAP_OTHER_LEN 14u
#define LDAP_INDEFINITE "0\200\002\001\001"
#define LDAP_INDEFINITE_LEN 5u
#define LDAP_HUGE "0\204\177\377\377\377\002\001\001"
#define LDAP_HUGE_LEN 9u

#endif
