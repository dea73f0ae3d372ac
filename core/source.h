/*
 * The address that outgoing connections come from: one of this machine's, or the client's own (transparent:
 * IP_TRANSPARENT of ip(7) and IPV6_TRANSPARENT, for which the answers must be routed back through this
 * machine). The port is chosen when connecting (IP_BIND_ADDRESS_NO_PORT), so that one address serves as many
 * connections as there are different destinations times ports. Any thread.
 */
#ifndef CORE_SOURCE_H
#define CORE_SOURCE_H

#include "core/addr.h"
#include "core/err.h"

#include <stdbool.h>

enum source_kind { SOURCE_SYSTEM, SOURCE_ADDRESS, SOURCE_CLIENT };

struct source {
    enum source_kind kind;
    struct addr_ip ip; /* of SOURCE_ADDRESS; its port is 0 */
};

/* "client" or an IP address; NULL is SOURCE_SYSTEM. ERR_PARSE. */
MUST_CHECK int source_parse(const char *text, struct source *out, struct err_text *err);
/*
 * Binds a TCP socket of family AF_INET or AF_INET6 before it connects. client: whose connection it is; NULL
 * or of family 0: nobody's, such as a check's. An address of the other family is passed over, as is an
 * unknown client: the system then chooses. Returns 0 or an errno.
 */
MUST_CHECK int source_bind(const struct source *source, int fd, int family, const struct addr_ip *client);
/* Tries it out: ERR_INVALID (not an address of this machine), ERR_DENIED (the capability is missing), with
 * words that say what to do. */
MUST_CHECK int source_try(const struct source *source, struct err_text *err);

#endif
