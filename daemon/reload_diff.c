/*
 * Compares what `show settings` would say of two configurations. Pure. What to do about a difference is
 * daemon/reload.c's.
 */
#include "daemon/reload_diff.h"

#include <stdlib.h>
#include <string.h>

struct lines {
    char *text; /* owned */
    char **list;
    size_t len;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int split(const struct config *config, struct lines *out)
{
    *out = (struct lines){.text = config_show(config)};
    size_t n = 1;
    for (const char *c = out->text; c != NULL && *c != '\0'; c++) {
        n += *c == '\n';
    }
    out->list = calloc(n, sizeof(char *));
    if (out->text == NULL || out->list == NULL) {
        return ERR_NOMEM;
    }
    char *rest = NULL;
    for (char *line = strtok_r(out->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        out->list[out->len++] = line;
    }
    qsort((void *)out->list, out->len, sizeof(char *), by_text);
    return 0;
}

static void lines_clear(struct lines *lines)
{
    free((void *)lines->list);
    free(lines->text);
}

/* The path of a line "path = value  # default: …". */
static int add_path(struct reload_diff *diff, const char *line)
{
    const char *end = strstr(line, " = ");
    size_t length = end != NULL ? (size_t)(end - line) : strlen(line);
    if (diff->len > 0 && strlen(diff->paths[diff->len - 1]) == length &&
        strncmp(diff->paths[diff->len - 1], line, length) == 0) {
        return 0; /* its other value */
    }
    char **more = realloc((void *)diff->paths, (diff->len + 1) * sizeof(char *));
    if (more == NULL) {
        return ERR_NOMEM;
    }
    diff->paths = more;
    diff->paths[diff->len] = strndup(line, length);
    return diff->paths[diff->len] != NULL ? (diff->len++, 0) : ERR_NOMEM;
}

static int merge(const struct lines *before, const struct lines *after, struct reload_diff *out)
{
    size_t b = 0;
    size_t a = 0;
    int rc = 0;
    while (rc == 0 && (b < before->len || a < after->len)) {
        int order = b == before->len ? 1 : a == after->len ? -1 : strcmp(before->list[b], after->list[a]);
        if (order == 0) {
            b++;
            a++;
        } else {
            rc = add_path(out, order < 0 ? before->list[b++] : after->list[a++]);
        }
    }
    return rc;
}

int reload_diff_make(const struct config *before, const struct config *after, struct reload_diff *out)
{
    struct lines old;
    struct lines new;
    *out = (struct reload_diff){.len = 0};
    int rc = split(before, &old);
    int rc_new = split(after, &new);
    rc = rc == 0 ? rc_new : rc;
    if (rc == 0) {
        rc = merge(&old, &new, out);
    }
    lines_clear(&old);
    lines_clear(&new);
    return rc;
}

void reload_diff_clear(struct reload_diff *diff)
{
    for (size_t i = 0; i < diff->len; i++) {
        free(diff->paths[i]);
    }
    free((void *)diff->paths);
    *diff = (struct reload_diff){.len = 0};
}

bool reload_diff_has(const struct reload_diff *diff, const char *path)
{
    for (size_t i = 0; i < diff->len; i++) {
        if (strcmp(diff->paths[i], path) == 0) {
            return true;
        }
    }
    return false;
}

/* What comes behind "services.NAME."; NULL: it is not of that service. */
static const char *rest_of(const char *path, const char *service)
{
    static const char before[] = "services.";
    size_t length = strlen(service);
    if (strncmp(path, before, sizeof(before) - 1) != 0) {
        return NULL;
    }
    const char *name = path + sizeof(before) - 1;
    return strncmp(name, service, length) == 0 && name[length] == '.' ? name + length + 1 : NULL;
}

bool reload_diff_touches(const struct reload_diff *diff, const char *service)
{
    for (size_t i = 0; i < diff->len; i++) {
        if (rest_of(diff->paths[i], service) != NULL) {
            return true;
        }
    }
    return false;
}

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

bool reload_diff_moves_log(const struct reload_diff *diff)
{
    return reload_diff_has(diff, "log.to") || reload_diff_has(diff, "log.file") ||
           reload_diff_has(diff, "log.syslog_socket") || reload_diff_has(diff, "log.facility");
}

bool reload_diff_touches_limits(const struct reload_diff *diff)
{
    for (size_t i = 0; i < diff->len; i++) {
        if (begins_with(diff->paths[i], "limits.")) {
            return true;
        }
    }
    return false;
}

bool reload_is_live(const char *path, const char *service)
{
    static const char *const live[] = {"log.level",
                                       "log.format",
                                       "log.rate",
                                       "log.to",
                                       "log.file",
                                       "log.syslog_socket",
                                       "log.facility",
                                       "shutdown_timeout",
                                       "upgrade.ready_timeout",
                                       "upgrade.drain_timeout"};
    /* The first word of what stands behind the service's name. */
    static const char *const of_service[] = {
        "name",  "listen", "retries", "connection_log", "timeouts", "proxy_protocol", "sni",
        "allow", "deny",   "limits",  "bandwidth",      "groups",   "migration",      "tls"};
    const char *rest = service != NULL ? rest_of(path, service) : NULL;
    if (rest == NULL && begins_with(path, "admin.remote.")) {
        return strcmp(path, "admin.remote.listen") != 0;
    }
    for (size_t i = 0; rest == NULL && i < sizeof(live) / sizeof(live[0]); i++) {
        if (strcmp(path, live[i]) == 0) {
            return true;
        }
    }
    if (rest == NULL && strncmp(path, "resolve.", 8) == 0) {
        return true;
    }
    for (size_t i = 0; rest != NULL && i < sizeof(of_service) / sizeof(of_service[0]); i++) {
        size_t length = strlen(of_service[i]);
        if (begins_with(rest, of_service[i]) && (rest[length] == '\0' || rest[length] == '.')) {
            return true;
        }
    }
    return rest == NULL && begins_with(path, "limits.");
}
