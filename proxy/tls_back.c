/*
 * Answers for TLS as backends see it: the SSL_CTX of a group, which name each backend is verified for, and
 * the sessions kept for it. Built on the control thread; a worker touches only its own sessions. What follows
 * from a failed handshake is decided in proxy/connect.c.
 */
#include "proxy/tls_back.h"

#include "core/openssl.h"
#include "core/siphash.h"
#include "core/tls_expect.h"
#include "core/tls_files.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SAVED_MAX                                                                                            \
    256u /* sessions of one group on one worker; a place is shared by those whose hashes meet                \
          */

struct saved {
    struct addr address;
    const char *name;     /* borrowed from the group's table; NULL: verified for the address */
    SSL_SESSION *session; /* owned; NULL: a free place */
};

/* A backend that was written with a host name. */
struct host {
    char *backend; /* owned: the backend's name */
    char *name;    /* owned */
};

struct tls_back {
    _Atomic unsigned references;
    SSL_CTX *context; /* owned */
    bool verify;
    char *server_name;  /* owned; NULL: by backend */
    struct host *hosts; /* owned; sorted by backend */
    size_t hosts_len;
    unsigned char *alpn; /* owned; as on the wire. NULL: none */
    unsigned alpn_len;
    bool alpn_of_client;
    unsigned workers;
    struct saved **saved; /* owned; by worker, each made with its first session */
};

struct tls_call {
    struct tls_back *back; /* a reference */
    unsigned worker;
    struct addr address;
    const char *name; /* borrowed from back */
};

/* ---- sessions: only on the worker that they are of */

static struct saved *place_of(const struct tls_call *call)
{
    static const struct siphash_key key = {.k0 = UINT64_C(0x9e3779b97f4a7c15),
                                           .k1 = UINT64_C(0xbf58476d1ce4e5b9)};
    struct saved *list = call->back->saved[call->worker];
    return list != NULL ? &list[siphash(&key, &call->address.sa, call->address.len) % SAVED_MAX] : NULL;
}

static bool is_for(const struct saved *saved, const struct tls_call *call)
{
    return saved->session != NULL && saved->name == call->name && addr_equal(&saved->address, &call->address);
}

void tls_call_forget(struct tls_call *call)
{
    struct saved *place = place_of(call);
    if (place != NULL && is_for(place, call)) {
        SSL_SESSION_free(place->session);
        place->session = NULL;
    }
}

/* libssl has a new session. 1: taken over. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_call *call = SSL_get_app_data(ssl);
    struct saved **list = &call->back->saved[call->worker];
    if (*list == NULL) {
        *list = calloc(SAVED_MAX, sizeof(**list));
    }
    struct saved *place = place_of(call);
    if (place == NULL) {
        return 0;
    }
    SSL_SESSION_free(place->session);
    *place = (struct saved){.address = call->address, .name = call->name, .session = session};
    return 1;
}

/* ---- one connection */

/* By the first len bytes of a backend's name. */
static const char *find_host(const struct tls_back *back, const char *backend, size_t len)
{
    for (size_t low = 0, high = back->hosts_len; low < high;) {
        size_t middle = low + (high - low) / 2;
        const char *name = back->hosts[middle].backend;
        int order = strncmp(name, backend, len);
        order = order == 0 && name[len] != '\0' ? 1 : order;
        if (order == 0) {
            return back->hosts[middle].name;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

static const char *host_of(const struct tls_back *back, const char *backend)
{
    if (back->hosts_len == 0) {
        return NULL;
    }
    const char *name = find_host(back, backend, strlen(backend));
    const char *at =
        strrchr(backend, '@'); /* of several addresses of a host each has its own behind the name */
    return name != NULL || at == NULL ? name : find_host(back, backend, (size_t)(at - backend));
}

/* What is offered: the list, or what the client has got. */
static bool offer(SSL *ssl, const struct tls_back *back, const struct tls_call_spec *spec)
{
    unsigned char one[256];
    if (back->alpn_of_client) {
        if (spec->client == NULL || spec->client_len >= sizeof(one)) {
            return true;
        }
        one[0] = (unsigned char)spec->client_len;
        memcpy(one + 1, spec->client, spec->client_len);
        return SSL_set_alpn_protos(ssl, one, spec->client_len + 1) == 0;
    }
    return back->alpn == NULL || SSL_set_alpn_protos(ssl, back->alpn, back->alpn_len) == 0;
}

SSL *tls_back_connect(struct tls_back *back, const struct tls_call_spec *spec, struct tls_call **out)
{
    struct tls_call *call = calloc(1, sizeof(*call));
    SSL *ssl = SSL_new(back->context);
    if (call == NULL || ssl == NULL) {
        free(call);
        SSL_free(ssl);
        return NULL;
    }
    const char *name = back->server_name != NULL ? back->server_name : host_of(back, spec->backend);
    *call = (struct tls_call){.back = back, .worker = spec->worker, .address = *spec->address, .name = name};
    struct saved *place = place_of(call);
    bool good =
        tls_expect(ssl, name, spec->address) && offer(ssl, back, spec) && SSL_set_app_data(ssl, call) == 1;
    if (good && place != NULL && is_for(place, call)) {
        good = SSL_set_session(ssl, place->session) == 1;
    }
    if (!good) {
        free(call);
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    tls_back_hold(back);
    *out = call;
    return ssl;
}

void tls_call_drop(void *call)
{
    struct tls_call *one = call;
    tls_back_drop(one->back);
    free(one);
}

bool tls_call_is_verified(struct tls_call *call, const SSL *ssl, const char **why)
{
    if (!call->back->verify) {
        return true;
    }
    const X509 *shown = SSL_get0_peer_certificate(ssl);
    long result = SSL_get_verify_result(ssl);
    *why = NULL;
    if (shown == NULL) {
        *why = "no certificate";
    } else if (result != X509_V_OK) {
        *why = X509_verify_cert_error_string(result);
    } else if (SSL_session_reused(ssl) && X509_cmp_current_time(X509_get0_notAfter(shown)) <= 0) {
        *why = "certificate has expired since the session began";
    }
    if (*why != NULL) {
        tls_call_forget(call);
    }
    return *why == NULL;
}

/* ---- building */

struct build {
    const char *service;
    const struct config_group *config;
    struct tls_back *back;
    struct err_text *err;
};

static int no_memory(const struct build *build)
{
    ERR_clear_error();
    return err_set(build->err, ERR_NOMEM, "service %s: group %s: no memory for TLS", build->service,
                   build->config->name);
}

static int complain(const struct build *build, const char *what, const char *file)
{
    return err_set(build->err, ERR_INVALID, "service %s: group %s: tls.%s \"%s\" cannot be used: %s",
                   build->service, build->config->name, what, file, tls_reason("it is not PEM"));
}

static int set_trust(const struct build *build, SSL_CTX *context)
{
    const char *ca = build->config->tls.ca;
    const char *crl = build->config->tls.crl;
    SSL_CTX_set_verify(context, build->back->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (ca != NULL ? SSL_CTX_load_verify_file(context, ca) != 1
                   : SSL_CTX_set_default_verify_paths(context) != 1) {
        return complain(build, "ca", ca != NULL ? ca : "of the system");
    }
    ERR_clear_error();
    return crl == NULL || tls_add_revocations(context, crl) ? 0 : complain(build, "crl", crl);
}

static int set_certificate(const struct build *build, SSL_CTX *context)
{
    struct tls_certificate own;
    struct err_text why;
    if (build->config->tls.own.certificate == NULL) {
        return 0;
    }
    int rc = tls_certificate_load(&build->config->tls.own, &own, &why);
    if (rc != 0) {
        return err_set(build->err, rc, "service %s: group %s: tls: %s", build->service, build->config->name,
                       why.text);
    }
    if (SSL_CTX_use_cert_and_key(context, own.leaf, own.key, own.chain, 1) != 1) {
        rc = complain(build, "certificate", build->config->tls.own.certificate);
    }
    tls_certificate_clear(&own);
    return rc;
}

static int set_context(const struct build *build)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        return no_memory(build);
    }
    build->back->context = context;
    bool only_newest = build->config->tls.min_version == CONFIG_TLS_1_3;
    SSL_CTX_set_min_proto_version(context, only_newest ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    int rc = set_trust(build, context);
    return rc == 0 ? set_certificate(build, context) : rc;
}

static int compare_hosts(const void *a, const void *b)
{
    return strcmp(((const struct host *)a)->backend, ((const struct host *)b)->backend);
}

/* The host name in "HOST:PORT"; NULL without memory, "" for an IP address or a path. */
static char *host_in(const char *address)
{
    struct addr literal;
    const char *colon = strrchr(address, ':');
    if (colon == NULL || strncmp(address, "unix:", 5) == 0 ||
        addr_parse(address, NULL, &literal, NULL) == 0) {
        return strdup("");
    }
    return strndup(address, (size_t)(colon - address));
}

static int note_hosts(const struct build *build)
{
    struct tls_back *back = build->back;
    const struct config_group *config = build->config;
    back->hosts = calloc(config->backends_len + 1, sizeof(*back->hosts));
    if (back->hosts == NULL) {
        return no_memory(build);
    }
    for (size_t i = 0; i < config->backends_len; i++) {
        char *name = host_in(config->backends[i].address);
        if (name == NULL) {
            return no_memory(build);
        }
        if (name[0] == '\0') {
            free(name);
            continue;
        }
        struct host *host = &back->hosts[back->hosts_len++];
        *host = (struct host){.backend = strdup(config->backends[i].name), .name = name};
        if (host->backend == NULL) {
            return no_memory(build);
        }
    }
    qsort(back->hosts, back->hosts_len, sizeof(*back->hosts), compare_hosts);
    return 0;
}

static int note_names(const struct build *build)
{
    struct tls_back *back = build->back;
    char *const *alpn = build->config->tls.alpn;
    size_t alpn_len = build->config->tls.alpn_len;
    if (build->config->tls.server_name != NULL) {
        back->server_name = strdup(build->config->tls.server_name);
        if (back->server_name == NULL) {
            return no_memory(build);
        }
    }
    back->alpn_of_client = alpn_len == 1 && strcmp(alpn[0], "client") == 0;
    if (!back->alpn_of_client && tls_alpn_make(alpn, alpn_len, &back->alpn, &back->alpn_len) != 0) {
        return no_memory(build);
    }
    return note_hosts(build);
}

int tls_back_create(const char *service, const struct config_group *config, unsigned workers,
                    struct tls_back **out, struct err_text *err)
{
    struct build build = {
        .service = service, .config = config, .err = err, .back = calloc(1, sizeof(*build.back))};
    struct tls_back *back = build.back;
    if (back == NULL) {
        return no_memory(&build);
    }
    atomic_init(&back->references, 1);
    back->verify = config->tls.verify;
    back->workers = workers;
    back->saved = calloc(workers + 1, sizeof(struct saved *));
    int rc = back->saved != NULL ? set_context(&build) : no_memory(&build);
    rc = rc == 0 ? note_names(&build) : rc;
    if (rc != 0) {
        tls_back_drop(back);
        return rc;
    }
    *out = back;
    return 0;
}

void tls_back_hold(struct tls_back *back)
{
    atomic_fetch_add_explicit(&back->references, 1, memory_order_relaxed);
}

static void free_saved(struct tls_back *back)
{
    for (unsigned w = 0; back->saved != NULL && w < back->workers; w++) {
        for (unsigned i = 0; back->saved[w] != NULL && i < SAVED_MAX; i++) {
            SSL_SESSION_free(back->saved[w][i].session);
        }
        free(back->saved[w]);
    }
    free((void *)back->saved);
}

void tls_back_drop(void *back)
{
    struct tls_back *one = back;
    if (one == NULL || atomic_fetch_sub_explicit(&one->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    free_saved(one);
    SSL_CTX_free(one->context);
    for (size_t i = 0; i < one->hosts_len; i++) {
        free(one->hosts[i].backend);
        free(one->hosts[i].name);
    }
    free(one->hosts);
    free(one->server_name);
    free(one->alpn);
    free(one);
}
