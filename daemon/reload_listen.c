/*
 * Answers for where services listen after a reload: what leaves is offered to whoever comes, what comes is
 * bound before anything changes, and the operator is told both. Control thread. Which sockets stay and how
 * the others begin and end is proxy/listen_change.c's; services that come or go as a whole are
 * daemon/reload.c's.
 */
#include "daemon/reload_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static void offer_socket(void *context, const char *purpose, const struct addr *wanted, bool foreign, int fd)
{
    struct reload *reload = context;
    struct err_text err;
    int second = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    /* Without it the address is in use, which is told. */
    if (second >= 0) {
        (void)(given_add(&reload->given, second, purpose, wanted, foreign, &err) == 0);
    }
}

int reload_listen_begin(struct reload *reload, struct err_text *err)
{
    struct app *app = reload->app;
    int rc = 0;
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        if (service->config != NULL && !service->leaving && !reload_keeps(reload, service)) {
            proxy_service_sockets(service->proxy, offer_socket, reload);
        }
    }
    for (size_t i = 0; rc == 0 && i < reload->config->services_len; i++) {
        const struct targets_service *targets = &reload->targets->services[i];
        const struct app_service *there = reload_find_service(app, reload->config->services[i].name);
        if (there != NULL) {
            rc = proxy_listen_change_begin(there->proxy, targets->listen, targets->listen_len,
                                           &reload->changes[i].listen);
        }
        if (rc == 0 && there != NULL) {
            proxy_listen_change_offer(reload->changes[i].listen, offer_socket, reload);
        }
    }
    return rc == 0 ? 0 : err_set(err, rc, "nothing was changed: out of memory");
}

int reload_listen_prepare(struct reload *reload, size_t index, struct err_text *err)
{
    const struct change *change = &reload->changes[index];
    const char *name = reload->config->services[index].name;
    if (change->listen == NULL) {
        return 0;
    }
    const struct app_service *there = reload_find_service(reload->app, name);
    int rc = proxy_listen_change_prepare(there->proxy, change->listen, &reload->given, err);
    if (rc != 0) {
        (void)app_advise_listen(reload->app, name, rc, err);
        struct err_text why = *err;
        return err_set(err, rc, "nothing was changed: %s", why.text);
    }
    return 0;
}

/* All addresses that come, or all that leave, after the word for it; how many there are. */
static size_t list_addresses(FILE *out, const struct proxy_listen_change *change, bool comes,
                             const char *word)
{
    struct addr address;
    size_t n = 0;
    for (; proxy_listen_change_address(change, comes, n, &address); n++) {
        char text[ADDR_TEXT_MAX];
        addr_format(&address, text, sizeof(text));
        fprintf(out, "%s%s", n == 0 ? word : ", ", text);
    }
    return n;
}

/* In one line; owned by the caller. NULL: all stays, or no memory. */
static char *describe(const struct proxy_listen_change *change)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL) {
        return NULL;
    }
    size_t n = list_addresses(out, change, true, "now listens on ");
    n += list_addresses(out, change, false, n > 0 ? ", no longer on " : "no longer listens on ");
    if (fclose(out) != 0 || n == 0) {
        free(text);
        return NULL;
    }
    return text;
}

static void apply_one(struct reload *reload, struct change *change, const char *name)
{
    const struct app_service *there = reload_find_service(reload->app, name);
    char *text = describe(change->listen);
    proxy_listen_change_apply(there->proxy, change->listen, &reload->given);
    change->listen = NULL;
    if (text != NULL) {
        fprintf(reload->report, "%s: %s\n", name, text);
        events_add(reload->app->events, clock_wall_us(), EVENTS_INFO, name, "listen", reload->who.actor,
                   reload->who.reason, "%s", text);
        log_line(LOG_LEVEL_INFO, text, LOG_TEXT("service", name));
    }
    free(text);
}

void reload_listen_apply(struct reload *reload)
{
    for (size_t i = 0; i < reload->config->services_len; i++) {
        if (reload->changes[i].listen != NULL) {
            apply_one(reload, &reload->changes[i], reload->config->services[i].name);
        }
    }
}
