/*
 * Answers for telling one state of a file from another: inode, size and times, hashed together with those of
 * the files ahead of it. What follows from a change is the callers' business. Any thread.
 */
#include "core/file_stamp.h"

#include "core/siphash.h"

#include <string.h>
#include <sys/stat.h>

struct mark {
    uint64_t before; /* of the files ahead of it */
    uint64_t device, inode, size;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
};

uint64_t file_stamp(uint64_t before, const char *path)
{
    static const struct siphash_key key = {.k0 = UINT64_C(0x736875), .k1 = UINT64_C(0x6e742e)};
    struct stat state;
    struct mark mark;
    if (path == NULL) {
        return before;
    }
    memset(&mark, 0, sizeof(mark));
    mark.before = before;
    if (stat(path, &state) == 0) {
        mark.device = state.st_dev;
        mark.inode = state.st_ino;
        mark.size = (uint64_t)state.st_size;
        mark.modified_s = state.st_mtim.tv_sec;
        mark.modified_ns = state.st_mtim.tv_nsec;
        mark.changed_s = state.st_ctim.tv_sec;
        mark.changed_ns = state.st_ctim.tv_nsec;
    }
    return siphash(&key, &mark, sizeof(mark));
}
