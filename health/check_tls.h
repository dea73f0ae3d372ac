/*
 * How the checks of a group speak TLS: by their own `tls` section, or as the group's connections do. Pure
 * decisions about the configuration; any thread.
 */
#ifndef HEALTH_CHECK_TLS_H
#define HEALTH_CHECK_TLS_H

#include "core/config.h"

#include <stdbool.h>
#include <stddef.h>

#define CHECK_TLS_NAME_MAX 256u /* bytes of a host name with NUL */

/* FIRST: from the first byte. ASKED: the protocol begins in the clear and asks for it. */
enum check_tls_way { CHECK_TLS_NONE, CHECK_TLS_FIRST, CHECK_TLS_ASKED };

/* All borrowed from the configuration. */
struct check_tls {
    enum check_tls_way way;
    bool of_group; /* what the check does not say of its own is as for the group's connections */
    bool verify;
    const char *ca, *crl;                 /* NULL: those of the system, none */
    const char *server_name;              /* NULL: see check_tls_name */
    const struct config_certificate *own; /* NULL: nothing is shown */
    char *const *alpn;
    size_t alpn_len;
    enum config_tls_version min_version;
};

/*
 * A check goes to the port that connections go to, unless it has a `port` of its own. Then it speaks as they
 * do, from the first byte; only checks that just connect, commands and agents do not, nor those whose `tls`
 * is not enabled. Elsewhere TLS is what its own section says.
 */
struct check_tls check_tls_of(const struct config_group *group);

/* The name that is asked for and that the certificate of this backend must be for; NULL: its address. The
 * result is borrowed from tls or written to out. */
const char *check_tls_name(const struct check_tls *tls, const struct config_group *group, const char *backend,
                           char out[CHECK_TLS_NAME_MAX]);

/* What in the configuration speaks against itself, as a sentence without its end, for who wants to warn of
 * it; NULL: nothing. Static storage. */
const char *check_tls_doubt(const struct config_group *group);

#endif
