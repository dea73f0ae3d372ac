/*
 * Socket activation: takes the descriptors from the environment and insists that the configuration has a
 * place for each, since one that nobody serves would let clients wait for nothing. Control thread.
 */
#include "daemon/activation.h"

#include "core/addr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int add(const struct config *config, struct given *given, int fd, const char *name,
               struct err_text *err)
{
    struct addr admin = {.len = sizeof(admin.un), .un = {.sun_family = AF_UNIX}};
    struct err_text why;
    bool is_admin = name != NULL && strcmp(name, "admin") == 0;
    (void)snprintf(admin.un.sun_path, sizeof(admin.un.sun_path), "%s", config->admin.socket);
    int rc = given_add(given, fd, is_admin ? "admin" : "", is_admin ? &admin : NULL, true, &why);
    if (rc != 0) {
        return err_set(err, rc == ERR_NOMEM ? rc : ERR_INVALID, "socket \"%s\" of the service manager: %s",
                       name != NULL ? name : "", why.text);
    }
    struct given_socket *one = &given->list[given->len - 1];
    if (is_admin && !addr_equal(&one->bound, &admin)) {
        char text[ADDR_TEXT_MAX];
        addr_format(&one->bound, text, sizeof(text));
        return err_set(err, ERR_INVALID,
                       "socket \"admin\" of the service manager is at %s, and admin.socket is \"%s\"", text,
                       config->admin.socket);
    }
    return 0;
}

int activation_take(const struct config *config, struct given *given, struct err_text *err)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    int rc = n < 0 ? err_set(err, ERR_SYSTEM, "LISTEN_FDS cannot be used: %s", strerror(-n)) : 0;
    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        if (rc == 0) {
            rc = add(config, given, fd, names != NULL ? names[i] : NULL, err);
        } else {
            (void)close(fd);
        }
    }
    for (int i = 0; names != NULL && i < n; i++) {
        free(names[i]);
    }
    free((void *)names);
    return rc;
}

int activation_check(const struct given *given, struct err_text *err)
{
    char text[400] = "";
    size_t length = 0;
    for (size_t i = 0; i < given->len && length < sizeof(text); i++) {
        char address[ADDR_TEXT_MAX];
        if (given->list[i].fd < 0) {
            continue;
        }
        addr_format(&given->list[i].bound, address, sizeof(address));
        int n = snprintf(text + length, sizeof(text) - length, "%s%s", length > 0 ? ", " : "", address);
        length += n > 0 ? (size_t)n : 0;
    }
    return length == 0 ? 0
                       : err_set(err, ERR_INVALID,
                                 "the service manager opened %s, where nothing of the configuration listens: "
                                 "name it in a service's `listen`, or take it out of the socket unit",
                                 text);
}
