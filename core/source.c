/*
 * Answers for binding outgoing sockets to the address that they should come from. Who wants which address is
 * told by the configuration; connecting is the callers' business. Any thread.
 */
#include "core/source.h"

#include "core/prefixes.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Why such an address can be nobody's source; NULL: it can. A link-local one holds for one interface alone,
 * which is not said with it (RFC 4007 6). */
static const char *unfit(const struct addr_ip *ip)
{
    const unsigned char *bytes = ip->bytes;
    if (ip->family == 4 ? (bytes[0] & 0xf0) == 0xe0 : bytes[0] == 0xff) {
        return "a multicast address";
    }
    if (ip->family == 6 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) {
        return "a link-local address, which is not one machine-wide: take a global or a unique local one";
    }
    return NULL;
}

int source_parse(const char *text, struct source *out, struct err_text *err)
{
    struct prefix prefix;
    *out = (struct source){.kind = SOURCE_SYSTEM};
    if (text == NULL) {
        return 0;
    }
    if (strcmp(text, "client") == 0) {
        out->kind = SOURCE_CLIENT;
        return 0;
    }
    if (strchr(text, '/') != NULL || prefix_parse(text, &prefix, NULL) != 0) {
        return err_set(err, ERR_PARSE, "\"%s\" is neither an IP address nor \"client\"", text);
    }
    if (unfit(&prefix.ip) != NULL) {
        return err_set(err, ERR_PARSE, "\"%s\" is %s", text, unfit(&prefix.ip));
    }
    out->kind = SOURCE_ADDRESS;
    out->ip = prefix.ip;
    return 0;
}

static int family_of(const struct addr_ip *ip)
{
    return ip->family == 4 ? AF_INET : ip->family == 6 ? AF_INET6 : AF_UNSPEC;
}

static int bind_to(int fd, const struct addr_ip *ip, bool transparent)
{
    const int on = 1;
    struct addr address = {.len = sizeof(address.in)};
    int level = ip->family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
    int option = ip->family == 4 ? IP_TRANSPARENT : IPV6_TRANSPARENT;
    if (transparent && setsockopt(fd, level, option, &on, sizeof(on)) != 0) {
        return errno;
    }
    /* A kernel without it chooses the port now, which is only a matter of how many fit. */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (ip->family == 4) {
        address.in.sin_family = AF_INET;
        memcpy(&address.in.sin_addr, ip->bytes, sizeof(address.in.sin_addr));
    } else {
        address.len = sizeof(address.in6);
        address.in6.sin6_family = AF_INET6;
        memcpy(&address.in6.sin6_addr, ip->bytes, sizeof(address.in6.sin6_addr));
    }
    return bind(fd, &address.sa, address.len) == 0 ? 0 : errno;
}

int source_bind(const struct source *source, int fd, int family, const struct addr_ip *client)
{
    bool transparent = source->kind == SOURCE_CLIENT;
    const struct addr_ip *ip = transparent ? client : &source->ip;
    if (source->kind == SOURCE_SYSTEM || ip == NULL || family_of(ip) != family) {
        return 0;
    }
    return bind_to(fd, ip, transparent);
}

static int explain(const struct source *source, int code, struct err_text *err)
{
    if (source->kind == SOURCE_CLIENT && code == EPERM) {
        return err_set(
            err, ERR_DENIED,
            "source = \"client\" needs the capability CAP_NET_RAW or CAP_NET_ADMIN: start as root, or "
            "let the service manager give it");
    }
    errno = code;
    if (code == EADDRNOTAVAIL) {
        return err_set(err, ERR_INVALID, "source: not an address of this machine (`ip address` shows them)");
    }
    return err_set_errno(err, "source: cannot be bound");
}

int source_try(const struct source *source, struct err_text *err)
{
    /* Any machine has the loopback address, so with it only the permission is tried. */
    const struct addr_ip loopback = {.family = 4, .bytes = {127, 0, 0, 1}};
    int family = source->kind == SOURCE_CLIENT ? AF_INET : family_of(&source->ip);
    if (source->kind == SOURCE_SYSTEM) {
        return 0;
    }
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int code = fd < 0 ? errno : source_bind(source, fd, family, &loopback);
    if (fd >= 0) {
        close(fd);
    }
    return code != 0 ? explain(source, code, err) : 0;
}
