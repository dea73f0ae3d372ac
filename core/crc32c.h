/* CRC-32C (Castagnoli polynomial; RFC 3720 appendix B.4), as iSCSI and the PROXY protocol use it. Pure; any
 * thread. */
#ifndef CORE_CRC32C_H
#define CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t len);

#endif
