/* The numbers of the PROXY protocol that its reader and its writer share. */
#ifndef CORE_PROXY_PROTOCOL_INTERNAL_H
#define CORE_PROXY_PROTOCOL_INTERNAL_H

#define V1_BEGIN "PROXY "
#define V1_MAX 107u /* with CR LF */
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_SIGNATURE_BYTES 12u
#define V2_FIXED_BYTES 16u /* signature, version and command, family and transport, length */
#define V2_LOCAL 0x20u
#define V2_PROXY 0x21u
#define V2_UNSPECIFIED 0x00u
#define V2_TCP4 0x11u
#define V2_TCP6 0x21u
#define V2_TCP4_BYTES 12u
#define V2_TCP6_BYTES 36u
#define V2_UNIX_BYTES 216u
#define V2_TLV_BYTES 3u /* type and length */

#define TLV_ALPN 0x01u
#define TLV_AUTHORITY 0x02u
#define TLV_CRC32C 0x03u
#define TLV_UNIQUE_ID 0x05u
#define TLV_SSL 0x20u
#define TLV_SSL_VERSION 0x21u
#define TLV_SSL_CN 0x22u
#define TLV_SSL_CIPHER 0x23u
#define TLV_SSL_SIG_ALG 0x24u
#define TLV_SSL_KEY_ALG 0x25u
#define TLV_SSL_FIXED_BYTES 5u /* client and verify */
#define CRC32C_BYTES 4u

#define CLIENT_SSL 0x01u
#define CLIENT_CERT_CONN 0x02u
#define CLIENT_CERT_SESS 0x04u

#endif
