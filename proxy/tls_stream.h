/*
 * TLS over the socket of one end of a connection. Beside a stream (proxy/stream.h), whose verbs come here
 * when it has one of these, and whose hints then tell of the clear text: "readable" also while libssl holds
 * bytes for which no event will come. Errors stay with this connection. One thread: that of the connection.
 *
 * The peer's close_notify is the end of its direction (RFC 8446 6.1), ours goes out with our FIN. A FIN
 * without close_notify may be a stranger's: the stream has failed then, and what had come before is
 * delivered.
 */
#ifndef PROXY_TLS_STREAM_H
#define PROXY_TLS_STREAM_H

#include "core/err.h"
#include "core/stats.h"
#include "proxy/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ssl_st;
struct tls_stream;

enum tls_progress { TLS_DONE, TLS_PENDING, TLS_FAILED };

/* Once, before the first stream: what all of them share. ERR_NOMEM. Control thread. */
MUST_CHECK int tls_stream_setup(struct err_text *err);

/* Puts ssl (taken over, also on failure; its side of the handshake was set) on an open stream. drop(context)
 * is called when the stream is closed. False without memory; drop was called then. */
MUST_CHECK bool tls_stream_begin(struct stream *stream, struct ssl_st *ssl, void (*drop)(void *context),
                                 void *context);
/* Goes on with the handshake as far as it gets. */
enum tls_progress tls_stream_handshake(struct stream *stream);
/* Why a handshake failed: as it is counted, and for people. Right after it did. */
enum stats_tls_failure tls_stream_failure(const struct stream *stream);
void tls_stream_describe_failure(const struct stream *stream, char *out, size_t size);
/*
 * Receiving failed because the server refused the handshake after it had ended on our side: in TLS 1.3 it
 * looks at our certificate only then (RFC 8446 4.4.2.4, and E.1.2 on when a client may know). *failure and
 * *why (static storage) then say how it is counted, and why.
 */
bool tls_stream_was_refused(const struct stream *stream, enum stats_tls_failure *failure, const char **why);
/* The peer ended the connection without saying so by TLS. */
bool tls_stream_was_cut(const struct stream *stream);
bool tls_stream_is_resumed(const struct stream *stream);
struct ssl_st *tls_stream_ssl(const struct stream *stream);

/* ---- for proxy/stream.c: what its verbs do on an encrypted end */

void tls_stream_note(struct stream *stream, short what);
ssize_t tls_stream_recv(struct stream *stream, void *buffer, size_t size);
/* What "again" left is to be sent again: the same bytes, from wherever they are then. */
ssize_t tls_stream_send(struct stream *stream, const void *bytes, size_t size);
/* Sends close_notify. False: blocked. */
bool tls_stream_shutdown(struct stream *stream);
/* The stream is about to be closed; in order: with a close_notify if none was sent and it can be. */
void tls_stream_close(struct stream *stream, bool as_reset);

#endif
