/*
 * The probe over a connection: connects (Unix sockets too), makes a TLS handshake where asked for, and lets a
 * protocol's script talk, all within one absolute time. Never blocks. Control thread. What is said and what
 * it means: the scripts. How the socket comes about: health/reach.c.
 *
 *     CONNECT ─▶ [SECURE] ─▶ TALK ─▶ done          TALK ─▶ SECURE ─▶ TALK where the protocol begins TLS
 *
 * It closes in order (FIN) rather than with a reset: some servers log each reset as a fault or block peers
 * that reset often, and the TIME_WAIT left on our side costs a port towards this one backend only.
 */
#include "core/clock.h"
#include "core/proxy_protocol.h"
#include "core/random.h"
#include "health/probe_internal.h"
#include "health/reach_internal.h"
#include "health/script_internal.h"
#include "health/secure_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define READ_BYTES 4096u

enum phase { PHASE_IDLE, PHASE_CONNECT, PHASE_SECURE, PHASE_TALK, PHASE_ENDED };

struct probe {
    struct probe_spec spec;
    const struct script *script; /* NULL: connecting, or the handshake, is all */
    struct script_run run;
    char host[ADDR_TEXT_MAX];
    char *name;          /* owned; what is asked for and verified. NULL: the address, or no TLS */
    struct event *io;    /* owned */
    struct event *timer; /* owned; the absolute time, and what ended within start */
    enum phase phase;
    int fd;
    SSL *ssl;                /* owned; NULL: plain */
    bool handshaken;         /* a SECURE phase lies behind */
    bool begin_tls;          /* the script waits for it once all is sent */
    size_t sent;             /* of run.out */
    size_t traced;           /* of run.out */
    uint64_t certificate_us; /* as in struct probe_result */
    /* How it ended; in PHASE_ENDED. */
    enum probe_outcome outcome;
    char reason[PROBE_REASON_MAX];
};

static void trace(const struct probe *probe, enum probe_traced kind, const void *data, size_t len)
{
    if (probe->spec.trace != NULL && len > 0) {
        probe->spec.trace(probe->spec.context, kind, data, len);
    }
}

static void note(const struct probe *probe, const char *text)
{
    trace(probe, PROBE_TRACED_NOTE, text, strlen(text));
}

static void release(struct probe *probe)
{
    (void)event_del(probe->io);
    (void)event_del(probe->timer);
    SSL_free(probe->ssl);
    probe->ssl = NULL;
    if (probe->fd >= 0) {
        (void)close(probe->fd);
        probe->fd = -1;
    }
    if (probe->script != NULL) {
        script_rest(&probe->run);
    }
}

/* Last: the callee may start or destroy the probe. */
static void report(struct probe *probe, bool warning)
{
    struct probe_result result = {.outcome = probe->outcome,
                                  .reason = probe->reason,
                                  .warning = warning,
                                  .certificate_us = probe->certificate_us};
    char reason[PROBE_REASON_MAX];
    struct agent_report agent;
    if (probe->script != NULL && probe->run.agent.heard) {
        agent = probe->run.agent;
        result.agent = &agent;
    }
    (void)snprintf(reason, sizeof(reason), "%s", probe->reason);
    result.reason = reason;
    release(probe);
    probe->phase = PHASE_IDLE;
    probe->spec.done(probe->spec.context, &result);
}

static void end(struct probe *probe, enum probe_outcome outcome, const char *reason)
{
    char channel[96];
    bool warning = false;
    probe->outcome = outcome;
    (void)snprintf(probe->reason, sizeof(probe->reason), "%s", reason);
    if (outcome == PROBE_PASSED && probe->handshaken) {
        warning =
            secure_describe(probe->ssl, probe->spec.means->config, clock_wall_us(), channel, sizeof(channel));
        const char *between = probe->reason[0] != '\0' ? "; " : "";
        size_t len = strlen(probe->reason);
        (void)snprintf(probe->reason + len, sizeof(probe->reason) - len, "%s%s", between, channel);
    }
    report(probe, warning);
}

static void end_with_error(struct probe *probe, int error)
{
    char reason[PROBE_REASON_MAX];
    reach_describe(error, reason, sizeof(reason));
    end(probe, probe_is_shortage(error) ? PROBE_SKIPPED : PROBE_FAILED, reason);
}

/* ---- reading and writing, plain or not */

/* On FAILED without TLS errno says why. */
static enum secure_rc channel_read(struct probe *probe, void *out, size_t size, size_t *n)
{
    if (probe->ssl != NULL) {
        return secure_read(probe->ssl, out, size, n);
    }
    ssize_t got = recv(probe->fd, out, size, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? SECURE_READ : SECURE_FAILED;
    }
    *n = (size_t)got;
    return got > 0 ? SECURE_DONE : SECURE_END;
}

static enum secure_rc channel_write(struct probe *probe, const void *data, size_t len, size_t *n)
{
    if (probe->ssl != NULL) {
        return secure_write(probe->ssl, data, len, n);
    }
    ssize_t put = send(probe->fd, data, len, MSG_NOSIGNAL);
    if (put < 0) {
        return errno == EAGAIN || errno == EINTR ? SECURE_WRITE : SECURE_FAILED;
    }
    *n = (size_t)put;
    return SECURE_DONE;
}

static void end_with_channel_failure(struct probe *probe)
{
    int error = errno;
    char reason[PROBE_REASON_MAX];
    if (probe->ssl == NULL) {
        end_with_error(probe, error);
        return;
    }
    secure_describe_failure(probe->ssl, reason, sizeof(reason));
    end(probe, PROBE_FAILED, reason);
}

static void on_io(evutil_socket_t fd, short what, void *arg);

/* Waits for the socket; what: EV_READ, EV_WRITE. False when it ended for want of memory. */
static bool await(struct probe *probe, short what)
{
    (void)event_del(probe->io);
    if (event_assign(probe->io, probe->spec.base, probe->fd, what, on_io, probe) == 0 &&
        event_add(probe->io, NULL) == 0) {
        return true;
    }
    end_with_error(probe, ENOMEM);
    return false;
}

/* ---- talking */

/* Traces what the script has said since the last look. */
static void trace_out(struct probe *probe)
{
    const struct script_buffer *out = &probe->run.out;
    if (out->len == probe->traced) {
        return;
    }
    if (probe->run.out_mask != NULL) {
        trace(probe, PROBE_TRACED_SENT, probe->run.out_mask, strlen(probe->run.out_mask));
    } else {
        trace(probe, PROBE_TRACED_SENT, out->data + probe->traced, out->len - probe->traced);
    }
    probe->traced = out->len;
    probe->run.out_mask = NULL;
}

/* DONE: all is sent. */
static enum secure_rc flush(struct probe *probe)
{
    struct script_buffer *out = &probe->run.out;
    trace_out(probe);
    while (probe->sent < out->len) {
        size_t n = 0;
        enum secure_rc rc = channel_write(probe, out->data + probe->sent, out->len - probe->sent, &n);
        if (rc != SECURE_DONE) {
            return rc;
        }
        probe->sent += n;
    }
    if (out->len > 0) {
        /* What a password may have been in does not stay. */
        OPENSSL_cleanse(out->data, out->len);
    }
    out->len = 0;
    probe->sent = 0;
    probe->traced = 0;
    return SECURE_DONE;
}

static void end_by_script(struct probe *probe, enum script_verdict verdict)
{
    char reason[SCRIPT_REASON_MAX];
    (void)snprintf(reason, sizeof(reason), "%s", probe->run.reason);
    if (probe->run.nomem) {
        end_with_error(probe, ENOMEM);
        return;
    }
    if (verdict == SCRIPT_PASSED) {
        (void)flush(probe); /* a goodbye, where it fits */
    }
    end(probe, verdict == SCRIPT_PASSED ? PROBE_PASSED : PROBE_FAILED, reason);
}

static void secure(struct probe *probe);

/* Takes what the script decided. True while the talk goes on. */
static bool take(struct probe *probe, enum script_verdict verdict)
{
    if (verdict == SCRIPT_SECURE) {
        probe->begin_tls = true;
    } else if (verdict != SCRIPT_MORE) {
        end_by_script(probe, verdict);
        return false;
    }
    return true;
}

/* Feeds the script with all that is there; the script's own bound on it ends the loop. */
static bool read_all(struct probe *probe, short *want)
{
    uint8_t bytes[READ_BYTES];
    for (;;) {
        size_t n = 0;
        enum secure_rc rc = channel_read(probe, bytes, sizeof(bytes), &n);
        switch (rc) {
        case SECURE_READ:
            return true;
        case SECURE_WRITE:
            *want |= EV_WRITE;
            return true;
        case SECURE_FAILED:
            end_with_channel_failure(probe);
            return false;
        case SECURE_DONE:
        case SECURE_END:
            break;
        }
        trace(probe, PROBE_TRACED_RECEIVED, bytes, n);
        if (!take(probe, script_feed(&probe->run, bytes, n, rc == SECURE_END))) {
            return false;
        }
        if (probe->begin_tls || probe->run.out.len > 0) {
            return true; /* to be sent first */
        }
    }
}

static void talk(struct probe *probe)
{
    for (;;) {
        short want = EV_READ;
        enum secure_rc rc = flush(probe);
        if (rc == SECURE_FAILED || rc == SECURE_END) {
            end_with_channel_failure(probe);
            return;
        }
        if (rc == SECURE_DONE && probe->begin_tls) {
            secure(probe);
            return;
        }
        if (rc == SECURE_WRITE) {
            want |= EV_WRITE;
        }
        size_t before = probe->run.out.len;
        if (!read_all(probe, &want)) {
            return;
        }
        if (probe->run.out.len == before && !(probe->begin_tls && rc == SECURE_DONE)) {
            (void)await(probe, want);
            return;
        }
    }
}

static void begin_talk(struct probe *probe)
{
    probe->phase = PHASE_TALK;
    probe->sent = 0;
    probe->traced = 0;
    if (take(probe, script_begin(&probe->run))) {
        talk(probe);
    }
}

/* ---- TLS */

static void on_secured(struct probe *probe)
{
    char text[96];
    uint64_t wall_us = clock_wall_us();
    int64_t left_s;
    probe->handshaken = true;
    if (secure_certificate_left(probe->ssl, wall_us, &left_s)) {
        int64_t end_us = (int64_t)wall_us + left_s * (int64_t)CLOCK_US_PER_S;
        probe->certificate_us = end_us > 0 ? (uint64_t)end_us : 1;
    }
    (void)secure_describe(probe->ssl, probe->spec.means->config, clock_wall_us(), text, sizeof(text));
    note(probe, text);
    if (probe->script == NULL) {
        end(probe, PROBE_PASSED, "");
        return;
    }
    if (!probe->begin_tls) {
        probe->run.secured = true;
        begin_talk(probe);
        return;
    }
    probe->begin_tls = false;
    probe->phase = PHASE_TALK;
    if (take(probe, script_secured(&probe->run))) {
        talk(probe);
    }
}

static void secure(struct probe *probe)
{
    const struct probe_spec *spec = &probe->spec;
    probe->phase = PHASE_SECURE;
    if (probe->ssl == NULL) {
        probe->ssl = secure_create(spec->means->tls, probe->name, &spec->address, probe->fd);
        if (probe->ssl == NULL) {
            end_with_error(probe, ENOMEM);
            return;
        }
    }
    switch (secure_handshake(probe->ssl)) {
    case SECURE_DONE:
        on_secured(probe);
        break;
    case SECURE_READ:
        (void)await(probe, EV_READ);
        break;
    case SECURE_WRITE:
        (void)await(probe, EV_WRITE);
        break;
    default:
        end_with_channel_failure(probe);
        break;
    }
}

/* ---- connecting */

/* The PROXY header of a check: whoever reads it learns that it is nobody's connection. A fresh connection
 * takes it in one piece. */
static bool introduce(const struct probe *probe)
{
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    const struct proxy_protocol_header header = {.version = probe->spec.means->proxy_version, .local = true};
    if (header.version == 0) {
        return true;
    }
    size_t len = proxy_protocol_write(&header, 0, bytes);
    errno = ECONNRESET;
    return send(probe->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void on_connected(struct probe *probe)
{
    int error = reach_error(probe->fd);
    if (error != 0) {
        end_with_error(probe, error);
        return;
    }
    note(probe, "connected");
    if (!introduce(probe)) {
        end_with_error(probe, errno);
        return;
    }
    if (probe->spec.means->security.way == CHECK_TLS_FIRST) {
        secure(probe);
    } else if (probe->script == NULL) {
        end(probe, PROBE_PASSED, "connected");
    } else {
        begin_talk(probe);
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    (void)fd;
    (void)what;
    switch (probe->phase) {
    case PHASE_CONNECT:
        on_connected(probe);
        break;
    case PHASE_SECURE:
        secure(probe);
        break;
    case PHASE_TALK:
        talk(probe);
        break;
    case PHASE_IDLE:
    case PHASE_ENDED:
        break;
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    (void)fd;
    (void)what;
    if (probe->phase == PHASE_ENDED) {
        report(probe, false);
        return;
    }
    char timeout[32];
    char reason[PROBE_REASON_MAX];
    clock_format_duration(probe->spec.timeout_us, timeout, sizeof(timeout));
    if (probe->phase == PHASE_TALK) {
        (void)snprintf(reason, sizeof(reason), "timed out after %s with %zu bytes received", timeout,
                       probe->run.received);
    } else {
        (void)snprintf(reason, sizeof(reason), "timed out after %s%s", timeout,
                       probe->phase == PHASE_SECURE ? " in the TLS handshake" : "");
    }
    end(probe, PROBE_FAILED, reason);
}

static int arm(struct probe *probe)
{
    struct timeval timeout = {.tv_sec = (time_t)(probe->spec.timeout_us / CLOCK_US_PER_S),
                              .tv_usec = (suseconds_t)(probe->spec.timeout_us % CLOCK_US_PER_S)};
    if (event_assign(probe->io, probe->spec.base, probe->fd, EV_WRITE, on_io, probe) == 0 &&
        event_add(probe->io, NULL) == 0 && evtimer_add(probe->timer, &timeout) == 0) {
        return 0;
    }
    return ENOMEM;
}

static void start(struct probe *probe)
{
    assert(probe->phase == PHASE_IDLE);
    probe->phase = PHASE_CONNECT;
    probe->handshaken = false;
    probe->certificate_us = 0;
    probe->begin_tls = false;
    probe->run.agent.heard = false;
    probe->run.secured = false;
    /* A shortage of random bytes right after the machine's start is no reason not to check. */
    (void)!getrandom(probe->run.params.nonce, sizeof(probe->run.params.nonce), GRND_NONBLOCK);
    bool skipped = false;
    probe->fd = reach_begin(&probe->spec.means->source, &probe->spec.address, probe->reason,
                            sizeof(probe->reason), &skipped);
    if (probe->fd >= 0 && arm(probe) == 0) {
        return;
    }
    if (probe->fd >= 0) {
        reach_describe(ENOMEM, probe->reason, sizeof(probe->reason));
        skipped = true;
    }
    probe->outcome = skipped ? PROBE_SKIPPED : PROBE_FAILED;
    release(probe);
    probe->phase = PHASE_ENDED;
    event_active(probe->timer, EV_TIMEOUT, 0);
}

static void destroy(struct probe *probe)
{
    release(probe);
    event_free(probe->io);
    event_free(probe->timer);
    if (probe->script != NULL) {
        script_destroy(&probe->run);
    }
    free(probe->name);
    free(probe);
}

/* ERR_NOMEM. The name lives as long as the probe, whatever becomes of the backend's. */
static int take_name(struct probe *probe)
{
    const struct probe_means *means = probe->spec.means;
    char host[CHECK_TLS_NAME_MAX];
    const char *name = means->tls != NULL && probe->spec.backend != NULL
                           ? check_tls_name(&means->security, means->group, probe->spec.backend, host)
                           : NULL;
    probe->name = name != NULL ? strdup(name) : NULL;
    return name == NULL || probe->name != NULL ? 0 : ERR_NOMEM;
}

static int create(const struct probe_spec *spec, struct probe **out)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL) {
        return ERR_NOMEM;
    }
    probe->spec = *spec;
    probe->fd = -1;
    probe->phase = PHASE_IDLE;
    addr_format(&spec->address, probe->host, sizeof(probe->host));
    probe->io = event_new(spec->base, -1, 0, on_io, probe);
    probe->timer = evtimer_new(spec->base, on_timer, probe);
    probe->script = script_find(spec->means->config->type);
    int named = take_name(probe);
    const struct script_params params = {.config = spec->means->config,
                                         .host = addr_is_unix(&spec->address) ? "localhost" : probe->host,
                                         .server_name = probe->name,
                                         .ask_tls = spec->means->security.way == CHECK_TLS_ASKED,
                                         .password = spec->means->password};
    if (named == 0 && probe->io != NULL && probe->timer != NULL &&
        (probe->script == NULL || script_create(probe->script, &params, &probe->run) == 0)) {
        *out = probe;
        return 0;
    }
    if (probe->io != NULL) {
        event_free(probe->io);
    }
    if (probe->timer != NULL) {
        event_free(probe->timer);
    }
    free(probe->name);
    free(probe);
    return ERR_NOMEM;
}

const struct probe_type probe_dialog = {.create = create, .start = start, .destroy = destroy};
