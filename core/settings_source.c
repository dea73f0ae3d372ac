/*
 * The text of a configuration: reads the file, puts included files in the place of their @include, and
 * remembers where each line came from. Any thread; touches files only here. Includes are expanded here and
 * not by libconfig because its scanner ends the whole process on a file it cannot read; and large whole
 * numbers get the L that libconfig 1.5 needs to not cut them to 32 bits without a word.
 */
#include "core/settings_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (16u << 20) /* of everything together */
#define INCLUDE_DEPTH_MAX 8
#define INCLUDE_FILES_MAX 1000

enum where { WHERE_PLAIN, WHERE_STRING, WHERE_COMMENT };

struct scan {
    struct settings_source *source;
    struct settings_findings *findings;
    const char *base_dir;
    enum where where;
    size_t comment_line; /* where the present comment began */
    unsigned depth;
    bool nomem;
};

static void add_text(struct scan *scan, const char *text, size_t len, uint32_t file);

static bool append(struct settings_buffer *buffer, const char *text, size_t len)
{
    if (buffer->len + len + 1 > buffer->room) {
        size_t room = (buffer->len + len + 1) * 2;
        char *data = realloc(buffer->data, room);
        if (!data) {
            return false;
        }
        buffer->data = data;
        buffer->room = room;
    }
    memcpy(buffer->data + buffer->len, text, len);
    buffer->len += len;
    buffer->data[buffer->len] = '\0';
    return true;
}

static bool add_line(struct settings_source *source, uint32_t file, uint32_t number)
{
    if (source->lines_len == source->lines_room) {
        size_t room = source->lines_room ? source->lines_room * 2 : 64;
        struct settings_line *lines = realloc(source->lines, room * sizeof *lines);
        if (!lines) {
            return false;
        }
        source->lines = lines;
        source->lines_room = room;
    }
    source->lines[source->lines_len++] =
        (struct settings_line){.offset = source->text.len, .file = file, .number = number};
    return true;
}

static void complain(struct scan *scan, const char *message)
{
    settings_finding_add(scan->findings, (unsigned)scan->source->lines_len, "%s", message);
}

/* ---- files */

static int read_all(int fd, struct settings_buffer *out)
{
    char chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ERR_SYSTEM;
        }
        if (!append(out, chunk, (size_t)n)) {
            return ERR_NOMEM;
        }
        if (n == 0) {
            return ERR_OK;
        }
        if (out->len > FILE_BYTES_MAX) {
            errno = EFBIG;
            return ERR_SYSTEM;
        }
    }
}

/* A pipe is allowed (process substitution), a folder is not. ERR_SYSTEM leaves errno. */
static int read_file(const char *path, struct settings_buffer *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return ERR_SYSTEM;
    }
    int rc = read_all(fd, out);
    int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

/* ---- lines */

/* Whether the line is an @include; *name is what follows the word. */
static bool is_include(const char *line, size_t len, const char **name, size_t *name_len)
{
    static const char word[] = "@include";
    size_t at = 0;
    while (at < len && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    if (len - at < sizeof word - 1 || strncmp(line + at, word, sizeof word - 1) != 0) {
        return false;
    }
    *name = line + at + sizeof word - 1;
    *name_len = len - at - (sizeof word - 1);
    return true;
}

/* The text between the quotes, made absolute; NULL after a finding. */
static char *include_path(struct scan *scan, const char *rest, size_t len)
{
    const char *open_quote = memchr(rest, '"', len);
    const char *close_quote =
        open_quote ? memchr(open_quote + 1, '"', len - (size_t)(open_quote + 1 - rest)) : NULL;
    if (!close_quote || close_quote == open_quote + 1) {
        complain(scan, "@include needs the name of a file in quotes: @include \"services.conf\"");
        return NULL;
    }
    const char *name = open_quote + 1;
    char *path = NULL;
    bool keep = *name == '/' || !scan->base_dir;
    if (asprintf(&path, "%s%s%.*s", keep ? "" : scan->base_dir, keep ? "" : "/", (int)(close_quote - name),
                 name) < 0) {
        scan->nomem = true;
        return NULL;
    }
    return path;
}

/* Takes over path. */
static bool add_file(struct settings_source *source, char *path)
{
    char **files = realloc((void *)source->files, (source->files_len + 1) * sizeof *files);
    if (!files) {
        free(path);
        return false;
    }
    source->files = files;
    source->files[source->files_len++] = path;
    return true;
}

static void include(struct scan *scan, const char *rest, size_t len)
{
    if (scan->depth == INCLUDE_DEPTH_MAX || scan->source->files_len > INCLUDE_FILES_MAX) {
        complain(scan, "@include: too many files; does one include itself?");
        return;
    }
    char *path = include_path(scan, rest, len);
    if (!path) {
        return;
    }
    struct settings_buffer text = {0};
    int rc = read_file(path, &text);
    if (rc == ERR_SYSTEM) {
        settings_finding_add(scan->findings, (unsigned)scan->source->lines_len, "cannot include %s: %s", path,
                             strerror(errno));
        free(path);
    } else if (rc != ERR_OK) {
        scan->nomem = true;
        free(path);
    } else if (!add_file(scan->source, path)) {
        scan->nomem = true;
    } else {
        scan->depth++;
        add_text(scan, text.data, text.len, (uint32_t)(scan->source->files_len - 1));
        scan->depth--;
    }
    free(text.data);
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

/* Copies a word that may be a number; whole numbers of ten digits and more get an L. Returns its length. */
static size_t copy_word(struct scan *scan, const char *line, size_t len)
{
    size_t end = 0;
    size_t digits = 0;
    while (end < len && is_word(line[end])) {
        digits += line[end] >= '0' && line[end] <= '9';
        end++;
    }
    struct settings_buffer *parse = &scan->source->parse;
    bool hex = end > 10 && line[0] == '0' && (line[1] == 'x' || line[1] == 'X');
    if (hex || (digits == end && digits > 18)) {
        complain(scan, "this number is too large");
        scan->nomem |= !append(parse, "0", 1);
        return end;
    }
    scan->nomem |= !append(parse, line, end);
    if (digits == end && digits > 9) {
        scan->nomem |= !append(parse, "L", 1);
    }
    return end;
}

/* Copies one line, keeping track of whether its end is inside a string or a comment. */
static void copy_line(struct scan *scan, const char *line, size_t len)
{
    struct settings_buffer *parse = &scan->source->parse;
    for (size_t i = 0; i < len && !scan->nomem;) {
        size_t step = 1;
        char next = '\n';
        if (i + 1 < len) {
            next = line[i + 1];
        }
        if (scan->where == WHERE_STRING) {
            step = line[i] == '\\' && i + 1 < len ? 2 : 1;
            scan->where = line[i] == '"' ? WHERE_PLAIN : WHERE_STRING;
        } else if (scan->where == WHERE_COMMENT) {
            bool ends = line[i] == '*' && next == '/';
            step = ends ? 2 : 1;
            scan->where = ends ? WHERE_PLAIN : WHERE_COMMENT;
        } else if (line[i] == '#' || (line[i] == '/' && next == '/')) {
            return; /* what is in a comment can only confuse */
        } else if (line[i] == '/' && next == '*') {
            step = 2;
            scan->where = WHERE_COMMENT;
            scan->comment_line = scan->source->lines_len;
        } else if (line[i] == '"') {
            scan->where = WHERE_STRING;
        } else if (is_word(line[i])) {
            i += copy_word(scan, line + i, len - i);
            continue;
        }
        scan->nomem |= !append(parse, line + i, step);
        i += step;
    }
}

static void add_one_line(struct scan *scan, const char *line, size_t len, uint32_t file, uint32_t number)
{
    struct settings_source *source = scan->source;
    const char *name = NULL;
    size_t name_len = 0;
    if (!add_line(source, file, number) || !append(&source->text, line, len) ||
        !append(&source->text, "\n", 1)) {
        scan->nomem = true;
        return;
    }
    if (memchr(line, '\0', len)) {
        complain(scan, "this line holds a NUL byte: not a text file");
        len = strlen(line);
    }
    bool is_other = scan->where == WHERE_PLAIN && is_include(line, len, &name, &name_len);
    if (!is_other) {
        copy_line(scan, line, len);
    }
    if (scan->where == WHERE_STRING) {
        /* libconfig would go on to the next quote, wherever that is, and name a line far from the mistake. */
        complain(scan, "a text on this line has no closing quote");
        source->unclosed = true;
        scan->where = WHERE_PLAIN;
    }
    scan->nomem |= !append(&source->parse, "\n", 1);
    if (is_other && !scan->nomem) {
        include(scan, name, name_len);
    }
}

/* text[len] must be readable: NUL. */
static void add_text(struct scan *scan, const char *text, size_t len, uint32_t file)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    uint32_t number = 0;
    const char *end = text + len;
    if (len >= 3 && memcmp(text, byte_order_mark, 3) == 0) {
        text += 3;
    }
    while (text < end && !scan->nomem) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        size_t line_len = (size_t)(stop - text);
        if (line_len > 0 && text[line_len - 1] == '\r') {
            line_len--;
        }
        if (scan->source->text.len + line_len > FILE_BYTES_MAX) {
            complain(scan, "the files are too large: more than 16 MiB together");
            return;
        }
        add_one_line(scan, text, line_len, file, ++number);
        text = newline ? newline + 1 : end;
    }
}

/* ---- the whole */

int settings_source_read(struct settings_source *source, const char *path, const char *text,
                         const char *base_dir, struct settings_findings *findings)
{
    struct scan scan = {.source = source, .findings = findings, .base_dir = base_dir};
    struct settings_buffer whole = {0};
    int rc = ERR_OK;
    char *name = path ? strdup(path) : NULL;
    if ((path && !name) || !add_file(source, name)) {
        return ERR_NOMEM;
    }
    if (path) {
        rc = read_file(path, &whole);
        if (rc == ERR_SYSTEM) {
            settings_finding_add(findings, 0, "cannot be read: %s", strerror(errno));
        }
    }
    if (rc == ERR_OK) {
        /* So that both are texts even when there is nothing to read. */
        scan.nomem = !append(&source->text, "", 0) || !append(&source->parse, "", 0);
        add_text(&scan, path ? whole.data : text, path ? whole.len : strlen(text), 0);
        if (scan.where == WHERE_COMMENT) {
            settings_finding_add(findings, (unsigned)scan.comment_line,
                                 "the comment that begins here has no end");
            source->unclosed = true;
        }
        rc = scan.nomem ? ERR_NOMEM : ERR_OK;
    }
    free(whole.data);
    return rc;
}

void settings_source_clear(struct settings_source *source)
{
    free(source->text.data);
    free(source->parse.data);
    free(source->lines);
    for (size_t i = 0; i < source->files_len; i++) {
        free(source->files[i]);
    }
    free((void *)source->files);
    *source = (struct settings_source){0};
}
