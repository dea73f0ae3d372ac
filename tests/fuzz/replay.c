/*
 * Feeds a fuzz target the files of the folders given: each whole, and cut at every byte (of long ones at so
 * many places that the work stays bounded). In builds without libFuzzer. One thread.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUTS_MAX 600u

static void *read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    char *data = NULL;
    size_t room = 0;
    *size = 0;
    if (in == NULL) {
        perror(path);
        exit(1);
    }
    for (size_t got = 1; got > 0; *size += got) {
        if (room - *size < 4096) {
            room = room * 2 + 8192;
            data = realloc(data, room);
            if (data == NULL) {
                perror(path);
                exit(1);
            }
        }
        got = fread(data + *size, 1, room - *size, in);
    }
    (void)fclose(in);
    return data;
}

/* In memory of its very size, so that a read behind its end is found. */
static void feed(const void *data, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) {
        perror("feed");
        exit(1);
    }
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static unsigned replay(const char *path)
{
    size_t size = 0;
    void *data = read_file(path, &size);
    size_t step = size / CUTS_MAX + 1;
    unsigned runs = 1;
    for (size_t cut = 0; cut < size; cut += step) {
        feed(data, cut);
        runs++;
    }
    feed(data, size);
    free(data);
    return runs;
}

int main(int argc, char **argv)
{
    unsigned runs = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (folder == NULL) {
            perror(argv[i]);
            return 1;
        }
        for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
            char path[4096];
            if (entry->d_name[0] == '.') {
                continue;
            }
            (void)snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            runs += replay(path);
        }
        (void)closedir(folder);
    }
    printf("%u inputs\n", runs);
    return runs > 0 ? 0 : 1;
}
