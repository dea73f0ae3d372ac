/* Logins of MySQL and MariaDB: see health/mysql_auth_internal.h. Pure; control thread. */
#include "health/mysql_auth_internal.h"

#include "core/openssl.h"

#include <string.h>

#define PASSWORD_MAX 256u

static const char *const names[] = {"mysql_native_password", "caching_sha2_password"};

enum mysql_plugin mysql_plugin_find(const char *name, size_t len)
{
    for (unsigned i = 0; i < MYSQL_PLUGIN_UNKNOWN; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
            return (enum mysql_plugin)i;
        }
    }
    return MYSQL_PLUGIN_UNKNOWN;
}

const char *mysql_plugin_name(enum mysql_plugin plugin)
{
    return plugin < MYSQL_PLUGIN_UNKNOWN ? names[plugin] : "";
}

/* Digest of a and b joined. */
static bool digest(const EVP_MD *kind, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t *out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, kind, NULL) == 1 &&
                EVP_DigestUpdate(context, a, a_len) == 1 && EVP_DigestUpdate(context, b, b_len) == 1 &&
                EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

/* native: SHA1(password) ^ SHA1(scramble, SHA1(SHA1(password)));
 * caching_sha2: SHA256(password) ^ SHA256(SHA256(SHA256(password)), scramble) */
int mysql_answer(enum mysql_plugin plugin, const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_BYTES],
                 uint8_t out[MYSQL_ANSWER_MAX], size_t *len)
{
    uint8_t once[EVP_MAX_MD_SIZE];
    uint8_t twice[EVP_MAX_MD_SIZE];
    uint8_t mixed[EVP_MAX_MD_SIZE];
    bool native = plugin == MYSQL_PLUGIN_NATIVE;
    const EVP_MD *kind = native ? EVP_sha1() : EVP_sha256();
    size_t size = (size_t)EVP_MD_get_size(kind);
    *len = 0;
    if (password == NULL || password[0] == '\0') {
        return 0;
    }
    bool good = digest(kind, password, strlen(password), "", 0, once) &&
                digest(kind, once, size, "", 0, twice) &&
                (native ? digest(kind, scramble, MYSQL_SCRAMBLE_BYTES, twice, size, mixed)
                        : digest(kind, twice, size, scramble, MYSQL_SCRAMBLE_BYTES, mixed));
    if (!good) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        out[i] = once[i] ^ mixed[i];
    }
    OPENSSL_cleanse(once, sizeof(once));
    *len = size;
    return 0;
}

static bool encrypt(EVP_PKEY *key, const uint8_t *plain, size_t plain_len, uint8_t *out, size_t *len)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    *len = MYSQL_ANSWER_MAX;
    bool good = context != NULL && EVP_PKEY_encrypt_init(context) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
                EVP_PKEY_encrypt(context, out, len, plain, plain_len) == 1;
    EVP_PKEY_CTX_free(context);
    return good;
}

int mysql_encrypt(const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_BYTES], const uint8_t *pem,
                  size_t pem_len, uint8_t out[MYSQL_ANSWER_MAX], size_t *len)
{
    uint8_t plain[PASSWORD_MAX];
    size_t plain_len = strlen(password) + 1; /* with its NUL */
    if (plain_len > sizeof(plain)) {
        return ERR_RANGE;
    }
    for (size_t i = 0; i < plain_len; i++) {
        plain[i] = (uint8_t)password[i] ^ scramble[i % MYSQL_SCRAMBLE_BYTES];
    }
    BIO *bio = BIO_new_mem_buf(pem, (int)pem_len);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    bool good = key != NULL && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_size(key) <= (int)MYSQL_ANSWER_MAX &&
                encrypt(key, plain, plain_len, out, len);
    EVP_PKEY_free(key);
    OPENSSL_cleanse(plain, sizeof(plain));
    ERR_clear_error();
    return good ? 0 : ERR_PARSE;
}
