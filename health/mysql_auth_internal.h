/*
 * What MySQL's and MariaDB's logins make of a password. Pure but for OpenSSL; control thread. Sources: the
 * pages "Native Authentication" and "Caching_sha2_password" of the MySQL internals documentation.
 */
#ifndef HEALTH_MYSQL_AUTH_INTERNAL_H
#define HEALTH_MYSQL_AUTH_INTERNAL_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MYSQL_SCRAMBLE_BYTES 20u
#define MYSQL_ANSWER_MAX 1024u

enum mysql_plugin { MYSQL_PLUGIN_NATIVE, MYSQL_PLUGIN_CACHING_SHA2, MYSQL_PLUGIN_UNKNOWN };

enum mysql_plugin mysql_plugin_find(const char *name, size_t len);
const char *mysql_plugin_name(enum mysql_plugin plugin);

/* The answer to the scramble; *len is 0 for an empty password. ERR_NOMEM. */
MUST_CHECK int mysql_answer(enum mysql_plugin plugin, const char *password,
                            const uint8_t scramble[MYSQL_SCRAMBLE_BYTES], uint8_t out[MYSQL_ANSWER_MAX],
                            size_t *len);
/* The password for the server's public key (PEM): exclusive or with the scramble, RSA with OAEP. ERR_PARSE
 * (no key, or one that does not fit), ERR_RANGE (a long password). */
MUST_CHECK int mysql_encrypt(const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_BYTES],
                             const uint8_t *pem, size_t pem_len, uint8_t out[MYSQL_ANSWER_MAX], size_t *len);

#endif
