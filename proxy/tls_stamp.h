/*
 * Whether a file that a service's TLS goes by has changed: one number out of what the file system says of all
 * of them. Any thread; asks the file system.
 */
#ifndef PROXY_TLS_STAMP_H
#define PROXY_TLS_STAMP_H

#include "core/config.h"

#include <stdint.h>

/* 0: the service has no TLS. Differs once one of the files is another, or is written again, or goes. */
uint64_t tls_stamp(const struct config_service *config);

#endif
