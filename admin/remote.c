/*
 * The admin commands over TCP, for those who show a client certificate: listens, makes the handshake within a
 * deadline, and reads from the certificate who it is. From then on admin/client.c serves the connection like
 * any other; libevent's buffered events do the encryption. Control thread, on the control base.
 */
#include "admin/server_internal.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/openssl.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRIVALS_MAX 64u /* handshakes at once */
#define BACKLOG 64
#define NAME_MAX_BYTES 64u /* of a common name: RFC 5280, appendix A.1, ub-common-name-length */

static const struct timeval handshake_time = {.tv_sec = 5};
static const struct timeval back_off_time = {.tv_usec = 100000};

struct remote {
    struct admin_server *server; /* borrowed: who is let in becomes its client */
    SSL_CTX *context;            /* owned; replaced by remote_reload */
    struct evconnlistener *listener;
    struct addr address, wanted; /* as bound, and as configured */
    bool held;                   /* accepts nobody for now */
    bool foreign;                /* the socket is a service manager's */
    struct event *back_off;
    struct list arrivals; /* of struct arrival, oldest first */
    size_t arrivals_len;
};

/* A connection whose handshake is not over. */
struct arrival {
    struct list node;
    struct remote *remote;
    struct bufferevent *stream; /* owned, with its descriptor */
    struct event *deadline;     /* owned */
    char from[ADDR_TEXT_MAX];
};

/* ---- what is shown and who is believed */

static int refuse_tls(struct err_text *err, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    int rc = err_set(err, ERR_INVALID, "admin.remote: %s \"%s\" cannot be used: %s", what, file,
                     why != NULL ? why : "it cannot be read, or is not PEM");
    ERR_clear_error();
    return rc;
}

static bool add_revocations(SSL_CTX *context, const char *file)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup != NULL && X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) > 0 &&
           X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
}

static int fill_context(SSL_CTX *context, const struct config *config, struct err_text *err)
{
    static const unsigned char id[] = "shunt admin";
    const char *certificate = config->admin.remote.certificate;
    const char *key = config->admin.remote.key;
    const char *ca = config->admin.remote.client_ca;
    const char *crl = config->admin.remote.client_crl;
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_session_id_context(context, id, sizeof(id) - 1) != 1) {
        return err_set(err, ERR_NOMEM, "out of memory for admin.remote");
    }
    (void)SSL_CTX_set_num_tickets(context, 0); /* each connection is verified anew */
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return refuse_tls(err, "certificate", certificate);
    }
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        return refuse_tls(err, "key", key);
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    if (names == NULL || SSL_CTX_load_verify_file(context, ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return refuse_tls(err, "client_ca", ca);
    }
    SSL_CTX_set_client_CA_list(context, names);
    if (crl != NULL && !add_revocations(context, crl)) {
        return refuse_tls(err, "client_crl", crl);
    }
    return ERR_OK;
}

static int make_context(const struct config *config, SSL_CTX **out, struct err_text *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for admin.remote");
    }
    int code = fill_context(context, config, err);
    if (code != ERR_OK) {
        SSL_CTX_free(context);
        return code;
    }
    *out = context;
    return ERR_OK;
}

/* The one common name of a certificate, as text without NUL or control bytes. False: it has none like that.
 */
static bool common_name(const X509 *certificate, char *out, size_t size)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) {
        return false; /* of several, which one? */
    }
    unsigned char *text = NULL;
    int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool good = length > 0 && (size_t)length < size && tokens_is_text((const char *)text, (size_t)length);
    if (good) {
        memcpy(out, text, (size_t)length);
        out[length] = '\0';
    }
    OPENSSL_free(text);
    return good;
}

/* Who it is, by the certificate that the handshake verified. Nobody known may nothing. */
static void identify(const struct remote *remote, const SSL *ssl, struct admin_peer *peer)
{
    const struct config *config = remote->server->admin->options.config;
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    char name[NAME_MAX_BYTES + 1];
    *peer = (struct admin_peer){.role = COMMAND_ROLE_NONE, .actor = "certificate:unknown", .uid = (uid_t)-1};
    if (certificate == NULL || SSL_get_verify_result(ssl) != X509_V_OK ||
        !common_name(certificate, name, sizeof(name))) {
        return;
    }
    (void)snprintf(peer->actor, sizeof(peer->actor), "certificate:%.50s", name);
    for (size_t i = 0; i < config->admin.remote.clients_len; i++) {
        const struct config_admin_client *client = &config->admin.remote.clients[i];
        if (strcmp(client->name, name) == 0) {
            peer->role = (enum command_role)client->role; /* the values of both enums are the same */
        }
    }
}

/* ---- one that arrives */

/* Lets go of the arrival; its stream too, unless that was passed on (NULL). */
static void arrival_destroy(struct arrival *arrival)
{
    list_remove(&arrival->node);
    arrival->remote->arrivals_len--;
    if (arrival->deadline != NULL) {
        event_free(arrival->deadline);
    }
    if (arrival->stream != NULL) {
        bufferevent_free(arrival->stream);
    }
    free(arrival);
}

static void turn_away(struct arrival *arrival, const char *why)
{
    log_line(LOG_LEVEL_WARN, "admin client refused", LOG_TEXT("client", arrival->from),
             LOG_TEXT("reason", why));
    arrival_destroy(arrival);
}

static const char *why_failed(struct bufferevent *stream)
{
    const SSL *ssl = bufferevent_openssl_get_ssl(stream);
    long verify = SSL_get_verify_result(ssl);
    unsigned long code = bufferevent_get_openssl_error(stream);
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (verify != X509_V_OK) {
        return X509_verify_cert_error_string(verify);
    }
    return text != NULL ? text : "it ended in the handshake";
}

static void on_handshake(struct bufferevent *stream, short what, void *context)
{
    struct arrival *arrival = context;
    struct admin_peer peer;
    if ((what & BEV_EVENT_CONNECTED) == 0) {
        turn_away(arrival, why_failed(stream));
        ERR_clear_error();
        return;
    }
    identify(arrival->remote, bufferevent_openssl_get_ssl(stream), &peer);
    arrival->stream = NULL;
    (void)server_take(arrival->remote->server, stream, &peer);
    arrival_destroy(arrival);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    turn_away(context, "no handshake within 5s");
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int length,
                      void *context)
{
    struct remote *remote = context;
    struct event_base *base = remote->server->admin->options.base;
    struct addr address = {0};
    (void)listener;
    struct arrival *arrival = remote->arrivals_len < ARRIVALS_MAX ? calloc(1, sizeof(*arrival)) : NULL;
    SSL *ssl = arrival != NULL ? SSL_new(remote->context) : NULL;
    if (ssl == NULL) {
        free(arrival);
        (void)close(fd);
        return; /* who floods is not logged either */
    }
    if ((size_t)length <= sizeof(address.in6)) {
        memcpy(&address.sa, peer, (size_t)length);
        address.len = (socklen_t)length;
        addr_format(&address, arrival->from, sizeof(arrival->from));
    }
    list_init(&arrival->node);
    arrival->remote = remote;
    list_append(&remote->arrivals, &arrival->node);
    remote->arrivals_len++;
    arrival->stream =
        bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (arrival->stream == NULL) {
        SSL_free(ssl);
        (void)close(fd);
        arrival_destroy(arrival);
        return;
    }
    arrival->deadline = evtimer_new(base, on_deadline, arrival);
    bufferevent_setcb(arrival->stream, NULL, NULL, on_handshake, arrival);
    if (arrival->deadline == NULL || event_add(arrival->deadline, &handshake_time) != 0) {
        turn_away(arrival, "out of memory");
    }
}

static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct remote *remote = context;
    log_line(LOG_LEVEL_WARN, "admin.remote cannot accept", LOG_TEXT("error", strerror(errno)));
    (void)evconnlistener_disable(listener);
    (void)evtimer_add(remote->back_off, &back_off_time);
}

static void on_back_off(evutil_socket_t fd, short what, void *context)
{
    struct remote *remote = context;
    (void)fd;
    (void)what;
    if (!remote->held) {
        (void)evconnlistener_enable(remote->listener);
    }
}

/* ---- life */

static int bind_listener(struct remote *remote, const struct config *config, struct err_text *err)
{
    const char *text = config->admin.remote.listen;
    struct addr *address = &remote->address;
    struct err_text why;
    char bound[ADDR_TEXT_MAX];
    if (addr_parse(text, NULL, address, &why) != 0 || addr_is_unix(address)) {
        return err_set(err, ERR_INVALID, "admin.remote.listen = \"%s\": an IP address and a port are needed",
                       text);
    }
    struct event_base *base = remote->server->admin->options.base;
    remote->wanted = *address;
    int given = given_take(remote->server->admin->options.given, "remote", address, &remote->foreign);
    if (given >= 0) {
        remote->listener = evconnlistener_new(base, on_accept, remote,
                                              LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, given);
    } else {
        remote->listener = evconnlistener_new_bind(
            base, on_accept, remote, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
            BACKLOG, &address->sa, (int)address->len);
    }
    if (remote->listener == NULL) {
        int cause = errno;
        (void)err_set_errno(err, "admin.remote.listen %s", text);
        return cause == EADDRINUSE ? ERR_EXISTS : cause == EACCES ? ERR_DENIED : ERR_SYSTEM;
    }
    evconnlistener_set_error_cb(remote->listener, on_accept_error);
    address->len = sizeof(address->in6);
    if (getsockname(evconnlistener_get_fd(remote->listener), &address->sa, &address->len) != 0) {
        return err_set_errno(err, "admin.remote.listen %s", text);
    }
    addr_format(address, bound, sizeof(bound));
    log_line(LOG_LEVEL_INFO, "admin commands are served over TLS", LOG_TEXT("address", bound));
    return ERR_OK;
}

const struct addr *remote_address(const struct remote *remote)
{
    return &remote->address;
}

int remote_create(struct admin_server *server, struct remote **out, struct err_text *err)
{
    const struct config *config = server->admin->options.config;
    struct remote *remote = calloc(1, sizeof(*remote));
    if (remote == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for admin.remote");
    }
    remote->server = server;
    list_init(&remote->arrivals);
    remote->back_off = evtimer_new(server->admin->options.base, on_back_off, remote);
    int code = remote->back_off != NULL ? make_context(config, &remote->context, err)
                                        : err_set(err, ERR_NOMEM, "out of memory for admin.remote");
    if (code == ERR_OK) {
        code = bind_listener(remote, config, err);
    }
    if (code != ERR_OK) {
        remote_destroy(remote);
        return code;
    }
    *out = remote;
    return ERR_OK;
}

void remote_reload(struct remote *remote)
{
    SSL_CTX *context = NULL;
    struct err_text err;
    const struct config *config = remote->server->admin->options.config;
    if (!config->admin.remote.present) {
        return; /* the listener goes with the next start */
    }
    if (make_context(config, &context, &err) != ERR_OK) {
        log_line(LOG_LEVEL_ERROR, "admin.remote keeps the certificates it has", LOG_TEXT("error", err.text));
        return;
    }
    SSL_CTX_free(remote->context);
    remote->context = context;
}

void remote_destroy(struct remote *remote)
{
    if (remote == NULL) {
        return;
    }
    list_each (node, &remote->arrivals) {
        arrival_destroy(list_entry(node, struct arrival, node));
    }
    if (remote->listener != NULL) {
        evconnlistener_free(remote->listener);
    }
    if (remote->back_off != NULL) {
        event_free(remote->back_off);
    }
    SSL_CTX_free(remote->context);
    free(remote);
}

void remote_sockets(const struct remote *remote, given_visit_fn *visit, void *context)
{
    if (remote != NULL) {
        visit(context, "remote", &remote->wanted, remote->foreign, evconnlistener_get_fd(remote->listener));
    }
}

void remote_hold(struct remote *remote, bool hold)
{
    if (remote != NULL) {
        remote->held = hold;
        (void)(hold ? evconnlistener_disable(remote->listener) : evconnlistener_enable(remote->listener));
    }
}
