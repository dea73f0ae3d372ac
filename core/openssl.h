/*
 * OpenSSL's headers, to be included only through this one: they declare a type ERR_STATE, which is also the
 * name of one of our error codes. Here theirs gets another name.
 */
#ifndef CORE_OPENSSL_H
#define CORE_OPENSSL_H

#define ERR_STATE openssl_err_state
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#endif
