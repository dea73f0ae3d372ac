/*
 * Whether files have changed: one number out of what the file system says of all of them. Any thread; asks
 * the file system.
 */
#ifndef CORE_FILE_STAMP_H
#define CORE_FILE_STAMP_H

#include <stdint.h>

/* before with the file at path added, which need not be there; before alone for NULL. Begin with 0. The
 * result differs once one of the files is another, or is written again, or goes. */
uint64_t file_stamp(uint64_t before, const char *path);

#endif
