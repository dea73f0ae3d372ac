/*
 * Answers for TLS as clients see it: one SSL_CTX for each set of certificates that a name can have, all alike
 * but for these, and the choice among them when a ClientHello names a host. Built on the control thread; the
 * callbacks run on whichever worker makes a handshake. Moving bytes is proxy/tls_stream.c's business.
 */
#include "proxy/tls_front.h"

#include "core/clock.h"
#include "core/openssl.h"
#include "core/tls_files.h"
#include "proxy/tls_names.h"
#include "proxy/tls_tickets.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KINDS_MAX 4u /* of keys, for one name */

/* The certificates of one name, at most one for each kind of key. */
struct choice {
    uint32_t certificate[KINDS_MAX];
    unsigned len;
    SSL_CTX *context; /* owned */
};

/* What people are told of a certificate. */
struct told {
    char *file; /* owned */
    char name[TLS_NAMES_MAX + 1];
};

struct tls_front {
    _Atomic unsigned references;
    struct choice *choices; /* owned; the first is the default */
    size_t choices_len;
    struct tls_names names; /* index of a choice */
    bool refuses;           /* whoever names no known host */
    unsigned char *alpn;    /* owned; as on the wire. NULL: none */
    unsigned alpn_len;
    struct tls_certificate *certificates; /* owned, in the order of the file */
    struct told *told;                    /* owned; of each */
    size_t certificates_len;
    enum config_client_auth client_auth;
    struct tls_tickets *tickets;                    /* borrowed; NULL: none are made */
    unsigned char identity[SSL_MAX_SID_CTX_LENGTH]; /* what sessions are of */
};

/* What is only needed while it is built. */
struct build {
    const struct config_service *config;
    struct tls_front *front;
    struct tls_names all; /* index of a certificate */
    struct err_text *err;
};

/* ---- a handshake begins: which certificate */

/* The host in a server_name extension (RFC 6066 3). NULL: none. */
static const unsigned char *host_in(const unsigned char *bytes, size_t size, size_t *len)
{
    /* list length, type (0: host name), length, host */
    if (size < 5 || ((size_t)bytes[0] << 8 | bytes[1]) != size - 2 || bytes[2] != 0) {
        return NULL;
    }
    *len = (size_t)bytes[3] << 8 | bytes[4];
    return *len <= size - 5 ? bytes + 5 : NULL;
}

static const struct choice *choose(const struct tls_front *front, const char *host)
{
    size_t first = 0;
    if (tls_names_find(&front->names, host, &first) > 0) {
        return &front->choices[front->names.list[first].value];
    }
    return front->refuses ? NULL : &front->choices[0];
}

/* A session is good for the name that it was made with and for no other (RFC 6066 3), nor for another
 * service, however the keys of tickets are shared. */
static bool confine_session(SSL *ssl, const struct tls_front *front, const char *host)
{
    unsigned char text[SSL_MAX_SID_CTX_LENGTH + TLS_NAMES_MAX + 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    size_t host_size = strlen(host) + 1;
    memcpy(text, front->identity, sizeof(front->identity));
    memcpy(text + sizeof(front->identity), host, host_size);
    return EVP_Digest(text, sizeof(front->identity) + host_size, digest, &digest_len, EVP_sha256(), NULL) ==
               1 &&
           SSL_set_session_id_context(ssl, digest, SSL_MAX_SID_CTX_LENGTH) == 1;
}

static int on_client_hello(SSL *ssl, int *alert, void *context)
{
    const struct tls_front *front = context;
    const unsigned char *extension = NULL;
    size_t size = 0;
    size_t len = 0;
    char host[TLS_NAMES_MAX + 1] = "";
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &size) == 1) {
        const unsigned char *name = host_in(extension, size, &len);
        if (name == NULL || !tls_names_normalize((const char *)name, len, host)) {
            host[0] = '\0'; /* libssl judges its form; here it names nobody */
        }
    }
    const struct choice *choice = choose(front, host);
    if (choice == NULL) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (SSL_set_SSL_CTX(ssl, choice->context) == NULL || !confine_session(ssl, front, host)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* The name was dealt with above; this makes libssl remember it. */
static int on_server_name(SSL *ssl, int *alert, void *context)
{
    (void)alert;
    (void)context;
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != NULL ? SSL_TLSEXT_ERR_OK
                                                                      : SSL_TLSEXT_ERR_NOACK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered,
                   unsigned offered_len, void *context)
{
    const struct tls_front *front = context;
    unsigned char *chosen = NULL;
    (void)ssl;
    int rc = SSL_select_next_proto(&chosen, out_len, front->alpn, front->alpn_len, offered, offered_len);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* In TLS 1.3 each ticket is good for one connection (RFC 8446 C.4; libssl's own clients forget it then): who
 * comes with one is given the next. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    const struct tls_front *front = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    int rc = tls_tickets_use(front->tickets, name, iv, cipher, mac, encrypt == 1);
    return rc == 1 && encrypt == 0 && SSL_version(ssl) == TLS1_3_VERSION ? 2 : rc;
}

/* Which certificate it will be is known by now. */
static int on_status(SSL *ssl, void *context)
{
    const struct tls_front *front = context;
    const X509 *shown = SSL_get_certificate(ssl);
    for (size_t i = 0; i < front->certificates_len; i++) {
        const struct tls_certificate *one = &front->certificates[i];
        if (one->leaf != shown || one->staple == NULL || one->staple_end_s <= (int64_t)time(NULL)) {
            continue;
        }
        unsigned char *copy = OPENSSL_memdup(one->staple, (size_t)one->staple_len);
        if (copy == NULL || SSL_set_tlsext_status_ocsp_resp(ssl, copy, one->staple_len) != 1) {
            OPENSSL_free(copy);
            break;
        }
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

bool tls_front_is_verified(const SSL *ssl, const char **why)
{
    const struct tls_front *front = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const X509 *shown = SSL_get0_peer_certificate(ssl);
    long result = SSL_get_verify_result(ssl);
    *why = NULL;
    if (front->client_auth == CONFIG_CLIENT_AUTH_NONE) {
        return true;
    }
    if (shown == NULL) {
        *why = front->client_auth == CONFIG_CLIENT_AUTH_REQUIRED ? "no certificate" : NULL;
    } else if (result != X509_V_OK) {
        *why = X509_verify_cert_error_string(result);
    } else if (SSL_session_reused(ssl) && X509_cmp_current_time(X509_get0_notAfter(shown)) <= 0) {
        *why = "certificate has expired since the session began";
    }
    return *why == NULL;
}

/* ---- contexts */

static int complain(struct build *build, const char *what, const char *text)
{
    return err_set(build->err, ERR_INVALID, "service %s: tls.%s = \"%s\": %s", build->config->name, what,
                   text, tls_reason("unknown to OpenSSL"));
}

static int no_memory(struct build *build)
{
    ERR_clear_error();
    return err_set(build->err, ERR_NOMEM, "service %s: no memory for TLS", build->config->name);
}

static int set_ciphers(struct build *build, SSL_CTX *context)
{
    if (SSL_CTX_set_cipher_list(context, build->config->tls.ciphers) != 1) {
        return complain(build, "ciphers", build->config->tls.ciphers);
    }
    if (SSL_CTX_set_ciphersuites(context, build->config->tls.ciphersuites) != 1) {
        return complain(build, "ciphersuites", build->config->tls.ciphersuites);
    }
    if (SSL_CTX_set1_groups_list(context, build->config->tls.curves) != 1) {
        return complain(build, "curves", build->config->tls.curves);
    }
    return 0;
}

static void set_sessions(const struct build *build, SSL_CTX *context)
{
    bool cached = build->config->tls.sessions && build->config->tls.session_cache > 0;
    (void)SSL_CTX_set_session_cache_mode(context, cached ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_sess_set_cache_size(context, build->config->tls.session_cache);
    (void)SSL_CTX_set_timeout(context, (long)(build->config->tls.session_lifetime_us / CLOCK_US_PER_S));
    if (build->front->tickets != NULL) {
        (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket);
    } else {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        (void)SSL_CTX_set_num_tickets(context, 0);
    }
}

/* All contexts of a service believe the same: what was read for the first one serves the others, since an
 * authority's file may be long and the certificates many. */
static int share_client_trust(struct build *build, SSL_CTX *from, SSL_CTX *context)
{
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(from));
    SSL_CTX_set1_cert_store(context, SSL_CTX_get_cert_store(from));
    SSL_CTX_set_client_CA_list(context, names); /* taken over */
    return names != NULL ? 0 : no_memory(build);
}

static int set_client_trust(struct build *build, SSL_CTX *context)
{
    SSL_CTX *first = build->front->choices[0].context;
    const char *ca = build->config->tls.client_ca;
    const char *crl = build->config->tls.client_crl;
    bool required = build->config->tls.client_auth == CONFIG_CLIENT_AUTH_REQUIRED;
    if (build->config->tls.client_auth == CONFIG_CLIENT_AUTH_NONE) {
        return 0;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    if (first != context) {
        return share_client_trust(build, first, context);
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    SSL_CTX_set_client_CA_list(context, names); /* taken over */
    if (names == NULL || SSL_CTX_load_verify_file(context, ca) != 1) {
        return complain(build, "client_ca", ca);
    }
    ERR_clear_error();
    return crl == NULL || tls_add_revocations(context, crl) ? 0 : complain(build, "client_crl", crl);
}

static int context_create(struct build *build, SSL_CTX **out)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL) {
        return no_memory(build);
    }
    *out = context;
    bool only_newest = build->config->tls.min_version == CONFIG_TLS_1_3;
    SSL_CTX_set_min_proto_version(context, only_newest ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_client_hello_cb(context, on_client_hello, build->front);
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    if (build->front->alpn != NULL) {
        SSL_CTX_set_alpn_select_cb(context, on_alpn, build->front);
    }
    set_sessions(build, context);
    SSL_CTX_set_tlsext_status_cb(context, on_status);
    SSL_CTX_set_tlsext_status_arg(context, build->front);
    (void)SSL_CTX_set_app_data(context, build->front);
    int rc = set_ciphers(build, context);
    return rc == 0 ? set_client_trust(build, context) : rc;
}

static int choice_create(struct build *build, struct choice *choice)
{
    int rc = context_create(build, &choice->context);
    for (unsigned i = 0; rc == 0 && i < choice->len; i++) {
        const struct tls_certificate *one = &build->front->certificates[choice->certificate[i]];
        if (SSL_CTX_use_cert_and_key(choice->context, one->leaf, one->key, one->chain, 1) != 1) {
            const char *file = build->config->tls.certificates[choice->certificate[i]].certificate;
            rc = err_set(build->err, ERR_INVALID, "service %s: certificate \"%s\" cannot be used: %s",
                         build->config->name, file, tls_reason("unknown"));
        }
    }
    return rc;
}

/* ---- names */

static int kind_of(const struct build *build, uint32_t certificate)
{
    return EVP_PKEY_get_base_id(build->front->certificates[certificate].key);
}

/* Of n certificates (in the order of the file) the first of each kind of key. */
static struct choice choice_of(const struct build *build, const struct tls_names_entry *entries, size_t n)
{
    struct choice choice = {.len = 0};
    for (size_t i = 0; i < n && choice.len < KINDS_MAX; i++) {
        bool taken = false;
        for (unsigned c = 0; c < choice.len; c++) {
            taken |= kind_of(build, choice.certificate[c]) == kind_of(build, entries[i].value);
        }
        if (!taken) {
            choice.certificate[choice.len++] = entries[i].value;
        }
    }
    return choice;
}

static bool same_choice(const struct choice *a, const struct choice *b)
{
    return a->len == b->len &&
           memcmp(a->certificate, b->certificate, a->len * sizeof(a->certificate[0])) == 0;
}

/* The index of this choice, which is made unless it is there already. */
static int choice_index(struct build *build, const struct choice *wanted, uint32_t *index)
{
    struct tls_front *front = build->front;
    for (size_t i = 0; i < front->choices_len; i++) {
        if (same_choice(&front->choices[i], wanted)) {
            *index = (uint32_t)i;
            return 0;
        }
    }
    struct choice *list = realloc(front->choices, (front->choices_len + 1) * sizeof(*list));
    if (list == NULL) {
        return no_memory(build);
    }
    front->choices = list;
    list[front->choices_len] = *wanted;
    *index = (uint32_t)front->choices_len++;
    return choice_create(build, &list[*index]);
}

static int add_name(struct build *build, const ASN1_STRING *text, uint32_t certificate)
{
    char name[TLS_NAMES_MAX + 1];
    const char *bytes = (const char *)ASN1_STRING_get0_data(text);
    if (!tls_names_normalize(bytes, (size_t)ASN1_STRING_length(text), name)) {
        return 0; /* nobody can ask for it */
    }
    assert(build->front->told != NULL);
    char *told = build->front->told[certificate].name;
    if (told[0] == '\0') {
        memcpy(told, name, sizeof(name));
    }
    return tls_names_add(&build->all, name, certificate) == 0 ? 0 : no_memory(build);
}

/* The names of the subject's alternatives; the common name counts only where there are none (RFC 6125 6.4.4).
 */
static int add_names(struct build *build, uint32_t index)
{
    const X509 *leaf = build->front->certificates[index].leaf;
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool any = false;
    int rc = 0;
    for (int i = 0; rc == 0 && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS) {
            any = true;
            rc = add_name(build, name->d.dNSName, index);
        }
    }
    GENERAL_NAMES_free(names);
    const X509_NAME *subject = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (rc == 0 && !any && at >= 0) {
        rc = add_name(build, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), index);
    }
    return rc;
}

/* The default: the first certificate, with those of its first name that have keys of other kinds. */
static int make_default(struct build *build)
{
    struct tls_names_entry first = {.value = 0};
    uint32_t index = 0;
    struct choice choice = choice_of(build, &first, 1);
    size_t at = 0;
    while (at < build->all.len && build->all.list[at].value != 0) {
        at++;
    }
    if (at < build->all.len) {
        size_t n = tls_names_find(&build->all, build->all.list[at].name, &at);
        choice = n > 0 ? choice_of(build, &build->all.list[at], n) : choice;
    }
    return choice_index(build, &choice, &index);
}

static int make_choices(struct build *build)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < build->config->tls.certificates_len; i++) {
        rc = add_names(build, i);
    }
    tls_names_sort(&build->all);
    rc = rc == 0 ? make_default(build) : rc;
    const struct tls_names_entry *list = build->all.list;
    for (size_t i = 0, n = 0; rc == 0 && i < build->all.len; i += n) {
        uint32_t index = 0;
        for (n = 1; i + n < build->all.len && strcmp(list[i + n].name, list[i].name) == 0;) {
            n++;
        }
        struct choice choice = choice_of(build, &list[i], n);
        rc = choice_index(build, &choice, &index);
        if (rc == 0 && tls_names_add(&build->front->names, list[i].name, index) != 0) {
            rc = no_memory(build);
        }
    }
    return rc;
}

/* ---- the whole */

/* Sessions belong to a service, and to those whom it believed then. */
static bool digest_identity(const struct config_service *config, EVP_MD_CTX *digest)
{
    unsigned char auth = (unsigned char)config->tls.client_auth;
    bool good = EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(digest, config->name, strlen(config->name) + 1) == 1 &&
                EVP_DigestUpdate(digest, &auth, sizeof(auth)) == 1;
    if (config->tls.client_auth != CONFIG_CLIENT_AUTH_NONE) {
        good = good && tls_digest_file(digest, config->tls.client_ca) &&
               (config->tls.client_crl == NULL || tls_digest_file(digest, config->tls.client_crl));
    }
    return good;
}

static int make_identity(struct build *build)
{
    unsigned char result[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (digest == NULL) {
        return no_memory(build);
    }
    bool good = digest_identity(build->config, digest) && EVP_DigestFinal_ex(digest, result, &len) == 1;
    EVP_MD_CTX_free(digest);
    if (!good) {
        return err_set(build->err, ERR_INVALID, "service %s: tls.client_ca and client_crl cannot be read",
                       build->config->name);
    }
    memcpy(build->front->identity, result, sizeof(build->front->identity));
    return 0;
}

static int load_certificates(struct build *build)
{
    size_t n = build->config->tls.certificates_len;
    struct tls_certificate *list = calloc(n + 1, sizeof(*list));
    build->front->told = calloc(n + 1, sizeof(*build->front->told));
    if (list == NULL || build->front->told == NULL) {
        free(list);
        return no_memory(build);
    }
    build->front->certificates = list;
    build->front->certificates_len = n;
    for (size_t i = 0; i < n; i++) {
        struct err_text why;
        int rc = tls_certificate_load(&build->config->tls.certificates[i], &list[i], &why);
        if (rc != 0) {
            return err_set(build->err, rc, "service %s: %s", build->config->name, why.text);
        }
        build->front->told[i].file = strdup(build->config->tls.certificates[i].certificate);
        if (build->front->told[i].file == NULL) {
            return no_memory(build);
        }
    }
    return 0;
}

int tls_front_create(const struct config_service *config, struct tls_tickets *tickets, struct tls_front **out,
                     struct err_text *err)
{
    struct build build = {.config = config, .err = err, .front = calloc(1, sizeof(*build.front))};
    if (build.front == NULL) {
        return no_memory(&build);
    }
    atomic_init(&build.front->references, 1);
    build.front->client_auth = config->tls.client_auth;
    build.front->tickets = config->tls.sessions ? tickets : NULL;
    build.front->refuses = config->tls.unknown_name == CONFIG_TLS_UNKNOWN_REFUSE;
    int rc =
        tls_alpn_make(config->tls.alpn, config->tls.alpn_len, &build.front->alpn, &build.front->alpn_len) == 0
            ? make_identity(&build)
            : no_memory(&build);
    rc = rc == 0 ? load_certificates(&build) : rc;
    rc = rc == 0 ? make_choices(&build) : rc;
    tls_names_clear(&build.all);
    if (rc != 0) {
        tls_front_drop(build.front);
        return rc;
    }
    *out = build.front;
    return 0;
}

void tls_front_hold(struct tls_front *front)
{
    atomic_fetch_add_explicit(&front->references, 1, memory_order_relaxed);
}

void tls_front_drop(void *front)
{
    struct tls_front *one = front;
    if (one == NULL || atomic_fetch_sub_explicit(&one->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < one->choices_len; i++) {
        SSL_CTX_free(one->choices[i].context);
    }
    free(one->choices);
    for (size_t i = 0; i < one->certificates_len; i++) {
        tls_certificate_clear(&one->certificates[i]);
        free(one->told[i].file);
    }
    free(one->told);
    free(one->certificates);
    tls_names_clear(&one->names);
    free(one->alpn);
    free(one);
}

SSL *tls_front_accept(const struct tls_front *front)
{
    SSL *ssl = SSL_new(front->choices[0].context);
    if (ssl != NULL) {
        SSL_set_accept_state(ssl);
    }
    return ssl;
}

size_t tls_front_certificates(const struct tls_front *front)
{
    return front->certificates_len;
}

void tls_front_describe(const struct tls_front *front, size_t index, const char **file, const char **name,
                        int64_t *end_s)
{
    *file = front->told[index].file;
    *name = front->told[index].name;
    *end_s = tls_certificate_end_s(&front->certificates[index]);
}
