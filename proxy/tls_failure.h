/*
 * What libssl's reasons for a failed handshake mean, in the words of the counters (core/stats.h). A table;
 * any thread.
 */
#ifndef PROXY_TLS_FAILURE_H
#define PROXY_TLS_FAILURE_H

#include "core/stats.h"

/* reason: ERR_GET_REASON of an error of ERR_LIB_SSL. STATS_TLS_OTHER where it tells nothing of use. */
enum stats_tls_failure tls_failure_of(int reason);

#endif
