/*
 * What libssl's reasons for a failed handshake mean, in the words of the counters (core/stats.h). A table;
 * any thread.
 */
#ifndef PROXY_TLS_FAILURE_H
#define PROXY_TLS_FAILURE_H

#include "core/stats.h"

#include <stdbool.h>

/* reason: ERR_GET_REASON of an error of ERR_LIB_SSL. STATS_TLS_OTHER where it tells nothing of use. */
enum stats_tls_failure tls_failure_of(int reason);
/* Whether it is an alert of the peer that speaks of the handshake: of a certificate, a name, a version. Those
 * that may come at any time later (internal_error, bad_record_mac …) do not. */
bool tls_failure_is_refusal(int reason);

#endif
