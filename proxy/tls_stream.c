/*
 * Answers for one encrypted end of a connection: moves bytes between libssl and the socket, and says what
 * came of it in the words of proxy/stream.h. Runs on the connection's worker. What is shown to a peer and
 * what is believed of it is in the contexts (proxy/tls_front.c, proxy/tls_back.c).
 *
 * libssl gets the socket through a BIO of our own. It knows from events and short receives when the socket
 * is empty, so that asking costs no system call. And it never tells libssl of a send that failed or was
 * blocked: libssl would refuse to read on (what the peer had sent before must be delivered; and a peer that
 * asks for new keys is answered in the middle of a record that waits). What the socket did not take is owed.
 */
#include "proxy/tls_stream.h"

#include "core/openssl.h"
#include "proxy/tls_failure.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct tls_stream {
    SSL *ssl;              /* owned */
    struct stream *stream; /* borrowed: this is part of it */
    void (*drop)(void *context);
    void *context;
    int recv_error, send_error; /* errno of what broke; 0: nothing did */
    bool over;                  /* receiving has come to its end */
    ssize_t verdict;            /* then: STREAM_END or STREAM_FAILED */
    unsigned long broken_by;    /* then: libssl's code for it; 0: none, or an end */
    bool dry;                   /* the socket was emptied: nothing to be had before an event */
    bool short_receive;         /* and that was seen by a short receive alone */
    bool peer_ended;            /* its FIN was read */
    bool established;
    bool cut;
    bool more; /* this record is not the last of what is at hand */
    bool sending_waits_to_receive;
    unsigned char *owed; /* owned; encrypted, and the socket did not take it. NULL: none */
    size_t owed_begin, owed_end;
    size_t untold; /* so many bytes of ours are in it that "again" was said of; they were sent once it is
                      empty */
};

/* A record and answers to a peer that goes on asking for new keys without taking them. */
#define OWED_MAX ((size_t)64 * 1024)

/* ---- the socket, as libssl sees it */

static BIO_METHOD *method;

static int on_read_failed(struct tls_stream *tls, BIO *bio, int code)
{
    if (code == EAGAIN || code == EINTR) {
        tls->dry = code == EAGAIN;
        tls->short_receive = false;
        BIO_set_retry_read(bio);
    } else {
        tls->recv_error = code;
    }
    return 0;
}

static int on_read(BIO *bio, char *out, size_t size, size_t *n)
{
    struct tls_stream *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->recv_error != 0) {
        return 0;
    }
    if (tls->dry) {
        BIO_set_retry_read(bio);
        return 0;
    }
    ssize_t got = recv(tls->stream->fd, out, size, 0);
    if (got < 0) {
        return on_read_failed(tls, bio, errno);
    }
    if (got == 0) {
        tls->peer_ended = true;
        return 0;
    }
    /* In a handshake nobody looks a second time for a reset that came together with bytes: ask on. */
    if ((size_t)got < size && tls->established && !tls->stream->ending && !tls->stream->send_failed) {
        tls->dry = true;
        tls->short_receive = true;
    }
    *n = (size_t)got;
    return 1;
}

/* Returns how much the socket took. */
static size_t send_some(struct tls_stream *tls, const void *bytes, size_t size)
{
    size_t sent = 0;
    while (sent < size) {
        ssize_t n = send(tls->stream->fd, (const char *)bytes + sent, size - sent,
                         MSG_NOSIGNAL | (tls->more ? MSG_MORE : 0));
        if (n > 0) {
            sent += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            tls->send_error = n == 0 || errno == EAGAIN ? 0 : errno;
            break;
        }
    }
    return sent;
}

static void owe(struct tls_stream *tls, const void *bytes, size_t size)
{
    size_t left = tls->owed_end - tls->owed_begin;
    unsigned char *room = NULL;
    if (left > 0) {
        memmove(tls->owed, tls->owed + tls->owed_begin, left);
    }
    if (size <= OWED_MAX - left) {
        room = realloc(tls->owed, left + size);
    }
    if (room == NULL) {
        /* Both ways: a peer that makes us talk and does not listen is not heard any more. */
        tls->send_error = tls->recv_error = size <= OWED_MAX - left ? ENOMEM : ECONNABORTED;
        return;
    }
    memcpy(room + left, bytes, size);
    tls->owed = room;
    tls->owed_begin = 0;
    tls->owed_end = left + size;
}

static int on_write(BIO *bio, const char *bytes, size_t size, size_t *n)
{
    struct tls_stream *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *n = size;
    if (tls->send_error != 0 || tls->stream->shut) {
        return 1; /* nobody will read it */
    }
    size_t sent = tls->owed == NULL ? send_some(tls, bytes, size) : 0;
    if (sent < size && tls->send_error == 0) {
        owe(tls, bytes + sent, size - sent);
    }
    return 1;
}

/* Sends what is owed as far as it goes. True when nothing is left, or nobody takes it any more. */
static bool settle(struct tls_stream *tls)
{
    if (tls->owed == NULL) {
        return true;
    }
    if (tls->send_error == 0) {
        tls->owed_begin += send_some(tls, tls->owed + tls->owed_begin, tls->owed_end - tls->owed_begin);
        if (tls->owed_begin < tls->owed_end && tls->send_error == 0) {
            tls->stream->writable = false;
            return false;
        }
    }
    free(tls->owed);
    tls->owed = NULL;
    tls->owed_begin = tls->owed_end = 0;
    return true;
}

static long on_control(BIO *bio, int command, long number, void *pointer)
{
    const struct tls_stream *tls = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return tls->peer_ended;
    default:
        return 0;
    }
}

int tls_stream_setup(struct err_text *err)
{
    if (method != NULL) {
        return 0;
    }
    int type = BIO_get_new_index();
    BIO_METHOD *made = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "connection");
    if (made == NULL || BIO_meth_set_read_ex(made, on_read) != 1 ||
        BIO_meth_set_write_ex(made, on_write) != 1 || BIO_meth_set_ctrl(made, on_control) != 1) {
        BIO_meth_free(made);
        return err_set(err, ERR_NOMEM, "no memory for TLS");
    }
    method = made;
    return 0;
}

/* ---- beginning and end */

bool tls_stream_begin(struct stream *stream, SSL *ssl, void (*drop)(void *context), void *context)
{
    struct tls_stream *tls = calloc(1, sizeof(*tls));
    BIO *bio = BIO_new(method);
    if (tls == NULL || bio == NULL || ssl == NULL) {
        BIO_free(bio);
        SSL_free(ssl);
        free(tls);
        drop(context);
        return false;
    }
    *tls = (struct tls_stream){.ssl = ssl, .stream = stream, .drop = drop, .context = context};
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_read_ahead(ssl, 1);
    stream->tls = tls;
    return true;
}

/* Whether anything can still be said to the peer by TLS. */
static bool is_sound(const struct tls_stream *tls)
{
    return tls->established && tls->send_error == 0 && tls->verdict != STREAM_FAILED &&
           !tls->stream->send_failed && !tls->stream->recv_failed;
}

/* close_notify goes out, or is owed. Once: a second call would read. */
static void say_end(struct tls_stream *tls)
{
    if ((SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN) == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
    }
}

void tls_stream_close(struct stream *stream, bool as_reset)
{
    struct tls_stream *tls = stream->tls;
    if (!as_reset && !stream->shut && is_sound(tls)) {
        say_end(tls);
        (void)settle(tls);
    }
    stream->tls = NULL;
    SSL_free(tls->ssl);
    tls->drop(tls->context);
    free(tls->owed);
    free(tls);
    ERR_clear_error();
}

SSL *tls_stream_ssl(const struct stream *stream)
{
    return stream->tls->ssl;
}

bool tls_stream_is_resumed(const struct stream *stream)
{
    return SSL_session_reused(stream->tls->ssl) == 1;
}

bool tls_stream_was_refused(const struct stream *stream, enum stats_tls_failure *failure, const char **why)
{
    const struct tls_stream *tls = stream->tls;
    if (tls == NULL || tls->broken_by == 0 || ERR_GET_LIB(tls->broken_by) != ERR_LIB_SSL ||
        SSL_is_server(tls->ssl) == 1 || SSL_version(tls->ssl) != TLS1_3_VERSION ||
        !tls_failure_is_refusal(ERR_GET_REASON(tls->broken_by))) {
        return false;
    }
    *failure = tls_failure_of(ERR_GET_REASON(tls->broken_by));
    *why = ERR_reason_error_string(tls->broken_by);
    return true;
}

bool tls_stream_was_cut(const struct stream *stream)
{
    return stream->tls != NULL && stream->tls->cut;
}

/* ---- handshake */

/*
 * The handshake is complete, but something of it could not be sent. In TLS 1.3 that can only be the tickets
 * of a server (RFC 8446 4.6.1), which nobody has to read: a client that says what it has to say and closes at
 * once is gone by then, and what it said still counts.
 */
static bool closed_early(struct tls_stream *tls)
{
    if (SSL_is_server(tls->ssl) != 1 || SSL_version(tls->ssl) != TLS1_3_VERSION) {
        return false;
    }
    tls->established = true;
    tls->dry = false; /* what it said is to be looked for: no event need come */
    (void)stream_write_failed(tls->stream, tls->send_error);
    return true;
}

enum tls_progress tls_stream_handshake(struct stream *stream)
{
    struct tls_stream *tls = stream->tls;
    ERR_clear_error();
    int rc = SSL_do_handshake(tls->ssl);
    if (tls->send_error != 0) {
        return rc == 1 && closed_early(tls) ? TLS_DONE : TLS_FAILED;
    }
    if (rc == 1) {
        tls->established = true;
        return TLS_DONE;
    }
    return SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ ? TLS_PENDING : TLS_FAILED;
}

void tls_stream_describe_failure(const struct stream *stream, char *out, size_t size)
{
    const struct tls_stream *tls = stream->tls;
    unsigned long code = ERR_peek_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    long verify = SSL_get_verify_result(tls->ssl);
    if (tls->recv_error != 0 || tls->send_error != 0) {
        (void)snprintf(out, size, "the connection broke");
    } else if (verify != X509_V_OK && SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE) {
        (void)snprintf(out, size, "certificate: %s", X509_verify_cert_error_string(verify));
    } else if (tls->peer_ended) {
        (void)snprintf(out, size, "the peer ended the connection");
    } else {
        (void)snprintf(out, size, "%s", why != NULL ? why : "unknown");
    }
}

/* Verification found something; without verification nothing counts. */
static bool is_disbelieved(const SSL *ssl)
{
    return SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE && SSL_get_verify_result(ssl) != X509_V_OK;
}

enum stats_tls_failure tls_stream_failure(const struct stream *stream)
{
    const struct tls_stream *tls = stream->tls;
    unsigned long code = ERR_peek_error();
    if (is_disbelieved(tls->ssl)) {
        return STATS_TLS_CERTIFICATE;
    }
    if (code != 0 && ERR_GET_LIB(code) == ERR_LIB_SSL) {
        enum stats_tls_failure known = tls_failure_of(ERR_GET_REASON(code));
        if (known != STATS_TLS_OTHER) {
            return known;
        }
    }
    return tls->recv_error != 0 || tls->send_error != 0 || tls->peer_ended ? STATS_TLS_ABORTED
                                                                           : STATS_TLS_OTHER;
}

/* ---- bytes */

void tls_stream_note(struct stream *stream, short what)
{
    struct tls_stream *tls = stream->tls;
    if (what & (EV_READ | EV_CLOSED)) {
        tls->dry = false;
        if (tls->sending_waits_to_receive) {
            tls->sending_waits_to_receive = false;
            stream->writable = true;
        }
    }
    if (what & EV_WRITE) {
        (void)settle(tls); /* nobody else asks when nothing more is to be sent */
    }
}

/* libssl had no more: notes whether that is for now or for good. Right after its call. */
static void note_none(struct tls_stream *tls)
{
    struct stream *stream = tls->stream;
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        stream->readable = !tls->dry; /* not dry: a signal came in between */
        stream->unsure = tls->dry && tls->short_receive;
        break;
    case SSL_ERROR_ZERO_RETURN:
        tls->verdict = STREAM_END;
        tls->over = true;
        break;
    default:
        tls->verdict = STREAM_FAILED;
        tls->broken_by = ERR_peek_error();
        tls->over = true;
        break;
    }
}

/* Receiving has come to its end, one way or the other. */
static ssize_t recv_over(struct tls_stream *tls)
{
    struct stream *stream = tls->stream;
    stream->readable = false;
    stream->unsure = false;
    if (tls->verdict == STREAM_END) {
        stream->ended = true;
        return STREAM_END;
    }
    if (tls->recv_error != 0) {
        return stream_read_failed(stream, tls->recv_error);
    }
    tls->cut = tls->peer_ended && !stream->reset_taken;
    stream->recv_failed = true;
    return STREAM_FAILED;
}

ssize_t tls_stream_recv(struct stream *stream, void *buffer, size_t size)
{
    struct tls_stream *tls = stream->tls;
    size_t received = 0;
    while (received < size && !tls->over) {
        size_t n = 0;
        ERR_clear_error();
        if (SSL_read_ex(tls->ssl, (unsigned char *)buffer + received, size - received, &n) != 1) {
            note_none(tls);
            break;
        }
        received += n;
    }
    if (received > 0) {
        return (ssize_t)received; /* an end behind it is told by the next call: readable stays */
    }
    return tls->over ? recv_over(tls) : STREAM_AGAIN;
}

/* libssl took n bytes; the socket may not have taken all of their record. */
static ssize_t send_taken(struct tls_stream *tls, size_t n)
{
    if (tls->owed == NULL) {
        return (ssize_t)n;
    }
    tls->untold = n;
    tls->stream->writable = false;
    return STREAM_AGAIN;
}

static ssize_t send_refused(struct tls_stream *tls, int rc)
{
    if (SSL_get_error(tls->ssl, rc) != SSL_ERROR_WANT_READ) {
        return stream_write_failed(tls->stream, EPIPE);
    }
    tls->sending_waits_to_receive = true;
    tls->stream->writable = false;
    return STREAM_AGAIN;
}

ssize_t tls_stream_send(struct stream *stream, const void *bytes, size_t size)
{
    struct tls_stream *tls = stream->tls;
    size_t n = 0;
    int rc = 1;
    if (!settle(tls)) {
        return STREAM_AGAIN;
    }
    if (tls->send_error == 0 && tls->untold > 0) {
        n = tls->untold;
        tls->untold = 0;
        return (ssize_t)n;
    }
    if (tls->send_error == 0) {
        ERR_clear_error();
        tls->more = size > SSL3_RT_MAX_PLAIN_LENGTH;
        rc = SSL_write_ex(tls->ssl, bytes, size, &n);
        tls->more = false;
    }
    if (tls->send_error != 0) {
        tls->dry = false; /* what the peer sent before must be looked for */
        return stream_write_failed(stream, tls->send_error);
    }
    return rc == 1 ? send_taken(tls, n) : send_refused(tls, rc);
}

bool tls_stream_shutdown(struct stream *stream)
{
    struct tls_stream *tls = stream->tls;
    if (stream->shut || !is_sound(tls)) {
        return true;
    }
    say_end(tls);
    return settle(tls);
}
