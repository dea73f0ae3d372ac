/*
 * The way to a daemon on another machine: TLS 1.3 with a client certificate, as a socket like the one to a
 * daemon here. What is written to that socket a thread encrypts, and back; it ends with the connection or
 * when that socket is closed. The handshake is made in the caller's thread, so that what is wrong with it is
 * told before anything is sent.
 */
#include "admin/ctl/ctl.h"
#include "core/openssl.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_BYTES 16384
#define CONNECT_TIME_S 10

/* The thread of the one tunnel that there is: its caller has closed the socket of the one before. */
static pthread_t pump_thread;
static bool pump_runs;

struct tunnel {
    SSL *ssl;  /* owned, with its descriptor */
    int inner; /* owned: our end of the pair */
};

static int complain(const char *what, const char *name)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    fprintf(stderr, "shuntctl: %s %s%s%s\n", what, name, why != NULL ? ": " : "", why != NULL ? why : "");
    errno = EACCES;
    return -1;
}

/* The certificate and key of who calls, and whom to believe: from the environment. NULL: said why. */
static SSL_CTX *make_context(void)
{
    const char *certificate = getenv("SHUNT_CERT");
    const char *key = getenv("SHUNT_KEY");
    const char *ca = getenv("SHUNT_CA");
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1) {
        (void)complain("out of memory", "for TLS");
    } else if (certificate == NULL || ca == NULL) {
        fputs("shuntctl: tls://HOST:PORT needs your certificate and key ($SHUNT_CERT, $SHUNT_KEY) and the "
              "daemon's "
              "authority ($SHUNT_CA)\n",
              stderr);
    } else if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        (void)complain("certificate", certificate);
    } else if (SSL_CTX_use_PrivateKey_file(context, key != NULL ? key : certificate, SSL_FILETYPE_PEM) != 1) {
        (void)complain("key", key != NULL ? key : certificate);
    } else if (SSL_CTX_load_verify_file(context, ca) != 1) {
        (void)complain("authority", ca);
    } else {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        return context;
    }
    SSL_CTX_free(context);
    errno = EACCES;
    return NULL;
}

/* "HOST:PORT" or "[IPv6]:PORT" in two; host is the caller's. */
static char *split(const char *text, const char **port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0') {
        return NULL;
    }
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    *port = colon + 1;
    return bracketed ? strndup(text + 1, (size_t)(colon - text) - 2) : strndup(text, (size_t)(colon - text));
}

static int connect_tcp(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct timeval time = {.tv_sec = CONNECT_TIME_S};
    struct addrinfo *found = NULL;
    int fd = -1;
    int number = EADDRNOTAVAIL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0) {
        fprintf(stderr, "shuntctl: %s: %s\n", host, gai_strerror(failed));
        errno = number;
        return -1;
    }
    for (const struct addrinfo *one = found; one != NULL && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        /* Linux takes the limit on sending for connecting too. */
        if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)) != 0 ||
                        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) != 0 ||
                        connect(fd, one->ai_addr, one->ai_addrlen) != 0)) {
            number = errno == EINPROGRESS ? ETIMEDOUT : errno;
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    errno = number;
    return fd;
}

/* The certificate must be for the host as it was given: an address or a name. */
static bool expect_host(SSL *ssl, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1) {
        return true;
    }
    ERR_clear_error();
    return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, (void *)(uintptr_t)host) ==
               1 &&
           SSL_set1_host(ssl, host) == 1;
}

/* A verified connection, or NULL with what is wrong said. Takes over fd. */
static SSL *shake_hands(SSL_CTX *context, int fd, const char *host)
{
    SSL *ssl = SSL_new(context);
    BIO *bio = BIO_new_socket(fd, BIO_CLOSE);
    if (ssl == NULL || bio == NULL || !expect_host(ssl, host)) {
        SSL_free(ssl);
        if (bio == NULL) {
            (void)close(fd);
        } else {
            (void)BIO_free(bio);
        }
        (void)complain("out of memory", "for TLS");
        return NULL;
    }
    SSL_set_bio(ssl, bio, bio);
    if (SSL_connect(ssl) != 1) {
        long verify = SSL_get_verify_result(ssl);
        if (verify != X509_V_OK) {
            fprintf(stderr, "shuntctl: the daemon at %s is not believed: %s\n", host,
                    X509_verify_cert_error_string(verify));
        } else {
            (void)complain("no TLS with", host);
        }
        SSL_free(ssl);
        errno = EACCES;
        return NULL;
    }
    return ssl;
}

/* Waits until fd is ready for what ssl wants. */
static void wait_for(int fd, short what)
{
    struct pollfd polled = {.fd = fd, .events = what};
    (void)poll(&polled, 1, -1);
}

static bool write_all(SSL *ssl, const char *bytes, size_t length)
{
    size_t n = 0;
    while (SSL_write_ex(ssl, bytes, length, &n) != 1) {
        int error = SSL_get_error(ssl, 0);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
            return false;
        }
        wait_for(SSL_get_fd(ssl), error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT);
    }
    return true;
}

/* All that has come from the daemon. False: it is over, or the caller no longer reads. */
static bool drain(const struct tunnel *tunnel, char *piece)
{
    size_t n = 0;
    while (SSL_read_ex(tunnel->ssl, piece, PIECE_BYTES, &n) == 1) {
        if (!ctl_send_all(tunnel->inner, piece, n)) {
            return false;
        }
    }
    int error = SSL_get_error(tunnel->ssl, 0);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return true;
    }
    unsigned long code = ERR_peek_error();
    if (error != SSL_ERROR_ZERO_RETURN && code != 0) {
        (void)complain("the daemon ended the connection:", "TLS"); /* as when it refuses the certificate */
    }
    return false;
}

static void *pump(void *context)
{
    struct tunnel *tunnel = context;
    char piece[PIECE_BYTES];
    struct pollfd polled[2] = {{.fd = SSL_get_fd(tunnel->ssl), .events = POLLIN},
                               {.fd = tunnel->inner, .events = POLLIN}};
    while (poll(polled, 2, -1) >= 0 || errno == EINTR) {
        if (polled[0].revents != 0 && !drain(tunnel, piece)) {
            break;
        }
        if (polled[1].revents == 0) {
            continue;
        }
        ssize_t n = recv(tunnel->inner, piece, sizeof(piece), 0);
        if (n > 0 && !write_all(tunnel->ssl, piece, (size_t)n)) {
            (void)drain(tunnel, piece); /* it may have said why before it closed */
            break;
        }
        if (n <= 0 && (polled[1].revents & POLLHUP) != 0) {
            break; /* closed, and not only shut: nobody waits for a reply */
        }
        if (n <= 0) {
            polled[1].fd = -1; /* no more commands; replies are still to come */
            (void)SSL_shutdown(tunnel->ssl);
        }
    }
    (void)close(tunnel->inner);
    SSL_free(tunnel->ssl);
    free(tunnel);
    return NULL;
}

/* The thread sees its socket closed and ends: before the process does, or what it holds looks lost. */
static void join_pump(void)
{
    if (pump_runs) {
        (void)pthread_join(pump_thread, NULL);
        pump_runs = false;
    }
}

/* Starts the thread; returns the caller's end of the pair. Takes over ssl. */
static int start_pump(SSL *ssl)
{
    static bool registered;
    int pair[2];
    join_pump();
    registered = registered || atexit(join_pump) == 0;
    struct tunnel *tunnel = malloc(sizeof(*tunnel));
    int flags = fcntl(SSL_get_fd(ssl), F_GETFL);
    if (tunnel == NULL || fcntl(SSL_get_fd(ssl), F_SETFL, flags | O_NONBLOCK) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        free(tunnel);
        SSL_free(ssl);
        errno = ENOMEM;
        return -1;
    }
    *tunnel = (struct tunnel){.ssl = ssl, .inner = pair[1]};
    int failed = pthread_create(&pump_thread, NULL, pump, tunnel);
    if (failed != 0) {
        free(tunnel);
        SSL_free(ssl);
        (void)close(pair[0]);
        (void)close(pair[1]);
        errno = failed;
        return -1;
    }
    pump_runs = true;
    return pair[0];
}

int ctl_tunnel(const char *endpoint)
{
    const char *port = NULL;
    char *host = split(endpoint, &port);
    SSL *ssl = NULL;
    if (host == NULL) {
        fprintf(stderr, "shuntctl: tls://%s: a host and a port are needed\n", endpoint);
        errno = EACCES;
        return -1;
    }
    SSL_CTX *context = make_context();
    int fd = context != NULL ? connect_tcp(host, port) : -1;
    if (fd >= 0) {
        ssl = shake_hands(context, fd, host);
    }
    int number = errno;
    SSL_CTX_free(context);
    free(host);
    errno = number;
    return ssl != NULL ? start_pump(ssl) : -1;
}
