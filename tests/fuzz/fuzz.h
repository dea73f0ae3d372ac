/*
 * A fuzz target: one parser of peer or operator bytes. Built twice: with libFuzzer (preset "fuzz"), and in
 * every other build with replay.c, which feeds it the kept inputs of corpus/NAME, whole and cut.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Must cope with any bytes; a broken promise is an abort or a sanitizer's finding. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise of the code under test, said with where it stands. */
#define FUZZ_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fuzz_broken(#condition, __FILE__, __LINE__);                                                     \
        }                                                                                                    \
    } while (0)
_Noreturn void fuzz_broken(const char *condition, const char *file, int line);

/* data as text: a copy that ends in NUL. Exits the program without memory. Owned by the caller. */
char *fuzz_text(const uint8_t *data, size_t size);

#endif
