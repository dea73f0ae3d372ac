/*
 * Error codes to text, and messages for the operator. Pure apart from reading errno; any thread.
 * What an error means for the caller is the caller's business: nothing is logged here.
 */
#include "core/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_describe(int code)
{
    switch (code) {
#define ERR_CASE(name, value, text)                                                                          \
    case ERR_##name:                                                                                         \
        return text;
        ERR_LIST(ERR_CASE)
#undef ERR_CASE
    default:
        return "unknown error";
    }
}

int err_set(struct err_text *text, int code, const char *format, ...)
{
    if (text) {
        va_list args;
        va_start(args, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start stands right above */
        (void)vsnprintf(text->text, sizeof(text->text), format, args);
        va_end(args);
    }
    return code;
}

int err_set_errno(struct err_text *text, const char *format, ...)
{
    int saved = errno;
    if (text) {
        va_list args;
        va_start(args, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): as above */
        int n = vsnprintf(text->text, sizeof(text->text), format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof(text->text)) {
            char buffer[128];
            const char *reason = strerror_r(saved, buffer, sizeof(buffer));
            (void)snprintf(text->text + n, sizeof(text->text) - (size_t)n, ": %s", reason);
        }
    }
    errno = saved;
    return ERR_SYSTEM;
}
