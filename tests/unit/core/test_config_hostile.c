/*
 * Loading configurations when things go wrong: damaged text from a seeded generator, and memory that runs out
 * at every single allocation. Nothing may crash or leak (the sanitizers watch), and a refusal says why.
 */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- allocations of our own objects go through these (the linker's --wrap) */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
int __real_vasprintf(char **out, const char *format, va_list args);
FILE *__real_open_memstream(char **out, size_t *len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_vasprintf(char **out, const char *format, va_list args);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
FILE *__wrap_open_memstream(char **out, size_t *len);

static unsigned long left; /* allocations until one fails; 0: none does */
static bool failed;

static bool fails(void)
{
    if (left == 0 || --left > 0) {
        return false;
    }
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
    return fails() ? NULL : __real_strndup(text, len);
}

int __wrap_vasprintf(char **out, const char *format, va_list args)
{
    return fails() ? -1 : __real_vasprintf(out, format, args);
}

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = fails() ? -1 : __real_vasprintf(out, format, args);
    va_end(args);
    return n;
}

FILE *__wrap_open_memstream(char **out, size_t *len)
{
    return fails() ? NULL : __real_open_memstream(out, len);
}

/* libconfig 1.5 forgets a text that stands where its grammar allows none. That is a few bytes for a file that
 * is refused anyway; what we allocate ourselves is watched. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

/* ---- memory runs out */

static const char faulty[] =
    "@include \"/nowhere/services.conf\"\nworker = 1;\nspin = 99999999999999999999;\n"
    "services = ( { name = \"a\"; listen = [ \"*:80\", \"0.0.0.0:80\" ]; groups = (\n"
    "{ name = \"g\"; backends = ( { address = \"unix:a\"; }, { address = \"10.0.0.1:80\"; } ); },\n"
    "{ name = \"g\"; backends = ( { address = \"unix:a\"; }, { address = \"unix:a\"; } ); } ); } );\n";

/* Fails each allocation once, until a run needs fewer; every run that was hit must say ERR_NOMEM. */
static void exhaust(const char *path, const char *text, int expected)
{
    for (unsigned long n = 1;; n++) {
        struct config *config = NULL;
        struct config_errors errors;
        failed = false;
        left = n;
        int rc =
            path ? config_load(path, &config, &errors) : config_load_text(text, "/etc", &config, &errors);
        left = 0;
        assert_int_equal(rc, failed ? ERR_NOMEM : expected);
        if (rc != ERR_OK) {
            assert_null(config);
        }
        config_errors_clear(&errors);
        config_free(config);
        if (!failed) {
            assert_true(n > 20);
            return;
        }
        assert_true(n < 100000);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    exhaust(SOURCE_DIR "/conf/shunt.conf", NULL, ERR_OK);
    exhaust(SOURCE_DIR "/conf/blue-green.conf", NULL, ERR_OK);
    exhaust(NULL, faulty, ERR_INVALID);
}

static void test_no_memory_for_texts(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct config_errors errors;
    assert_int_equal(config_load(SOURCE_DIR "/conf/shunt.conf", &config, &errors), ERR_OK);
    left = 1;
    assert_null(config_show(config));
    left = 1;
    assert_null(config_reference());
    left = 1;
    assert_null(config_errors_format(&errors));
    left = 0;
    config_errors_clear(&errors);
    config_free(config);
}

/* ---- damaged text */

/* xorshift64* (Vigna 2016); the seed is fixed so that a failure comes back. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(2685821657736338717);
}

/* Loads; whatever the text is, a failure has a finding and a success can be shown. */
static void load_damaged(const char *text)
{
    struct config *config = NULL;
    struct config_errors errors;
    int rc = config_load_text(text, "/nowhere", &config, &errors);
    char *out = rc == ERR_OK ? config_show(config) : config_errors_format(&errors);
    assert_true(rc == ERR_OK || rc == ERR_INVALID);
    assert_true((rc == ERR_OK) == (errors.len == 0));
    assert_non_null(out);
    free(out);
    config_errors_clear(&errors);
    config_free(config);
}

static size_t read_sample(const char *path, char *out, size_t out_size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(out, 1, out_size - 1, file);
    assert_int_equal(fclose(file), 0);
    out[len] = '\0';
    return len;
}

static void damage(char *text, size_t len, uint64_t *seed)
{
    static const char signs[] = "{}()[]=:;,\"\\#/*@-.%09aZ\n\t\x01\x7f\xff";
    size_t times = 1 + next_random(seed) % 4;
    for (size_t i = 0; i < times; i++) {
        size_t at = next_random(seed) % len;
        size_t from = next_random(seed) % len;
        size_t n = next_random(seed) % 40;
        switch (next_random(seed) % 3) {
        case 0:
            text[at] = signs[next_random(seed) % (sizeof signs - 1)];
            break;
        case 1:
            n = n < len - at ? n : len - at;
            n = n < len - from ? n : len - from;
            memmove(text + at, text + from, n);
            break;
        default:
            text[at] = (char)(1 + next_random(seed) % 255);
            break;
        }
    }
}

static void test_damaged_samples(void **state)
{
    (void)state;
    static const char *const samples[] = {
        SOURCE_DIR "/conf/shunt.conf", SOURCE_DIR "/conf/plain-balancer.conf", SOURCE_DIR "/conf/mqtt.conf"};
    static char whole[16384];
    static char text[16384];
    uint64_t seed = UINT64_C(0x5eed5eed5eed5eed);
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        size_t len = read_sample(samples[i], whole, sizeof whole);
        for (int round = 0; round < 700; round++) {
            memcpy(text, whole, len + 1);
            damage(text, len, &seed);
            load_damaged(text);
        }
        /* Cut off at every 7th byte. */
        for (size_t cut = 0; cut < len; cut += 7) {
            memcpy(text, whole, cut);
            text[cut] = '\0';
            load_damaged(text);
        }
    }
}

static void test_garbage(void **state)
{
    (void)state;
    static char text[2000];
    uint64_t seed = UINT64_C(0xbadc0ffee0ddf00d);
    for (int round = 0; round < 500; round++) {
        size_t len = next_random(&seed) % (sizeof text - 1);
        for (size_t i = 0; i < len; i++) {
            text[i] = (char)(1 + next_random(&seed) % 255);
        }
        text[len] = '\0';
        load_damaged(text);
    }
}

static void test_deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 20000 };
    static char text[DEPTH + 32];
    static const char signs[] = "({[";
    for (size_t i = 0; i < sizeof signs - 1; i++) {
        int n = snprintf(text, sizeof text, "services = ");
        memset(text + n, signs[i], DEPTH);
        text[n + DEPTH] = '\0';
        load_damaged(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),       cmocka_unit_test(test_no_memory_for_texts),
        cmocka_unit_test(test_damaged_samples), cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_deep_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
