/*
 * Answers for the way of a connection from accepted to let in: a PROXY header where one is expected and from
 * whom, then lists and limits; then a ClientHello where names count (proxy/passthrough.c). Runs on the
 * connection's worker. The header is looked at where it lies, in the kernel, and only then taken out: so
 * nothing is kept for a client that is slow, and what follows the header is read by whoever comes next as if
 * there had been none. What a header says is core/proxy_protocol's business.
 */
#include "core/log.h"
#include "core/proxy_protocol.h"
#include "proxy/proxy_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>

/* In a Unix path's permissions stands who may connect; only whom it speaks for can be on a list. */
static bool is_listed_out(const struct conn *conn)
{
    const struct service_terms *terms = service_terms(conn);
    if (conn->client.family == 0) {
        return false;
    }
    return prefixes_contain(terms->deny, &conn->client) ||
           (terms->allow != NULL && !prefixes_contain(terms->allow, &conn->client));
}

/* Both limits, the service's first. */
static enum admission_verdict enter(struct conn *conn, uint64_t now_us)
{
    struct admission *own = conn->home->service->admission;
    struct admission *all = conn->home->shared->proxy->admission;
    enum admission_verdict verdict = admission_enter(own, &conn->client, now_us, &conn->claim[0]);
    if (all == NULL || conn->claim[1].counted || verdict == ADMISSION_TOO_MANY ||
        verdict == ADMISSION_TOO_OFTEN) {
        return verdict;
    }
    enum admission_verdict second = admission_enter(all, &conn->client, now_us, &conn->claim[1]);
    return second == ADMISSION_LET_IN ? verdict : second;
}

bool arrival_let_in(struct conn *conn, uint64_t now_us)
{
    struct stats_service *stats = &conn->home->stats;
    enum stats_close reason = STATS_CLOSE_DENIED;
    if (!is_listed_out(conn)) {
        switch (enter(conn, now_us)) {
        case ADMISSION_UNTRACKED:
            stats_add(&stats->untracked, 1);
            return true;
        case ADMISSION_LET_IN:
            return true;
        case ADMISSION_TOO_MANY:
            reason = STATS_CLOSE_LIMIT;
            break;
        case ADMISSION_TOO_OFTEN:
            reason = STATS_CLOSE_RATE_LIMITED;
            break;
        }
    }
    stats_add(&stats->refused, 1);
    close_now(conn, reason, now_us);
    return false;
}

void arrival_leave_service(struct conn *conn)
{
    admission_leave(conn->home->service->admission, &conn->claim[0]);
}

void arrival_leave(struct conn *conn)
{
    arrival_leave_service(conn);
    admission_leave(conn->home->shared->proxy->admission, &conn->claim[1]);
}

void arrival_pick(struct conn *conn, uint64_t now_us)
{
    conn_enter(conn, CONN_PICK, now_us);
    connect_next(conn, now_us);
}

void arrival_go_in(struct conn *conn, uint64_t now_us)
{
    if (handshake_is_due(conn)) {
        handshake_begin(conn, now_us);
        return;
    }
    arrival_pick(conn, now_us);
}

/* Who the client is, is known now. */
static void client_known(struct conn *conn, uint64_t now_us)
{
    if (arrival_let_in(conn, now_us)) {
        passthrough_begin(conn, now_us);
    }
}

/* Why a client was not served, for somebody who looks for it: peers can cause these lines at will. */
static void refuse(struct conn *conn, const char *why, uint64_t now_us)
{
    if (log_threshold() <= LOG_LEVEL_DEBUG) {
        char client[ADDR_TEXT_MAX];
        addr_ip_format(&conn->client, client, sizeof(client));
        log_line(LOG_LEVEL_DEBUG, "PROXY header refused", LOG_TEXT("service", conn->home->service->name),
                 LOG_TEXT("client", client), LOG_TEXT("why", why));
    }
    close_now(conn, STATS_CLOSE_PROXY_HEADER, now_us);
}

/* Takes the header's bytes out of the kernel, where all of them lie. */
static bool consume(struct conn *conn, unsigned char *scratch, size_t length)
{
    size_t taken = 0;
    while (taken < length) {
        ssize_t n = recv(conn->stream[CONN_CLIENT].fd, scratch + taken, length - taken, 0);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        taken += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void header_found(struct conn *conn, const struct proxy_protocol_header *header,
                         unsigned char *scratch, uint64_t now_us)
{
    struct addr_ip source = header->source;
    size_t length = header->length;
    if (!outward_keep(conn, header)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    if (!consume(conn, scratch, length)) {
        refuse(conn, "the connection broke within it", now_us);
        return;
    }
    if (source.family != 0) {
        conn->client = source;
    }
    client_known(conn, now_us);
}

/* Nothing there, or not enough, and no more to come. */
static void header_ended(struct conn *conn, size_t seen, uint64_t now_us)
{
    bool optional = service_terms(conn)->proxy_header.accept == CONFIG_PROXY_OPTIONAL;
    if (optional && seen == 0) {
        client_known(conn, now_us); /* an ordinary client that says nothing */
        return;
    }
    refuse(conn, seen == 0 ? "none came" : "only a part of it came", now_us);
}

static void read_header(struct conn *conn, uint64_t now_us)
{
    struct stream *client = &conn->stream[CONN_CLIENT];
    struct proxy_protocol_header header;
    const char *why = "none came";
    size_t size;
    unsigned char *scratch = worker_scratch(conn->home->shared->worker, &size);
    ssize_t n =
        recv(client->fd, scratch, size < PROXY_PROTOCOL_READ_MAX ? size : PROXY_PROTOCOL_READ_MAX, MSG_PEEK);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            close_now(conn, STATS_CLOSE_CLIENT_RESET, now_us);
        }
        return; /* an event will tell of more */
    }
    switch (proxy_protocol_read(scratch, (size_t)n, &header, &why)) {
    case PROXY_PROTOCOL_DONE:
        header_found(conn, &header, scratch, now_us);
        return;
    case PROXY_PROTOCOL_MORE:
        if (n == 0 || client->ending) {
            header_ended(conn, (size_t)n, now_us);
        }
        return;
    case PROXY_PROTOCOL_ABSENT:
        if (service_terms(conn)->proxy_header.accept == CONFIG_PROXY_OPTIONAL) {
            client_known(conn, now_us);
            return;
        }
        break;
    case PROXY_PROTOCOL_BAD:
        break;
    }
    refuse(conn, why, now_us);
}

void arrival_go_on(struct conn *conn, uint64_t now_us)
{
    if (conn->state == CONN_CLIENT_HELLO) {
        passthrough_go_on(conn, now_us);
    } else {
        read_header(conn, now_us);
    }
}

void arrival_on_timeout(struct conn *conn, uint64_t now_us)
{
    if (conn->state == CONN_CLIENT_HELLO) {
        passthrough_on_timeout(conn, now_us);
        return;
    }
    char first;
    ssize_t n = recv(conn->stream[CONN_CLIENT].fd, &first, sizeof(first), MSG_PEEK);
    header_ended(conn, n > 0 ? (size_t)n : 0, now_us);
}

/* Who connects over a Unix path was let in by its permissions. */
static bool is_trusted(const struct conn *conn)
{
    return conn->stream[CONN_CLIENT].is_unix ||
           prefixes_contain(service_terms(conn)->proxy_header.from, &conn->client);
}

void arrival_begin(struct conn *conn, uint64_t now_us)
{
    enum config_proxy_accept accept = service_terms(conn)->proxy_header.accept;
    bool trusted = accept != CONFIG_PROXY_OFF && is_trusted(conn);
    if (!trusted && accept != CONFIG_PROXY_REQUIRED) {
        client_known(conn, now_us);
        return;
    }
    if (!trusted) {
        refuse(conn, "from an address that may not send one", now_us);
        return;
    }
    conn_enter(conn, CONN_PROXY_HEADER, now_us);
    if (!conn_listen_to_client(conn)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    read_header(conn, now_us); /* mostly it came with the connection */
}
