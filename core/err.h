/*
 * Errors are values: 0 is success, a negative code from the one list below is a failure.
 * Operator-facing paths also carry a message: what failed, on what, and what to do about it.
 * Any thread.
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

#include <stddef.h>

/* X(name, code, text): codes are stable and never reused. */
#define ERR_LIST(X)                                                                                          \
    X(OK, 0, "success")                                                                                      \
    X(NOMEM, -1, "out of memory")                                                                            \
    X(INVALID, -2, "invalid argument")                                                                       \
    X(NOT_FOUND, -3, "not found")                                                                            \
    X(EXISTS, -4, "exists already")                                                                          \
    X(STATE, -5, "not possible in the present state")                                                        \
    X(SYSTEM, -6, "system call failed")                                                                      \
    X(PARSE, -7, "cannot be parsed")                                                                         \
    X(RANGE, -8, "out of range")                                                                             \
    X(LIMIT, -9, "limit reached")                                                                            \
    X(UNAVAILABLE, -10, "not available")                                                                     \
    X(CORRUPT, -11, "corrupt data")                                                                          \
    X(DENIED, -12, "not permitted")                                                                          \
    X(TIMEOUT, -13, "timed out")

enum err {
#define ERR_ENUM(name, code, text) ERR_##name = (code),
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

/* A message for the operator. Filled once, at the place that knows most; callers may prefix, never replace.
 */
struct err_text {
    char text[512];
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* The text of a code from ERR_LIST ("unknown error" for any other value). Static storage. */
const char *err_describe(int code);

/*
 * Formats a message into text (NULL is allowed: then only the code is passed through) and returns code, so
 * that a failing function can end with `return err_set(text, ERR_X, "...")`. A message that is too long is
 * cut.
 */
int err_set(struct err_text *text, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set with ERR_SYSTEM, and appends ": " and the description of errno as it was at the call. */
int err_set_errno(struct err_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
