/*
 * Answers for how we appear to a backend: from which address a connection to it comes, and the PROXY header
 * ahead of it that tells whose connection it is. Runs on the connection's worker; what a group wants is built
 * once, on the control thread. Connecting itself is in connect.c, the bytes of a header in
 * core/proxy_protocol.
 */
#include "core/proxy_protocol.h"
#include "proxy/proxy_internal.h"
#include "proxy/tls_back.h"
#include "proxy/tls_identity.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static unsigned tlv_bit(const char *word)
{
    static const struct {
        const char *word;
        unsigned bit;
    } bits[] = {{"alpn", PROXY_PROTOCOL_ALPN},
                {"authority", PROXY_PROTOCOL_AUTHORITY},
                {"unique-id", PROXY_PROTOCOL_UNIQUE_ID},
                {"ssl", PROXY_PROTOCOL_SSL},
                {"crc32c", PROXY_PROTOCOL_CRC32C}};
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        if (strcmp(bits[i].word, word) == 0) {
            return bits[i].bit;
        }
    }
    return 0;
}

static int configure_tls(const struct proxy_service *service, const struct config_group *group,
                         struct outward *outward, struct err_text *err)
{
    struct tls_back *back = NULL;
    if (!group->tls.present) {
        return 0;
    }
    int code = tls_stream_setup(err);
    if (code == 0) {
        code = tls_back_create(service->name, group, service->proxy->workers, &back, err);
        service->proxy->encrypts = true;
    }
    if (code == 0) {
        outward->tls = back;
    }
    return code;
}

int outward_configure(const struct proxy_service *service, struct service_terms *terms,
                      const struct config_service *config, size_t groups_max, struct err_text *err)
{
    /* In front by number in the routing, behind it as the configuration has them. */
    terms->outward = calloc(config->groups_len + groups_max + 1, sizeof(*terms->outward));
    if (terms->outward == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    terms->outward_len = groups_max;
    terms->outward_made = config->groups_len;
    for (size_t g = 0; g < config->groups_len; g++) {
        const struct config_group *group = &config->groups[g];
        struct outward *outward = &terms->outward[groups_max + g];
        struct err_text why;
        outward->known = true;
        outward->version = (unsigned)group->send_proxy;
        for (size_t i = 0; i < group->send_proxy_tlvs_len; i++) {
            outward->tlvs |= tlv_bit(group->send_proxy_tlvs[i]);
        }
        terms->introduces |= outward->version > 0;
        int code = source_parse(group->source, &outward->source, &why);
        if (code == 0) {
            code = source_try(&outward->source, &why);
        }
        if (code != 0) {
            return err_set(err, code, "group %s: %s", group->name, why.text);
        }
        code = configure_tls(service, group, outward, err);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

void outward_resolve(struct service_terms *terms, const struct config_service *config,
                     const struct routing *routing)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        uint32_t number = routing_find_group(routing, config->groups[g].name);
        if (number < terms->outward_len) {
            terms->outward[number] = terms->outward[terms->outward_len + g];
        }
    }
}

void outward_release(struct service_terms *terms)
{
    for (size_t g = 0; terms->outward != NULL && g < terms->outward_made; g++) {
        tls_back_drop(terms->outward[terms->outward_len + g].tls);
    }
    free(terms->outward);
}

static const struct outward *outward_of(const struct conn *conn)
{
    const struct service_terms *terms = service_terms(conn);
    return conn->lease.group < terms->outward_len ? &terms->outward[conn->lease.group] : NULL;
}

bool outward_is_known(const struct conn *conn)
{
    const struct outward *outward = outward_of(conn);
    return outward != NULL ? outward->known : service_terms(conn)->outward == NULL;
}

struct tls_back *outward_tls(const struct conn *conn)
{
    const struct outward *outward = outward_of(conn);
    return outward != NULL ? outward->tls : NULL;
}

int outward_bind(const struct conn *conn, int fd, int family)
{
    const struct outward *outward = outward_of(conn);
    return outward != NULL ? source_bind(&outward->source, fd, family, &conn->client) : 0;
}

/* ---- what a received header told, for the one we send */

struct conn_origin {
    struct addr_ip destination;
    struct proxy_protocol_text alpn, authority, unique_id, ssl; /* into bytes */
    uint8_t bytes[];
};

static struct proxy_protocol_text keep(uint8_t **at, struct proxy_protocol_text text)
{
    struct proxy_protocol_text kept = {NULL, 0};
    if (text.len > 0) {
        memcpy(*at, text.data, text.len);
        kept = (struct proxy_protocol_text){*at, text.len};
        *at += text.len;
    }
    return kept;
}

bool outward_keep(struct conn *conn, const struct proxy_protocol_header *header)
{
    struct conn_origin *origin = NULL;
    const struct service_terms *terms = service_terms(conn);
    if ((!terms->introduces && terms->passthrough == NULL) || header->source.family == 0) {
        return true;
    }
    origin = malloc(sizeof(*origin) + header->alpn.len + header->authority.len + header->unique_id.len +
                    header->ssl.len);
    if (origin == NULL) {
        return false;
    }
    uint8_t *at = origin->bytes;
    origin->destination = header->destination;
    origin->alpn = keep(&at, header->alpn);
    origin->authority = keep(&at, header->authority);
    origin->unique_id = keep(&at, header->unique_id);
    origin->ssl = keep(&at, header->ssl);
    conn->attempt->origin = origin;
    return true;
}

void outward_forget(struct conn_attempt *attempt)
{
    free(attempt->origin);
    attempt->origin = NULL;
}

/* ---- the header we send */

/* Where the client connected to, as far as it is known. */
static void describe_destination(const struct conn *conn, struct proxy_protocol_header *header)
{
    struct addr local = {.len = sizeof(local.un)};
    if (getsockname(conn->stream[CONN_CLIENT].fd, &local.sa, &local.len) == 0) {
        addr_ip_from(&local, &header->destination);
    }
}

/* What the client itself asked for, where no header told it. */
static void add_hello(const struct conn *conn, struct proxy_protocol_header *header)
{
    const char *name = conn_server_name(conn);
    if (header->authority.len == 0 && name[0] != '\0') {
        header->authority = (struct proxy_protocol_text){(const uint8_t *)name, strlen(name)};
    }
    if (header->alpn.len == 0 && conn->hello != NULL) {
        header->alpn = conn->hello->protocol;
    }
}

bool outward_introduce(struct conn *conn)
{
    const struct outward *outward = outward_of(conn);
    if (outward == NULL || outward->version == 0) {
        return true;
    }
    char id[PROXY_ID_TEXT_MAX];
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    struct tls_identity identity;
    const struct conn_origin *origin = conn->attempt->origin;
    struct proxy_protocol_header header = {.version = outward->version, .source = conn->client};
    proxy_id_format(conn->id, id, sizeof(id));
    header.unique_id = (struct proxy_protocol_text){(const uint8_t *)id, strlen(id)};
    if (origin != NULL) {
        header.destination = origin->destination;
        header.alpn = origin->alpn;
        header.authority = origin->authority;
        header.ssl = origin->ssl;
        header.unique_id = origin->unique_id.len > 0 ? origin->unique_id : header.unique_id;
    } else {
        describe_destination(conn, &header);
    }
    if (conn->stream[CONN_CLIENT].tls != NULL) {
        tls_identity_fill(&conn->stream[CONN_CLIENT], &identity, &header);
    } else {
        add_hello(conn, &header);
    }
    size_t len = proxy_protocol_write(&header, outward->tlvs, bytes);
    /* A fresh connection takes a header in one piece; one that does not is of no use. */
    return stream_send(&conn->stream[CONN_BACKEND], bytes, len) == (ssize_t)len;
}
