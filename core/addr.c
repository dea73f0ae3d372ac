/*
 * Addresses: text to sockaddr and back, and the client's bare IP. Pure, any thread. Host names are asked for
 * elsewhere (health/lookup.h).
 */
#include "core/addr.h"

#include "core/units.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define HOST_MAX 256          /* RFC 1035: 255 octets */
#define HOST_NAME_LONGEST 254 /* with a dot at the end */
#define HOST_LABEL_LONGEST 63
#define UNIX_PREFIX "unix:"

static int parse_unix(const char *text, const char *path, const char *base_dir, struct addr *out,
                      struct err_text *err)
{
    bool join = base_dir && path[0] != '/';
    if (path[0] == '\0') {
        return err_set(err, ERR_PARSE, "\"%s\": the path is missing, write unix:/path", text);
    }
    *out = (struct addr){0};
    out->un.sun_family = AF_UNIX;
    int n = snprintf(out->un.sun_path, sizeof(out->un.sun_path), "%s%s%s", join ? base_dir : "",
                     join ? "/" : "", path);
    if (n < 0 || (size_t)n >= sizeof(out->un.sun_path)) {
        return err_set(err, ERR_RANGE, "\"%s\": the path has %d bytes, at most %zu are possible", text, n,
                       sizeof(out->un.sun_path) - 1);
    }
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
    return ERR_OK;
}

static int parse_port(const char *text, const char *port, uint16_t *out, struct err_text *err)
{
    uint64_t value = 0;
    int rc = units_parse_count(port, UINT16_MAX, &value);
    if (rc == ERR_RANGE) {
        return err_set(err, rc, "\"%s\": the port is above 65535", text);
    }
    if (rc) {
        return err_set(err, rc, "\"%s\": \"%s\" is not a port number", text, port);
    }
    *out = (uint16_t)value;
    return ERR_OK;
}

/* The number of an interface ("eth0" or "2"); 0 when there is none. */
static uint32_t scope_id(const char *scope)
{
    uint64_t number = 0;
    if (units_parse_count(scope, UINT32_MAX, &number) == ERR_OK) {
        return (uint32_t)number;
    }
    return if_nametoindex(scope);
}

/* host: what stands between the brackets, changed by the call. */
static int parse_ipv6(const char *text, char *host, uint16_t port, struct addr *out, struct err_text *err)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char *scope = strchr(host, '%');
    if (scope) {
        *scope++ = '\0';
        in6.sin6_scope_id = scope_id(scope);
        if (in6.sin6_scope_id == 0) {
            return err_set(err, ERR_PARSE, "\"%s\": there is no network interface \"%s\"", text, scope);
        }
    }
    if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1) {
        return err_set(err, ERR_PARSE, "\"%s\": \"%s\" is not an IPv6 address", text, host);
    }
    *out = (struct addr){.len = sizeof(in6)};
    out->in6 = in6;
    return ERR_OK;
}

/* Letters, digits, hyphens and underscores in labels of 1 to 63 bytes with dots between them, and one at the
 * end where it is meant as it is (RFC 1035, 2.3.4): what may be asked of a resolver. */
static bool is_host_name(const char *host)
{
    size_t length = strlen(host);
    if (length == 0 || length > HOST_NAME_LONGEST || host[0] == '-') {
        return false;
    }
    while (*host != '\0') {
        size_t label = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
        if (label == 0 || label > HOST_LABEL_LONGEST || (host[label] != '\0' && host[label] != '.')) {
            return false;
        }
        host += label + (host[label] == '.');
    }
    return true;
}

static int parse_ipv4(const char *text, const char *host, uint16_t port, struct addr *out,
                      struct err_text *err)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (strcmp(host, "*") == 0) {
        in.sin_addr.s_addr = htonl(INADDR_ANY);
    } else if (inet_pton(AF_INET, host, &in.sin_addr) != 1) {
        if (host[strspn(host, "0123456789.")] == '\0') {
            return err_set(err, ERR_PARSE, "\"%s\": \"%s\" is not an IPv4 address", text, host);
        }
        if (!is_host_name(host)) {
            return err_set(err, ERR_PARSE, "\"%s\": \"%s\" is neither an IPv4 address nor a host name", text,
                           host);
        }
        return err_set(err, ERR_UNAVAILABLE, "\"%s\": \"%s\" is a host name, an IP address is needed here",
                       text, host);
    }
    *out = (struct addr){.len = sizeof(in)};
    out->in = in;
    return ERR_OK;
}

/* Splits "host:port" or "[host]:port" into host (without brackets) and port. */
static int split_host_port(const char *text, char *host, size_t host_size, bool *bracketed, uint16_t *port,
                           struct err_text *err)
{
    *bracketed = text[0] == '[';
    const char *start = text + (*bracketed ? 1 : 0);
    const char *end = *bracketed ? strchr(text, ']') : strrchr(text, ':');
    if (*bracketed && !end) {
        return err_set(err, ERR_PARSE, "\"%s\": the closing bracket is missing", text);
    }
    const char *colon = *bracketed ? end + 1 : end;
    if (!colon || *colon != ':') {
        return err_set(err, ERR_PARSE, "\"%s\": the port is missing, write ADDRESS:PORT", text);
    }
    if (!*bracketed && strchr(text, ':') != end) {
        return err_set(err, ERR_PARSE, "\"%s\": an IPv6 address needs brackets, write [ADDRESS]:PORT", text);
    }
    if (end == start) {
        return err_set(err, ERR_PARSE, "\"%s\": the address is missing, write ADDRESS:PORT", text);
    }
    if ((size_t)(end - start) >= host_size) {
        return err_set(err, ERR_RANGE, "the address of %zu bytes is too long", (size_t)(end - start));
    }
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    return parse_port(text, colon + 1, port, err);
}

int addr_parse(const char *text, const char *base_dir, struct addr *out, struct err_text *err)
{
    char host[HOST_MAX];
    bool bracketed = false;
    uint16_t port = 0;
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        return parse_unix(text, text + strlen(UNIX_PREFIX), base_dir, out, err);
    }
    int rc = split_host_port(text, host, sizeof(host), &bracketed, &port, err);
    if (rc) {
        return rc;
    }
    return bracketed ? parse_ipv6(text, host, port, out, err) : parse_ipv4(text, host, port, out, err);
}

int addr_split_host(const char *text, char *host, size_t host_size, uint16_t *port, struct err_text *err)
{
    bool bracketed = false;
    return split_host_port(text, host, host_size, &bracketed, port, err);
}

/* Bytes of sun_path in use, without a NUL at the end. */
static size_t unix_path_len(const struct addr *addr)
{
    size_t offset = offsetof(struct sockaddr_un, sun_path);
    size_t room = addr->len > offset ? addr->len - offset : 0;
    if (room > sizeof(addr->un.sun_path)) {
        room = sizeof(addr->un.sun_path);
    }
    /* An abstract name begins with NUL and may hold more of them. */
    return room > 0 && addr->un.sun_path[0] == '\0' ? room : strnlen(addr->un.sun_path, room);
}

static void format_ipv6(const struct sockaddr_in6 *in6, char *out, size_t out_size)
{
    char host[INET6_ADDRSTRLEN];
    char scope[IF_NAMESIZE + 1] = "";
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    if (in6->sin6_scope_id != 0) {
        char name[IF_NAMESIZE];
        if (if_indextoname(in6->sin6_scope_id, name)) {
            (void)snprintf(scope, sizeof(scope), "%%%s", name);
        } else {
            (void)snprintf(scope, sizeof(scope), "%%%u", in6->sin6_scope_id);
        }
    }
    (void)snprintf(out, out_size, "[%s%s]:%u", host, scope, (unsigned)ntohs(in6->sin6_port));
}

void addr_format(const struct addr *addr, char *out, size_t out_size)
{
    char host[INET_ADDRSTRLEN];
    switch (addr->sa.sa_family) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &addr->in.sin_addr, host, sizeof(host));
        (void)snprintf(out, out_size, "%s:%u", host, (unsigned)ntohs(addr->in.sin_port));
        break;
    case AF_INET6:
        format_ipv6(&addr->in6, out, out_size);
        break;
    case AF_UNIX: {
        size_t len = unix_path_len(addr);
        bool abstract = len > 0 && addr->un.sun_path[0] == '\0';
        (void)snprintf(out, out_size, UNIX_PREFIX "%s%.*s", abstract ? "@" : "",
                       (int)len - (abstract ? 1 : 0), addr->un.sun_path + (abstract ? 1 : 0));
        break;
    }
    default:
        (void)snprintf(out, out_size, "unknown");
        break;
    }
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family) {
        return false;
    }
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
    case AF_UNIX: {
        size_t len = unix_path_len(a);
        return len == unix_path_len(b) && memcmp(a->un.sun_path, b->un.sun_path, len) == 0;
    }
    default:
        return false;
    }
}

static bool is_any(const struct addr *address)
{
    return address->sa.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr)
                                             : address->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool addr_overlaps(const struct addr *a, const struct addr *b)
{
    return !addr_is_unix(a) && a->sa.sa_family == b->sa.sa_family && addr_port(a) == addr_port(b) &&
           (is_any(a) || is_any(b) || addr_equal(a, b));
}

bool addr_is_unix(const struct addr *addr)
{
    return addr->sa.sa_family == AF_UNIX;
}

uint16_t addr_port(const struct addr *addr)
{
    switch (addr->sa.sa_family) {
    case AF_INET:
        return ntohs(addr->in.sin_port);
    case AF_INET6:
        return ntohs(addr->in6.sin6_port);
    default:
        return 0;
    }
}

void addr_ip_from(const struct addr *addr, struct addr_ip *out)
{
    *out = (struct addr_ip){0};
    if (addr->sa.sa_family == AF_INET) {
        out->family = 4;
        memcpy(out->bytes, &addr->in.sin_addr, 4);
    } else if (addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr)) {
        out->family = 4;
        memcpy(out->bytes, addr->in6.sin6_addr.s6_addr + 12, 4);
    } else if (addr->sa.sa_family == AF_INET6) {
        out->family = 6;
        memcpy(out->bytes, &addr->in6.sin6_addr, 16);
    }
    out->port = addr_port(addr);
}

void addr_ip_format(const struct addr_ip *ip, char *out, size_t out_size)
{
    char host[INET6_ADDRSTRLEN];
    if (ip->family == 0) {
        (void)snprintf(out, out_size, "unix");
        return;
    }
    (void)inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, host, sizeof(host));
    (void)snprintf(out, out_size, ip->family == 4 ? "%s:%u" : "[%s]:%u", host, (unsigned)ip->port);
}

void addr_ip_mask(struct addr_ip *ip, unsigned prefix_ipv4, unsigned prefix_ipv6)
{
    unsigned prefix = ip->family == 4 ? prefix_ipv4 : prefix_ipv6;
    for (unsigned i = 0; i < sizeof(ip->bytes); i++) {
        unsigned first_bit = i * 8;
        unsigned keep = prefix > first_bit ? prefix - first_bit : 0;
        if (keep < 8) {
            ip->bytes[i] &= (uint8_t)(0xff00u >> keep);
        }
    }
    ip->port = 0;
}
