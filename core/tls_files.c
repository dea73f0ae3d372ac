/* Certificates, keys and what goes with them from files: see core/tls_files.h. What is done with them is in
 * the rooms above. */
#include "core/tls_files.h"

#include "core/log.h"
#include "core/tls_phrase.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS_A_DAY 86400

const char *tls_reason(const char *other)
{
    const char *why = NULL;
    unsigned long code;
    while ((code = ERR_get_error()) != 0) {
        if (ERR_SYSTEM_ERROR(code)) {
            why = strerror(ERR_GET_REASON(code));
            break;
        }
        why = ERR_reason_error_string(code);
    }
    ERR_clear_error();
    return why != NULL ? why : other;
}

/* Seconds since 1970; INT64_MAX when it cannot be told. */
static int64_t end_of(const ASN1_TIME *end)
{
    int days = 0;
    int seconds = 0;
    ASN1_TIME *zero = ASN1_TIME_set(NULL, 0);
    bool known = zero != NULL && ASN1_TIME_diff(&days, &seconds, zero, end) == 1;
    ASN1_TIME_free(zero);
    return known ? (int64_t)days * SECONDS_A_DAY + seconds : INT64_MAX;
}

static int complain(struct err_text *err, const char *what, const char *file, const char *other)
{
    return err_set(err, ERR_INVALID, "%s \"%s\" cannot be used: %s", what, file, tls_reason(other));
}

void tls_certificate_clear(struct tls_certificate *certificate)
{
    X509_free(certificate->leaf);
    sk_X509_pop_free(certificate->chain, X509_free);
    EVP_PKEY_free(certificate->key);
    OPENSSL_free(certificate->staple);
    *certificate = (struct tls_certificate){.leaf = NULL};
}

/* All further certificates of the file. */
static int read_chain(BIO *file, const char *path, struct tls_certificate *out, struct err_text *err)
{
    X509 *next;
    while ((next = PEM_read_bio_X509(file, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(out->chain, next) == 0) {
            X509_free(next);
            return err_set(err, ERR_NOMEM, "no memory for certificates");
        }
    }
    unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE) {
        return complain(err, "certificate", path, "one behind the first is broken");
    }
    ERR_clear_error(); /* the end of the file */
    return 0;
}

static int read_certificates(const char *path, struct tls_certificate *out, struct err_text *err)
{
    ERR_clear_error();
    BIO *file = BIO_new_file(path, "r");
    if (file == NULL) {
        return complain(err, "certificate", path, "it cannot be read");
    }
    out->leaf = PEM_read_bio_X509_AUX(file, NULL, NULL, NULL);
    out->chain = sk_X509_new_null();
    int rc = 0;
    if (out->leaf == NULL) {
        rc = complain(err, "certificate", path, "it is not PEM");
    } else if (out->chain == NULL) {
        rc = err_set(err, ERR_NOMEM, "no memory for certificates");
    } else {
        rc = read_chain(file, path, out, err);
    }
    BIO_free(file);
    return rc;
}

/* What decrypts a key, and whether anybody asked. */
struct phrase {
    char text[TLS_PHRASE_MAX]; /* empty: there is none; the terminal must not be asked */
    bool asked;
};

static int on_phrase(char *out, int size, int writing, void *context)
{
    struct phrase *phrase = context;
    size_t len = strlen(phrase->text);
    (void)writing;
    phrase->asked = true;
    if (len == 0 || len > (size_t)size) {
        return -1;
    }
    memcpy(out, phrase->text, len);
    return (int)len;
}

static int read_key_with(struct phrase *phrase, const char *path, struct tls_certificate *out,
                         struct err_text *err)
{
    ERR_clear_error();
    BIO *file = BIO_new_file(path, "r");
    if (file == NULL) {
        return complain(err, "key", path, "it cannot be read");
    }
    out->key = PEM_read_bio_PrivateKey(file, NULL, on_phrase, phrase);
    BIO_free(file);
    if (out->key != NULL) {
        return 0;
    }
    if (phrase->asked) {
        ERR_clear_error();
        return err_set(err, ERR_INVALID, "key \"%s\" cannot be used: %s", path,
                       phrase->text[0] == '\0'
                           ? "it is encrypted: passphrase_command tells how to get its pass phrase"
                           : "the pass phrase is wrong");
    }
    ERR_clear_error(); /* "unsupported" helps nobody */
    return err_set(err, ERR_INVALID, "key \"%s\" cannot be used: it is not a private key in PEM", path);
}

static int read_key(const struct config_certificate *config, struct tls_certificate *out,
                    struct err_text *err)
{
    struct phrase phrase = {.text = ""};
    struct err_text why;
    if (config->phrase_command_len > 0) {
        int rc = tls_phrase_ask(config->phrase_command, config->phrase_command_len, phrase.text, &why);
        if (rc != 0) {
            return err_set(err, rc, "key \"%s\" cannot be used: %s", config->key, why.text);
        }
    }
    int rc = read_key_with(&phrase, config->key, out, err);
    OPENSSL_cleanse(phrase.text, sizeof(phrase.text));
    return rc;
}

/* Told by the serial number: the authority's certificate, which its name in a response is made of, need not
 * be at hand. */
static bool is_about(const OCSP_SINGLERESP *answer, const X509 *leaf)
{
    ASN1_INTEGER *serial = NULL;
    OCSP_CERTID *id = OCSP_CERTID_dup(OCSP_SINGLERESP_get0_id(answer));
    bool same = id != NULL && OCSP_id_get0_info(NULL, NULL, NULL, &serial, id) == 1 &&
                ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0;
    OCSP_CERTID_free(id);
    return same;
}

/* An OCSP response as a file has it. What is no longer good is not shown, nor what is about another
 * certificate: that is how it is after a renewal, until the next response has come. */
static int read_staple(const char *path, struct tls_certificate *out, struct err_text *err)
{
    ERR_clear_error();
    BIO *file = BIO_new_file(path, "r");
    if (file == NULL) {
        return complain(err, "OCSP response", path, "it cannot be read");
    }
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE_bio(file, NULL);
    BIO_free(file);
    if (response == NULL) {
        return complain(err, "OCSP response", path, "it is not DER");
    }
    OCSP_BASICRESP *basic = OCSP_response_get1_basic(response);
    ASN1_GENERALIZEDTIME *until = NULL;
    int status = V_OCSP_CERTSTATUS_UNKNOWN;
    bool about = false;
    if (basic != NULL && OCSP_resp_count(basic) == 1) {
        status = OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, NULL, &until);
        about = is_about(OCSP_resp_get0(basic, 0), out->leaf);
    }
    out->staple_end_s = until != NULL ? end_of(until) : INT64_MAX;
    OCSP_BASICRESP_free(basic);
    if (status == V_OCSP_CERTSTATUS_GOOD) {
        out->staple_len = i2d_OCSP_RESPONSE(response, &out->staple);
    }
    if (out->staple_len > 0 && !about) {
        out->staple_end_s = 0;
        log_line(LOG_LEVEL_WARN, "an OCSP response is not shown: it is about another certificate",
                 LOG_TEXT("file", path));
    }
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return out->staple_len > 0
               ? 0
               : err_set(err, ERR_INVALID, "OCSP response \"%s\" does not say \"good\"", path);
}

int tls_certificate_load(const struct config_certificate *config, struct tls_certificate *out,
                         struct err_text *err)
{
    *out = (struct tls_certificate){.leaf = NULL};
    int rc = read_certificates(config->certificate, out, err);
    if (rc == 0) {
        rc = read_key(config, out, err);
    }
    if (rc == 0 && X509_check_private_key(out->leaf, out->key) != 1) {
        ERR_clear_error();
        rc = err_set(err, ERR_INVALID, "key \"%s\" is not that of the certificate \"%s\"", config->key,
                     config->certificate);
    }
    if (rc == 0 && config->ocsp != NULL) {
        rc = read_staple(config->ocsp, out, err);
    }
    if (rc != 0) {
        tls_certificate_clear(out);
    }
    return rc;
}

int64_t tls_certificate_end_s(const struct tls_certificate *certificate)
{
    int64_t first = end_of(X509_get0_notAfter(certificate->leaf));
    for (int i = 0; i < sk_X509_num(certificate->chain); i++) {
        int64_t end = end_of(X509_get0_notAfter(sk_X509_value(certificate->chain, i)));
        first = end < first ? end : first;
    }
    return first;
}

int tls_alpn_make(char *const *names, size_t names_len, unsigned char **out, unsigned *out_len)
{
    size_t size = 0;
    for (size_t i = 0; i < names_len; i++) {
        size += 1 + strlen(names[i]);
    }
    *out = NULL;
    *out_len = (unsigned)size;
    if (size == 0) {
        return 0;
    }
    unsigned char *at = malloc(size);
    if (at == NULL) {
        return ERR_NOMEM;
    }
    *out = at;
    for (size_t i = 0; i < names_len; i++) {
        size_t len = strlen(names[i]);
        *at++ = (unsigned char)len;
        for (size_t c = 0; c < len; c++) {
            *at++ = (unsigned char)names[i][c];
        }
    }
    return 0;
}

bool tls_add_revocations(SSL_CTX *context, const char *path)
{
    ERR_clear_error();
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup != NULL && X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) > 0 &&
           X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

bool tls_digest_file(EVP_MD_CTX *digest, const char *path)
{
    unsigned char bytes[4096];
    size_t n = 0;
    BIO *file = BIO_new_file(path, "r");
    bool good = file != NULL;
    while (good && BIO_read_ex(file, bytes, sizeof(bytes), &n) == 1) {
        good = EVP_DigestUpdate(digest, bytes, n) == 1;
    }
    BIO_free(file);
    ERR_clear_error();
    return good;
}
